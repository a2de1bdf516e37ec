#include "host/extproc/tls.h"

#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <netinet/in.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/extproc/ext_proc.grpc.pb.h"
#include "host/extproc/fake_exchange.h"
#include "host/extproc/grpc_server.h"

namespace epp::extproc {
namespace {

using ::testing::HasSubstr;

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

std::string Pem(X509* certificate) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

// What a handshake with the server shows; empty when it fails.
struct Handshake {
  std::string certificate;
  std::string alpn;
  std::string cipher;
  int version = 0;
};

Handshake Shake(uint16_t port, int max_version = TLS1_3_VERSION) {
  Handshake result;
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_max_proto_version(context, max_version);
  SSL* ssl = SSL_new(context);
  const unsigned char protocols[] = "\x08http/1.1\x02h2";
  SSL_set_alpn_protos(ssl, protocols, sizeof(protocols) - 1);
  SSL_set_fd(ssl, fd);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
      SSL_connect(ssl) == 1) {
    X509* peer = SSL_get1_peer_certificate(ssl);
    result.certificate = Pem(peer);
    X509_free(peer);
    const unsigned char* chosen = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl, &chosen, &size);
    result.alpn.assign(reinterpret_cast<const char*>(chosen), size);
    result.cipher = SSL_get_cipher_name(ssl);
    result.version = SSL_version(ssl);
  }
  SSL_free(ssl);
  SSL_CTX_free(context);
  close(fd);
  return result;
}

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() {
    std::string path = ::testing::TempDir() + "/tlsXXXXXX";
    directory = mkdtemp(path.data());
  }
  ~TlsTest() override { std::filesystem::remove_all(directory); }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(directory + "/" + name, std::ios::binary) << text;
  }
  KeyPair WritePair() {
    const auto pair = MakeSelfSigned();
    EXPECT_TRUE(pair.ok()) << pair.status();
    Write("tls.crt", pair->certificate);
    Write("tls.key", pair->key);
    return *pair;
  }
  absl::Status Start(TlsOptions tls) {
    ServerOptions options;
    options.address = "127.0.0.1";
    options.port = 0;
    options.workers = 1;
    options.tls = std::move(tls);
    options.log_error = [this](std::string_view) { ++errors; };
    auto started = GrpcServer::Start(options, factory);
    if (!started.ok()) return started.status();
    server = *std::move(started);
    return absl::OkStatus();
  }

  std::string directory;
  std::atomic<int> errors{0};
  testing::FakeFactory factory;
  std::unique_ptr<GrpcServer> server;
};

TEST_F(TlsTest, SelfSignedCertificate) {
  ASSERT_TRUE(Start({}).ok());
  const Handshake seen = Shake(server->port());
  EXPECT_EQ(seen.alpn, "h2");
  EXPECT_EQ(seen.version, TLS1_3_VERSION);
  BIO* bio = BIO_new_mem_buf(seen.certificate.data(), static_cast<int>(seen.certificate.size()));
  X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  ASSERT_NE(certificate, nullptr);
  char name[100];
  X509_NAME_oneline(X509_get_subject_name(certificate), name, sizeof(name));
  EXPECT_STREQ(name, "/O=Inference Ext");
  EXPECT_EQ(X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1), -1);
  EXPECT_EQ(X509_get_key_usage(certificate),
            static_cast<uint32_t>(KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT));
  EXPECT_EQ(X509_get_extended_key_usage(certificate), static_cast<uint32_t>(XKU_SSL_SERVER));
  EXPECT_EQ(X509_check_ca(certificate), 0);
  int days = 0;
  int seconds = 0;
  ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate));
  EXPECT_GE(days, 3649);
  X509_free(certificate);
  BIO_free(bio);
}

TEST_F(TlsTest, StreamOverTls) {
  ASSERT_TRUE(Start({}).ok());
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(server->port()),
                                           grpc::experimental::TlsCredentials(options));
  const auto stub = envoy::service::ext_proc::v3::ExternalProcessor::NewStub(channel);
  grpc::ClientContext context;
  const auto stream = stub->Process(&context);
  envoy::service::ext_proc::v3::ProcessingRequest message;
  message.mutable_request_headers()->set_end_of_stream(true);
  ASSERT_TRUE(stream->Write(message));
  envoy::service::ext_proc::v3::ProcessingResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(response.has_request_headers());
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(TlsTest, NothingBelow12) {
  ASSERT_TRUE(Start({.min_version = "VersionTLS10"}).ok());
  EXPECT_EQ(Shake(server->port(), TLS1_2_VERSION).version, TLS1_2_VERSION);
  EXPECT_EQ(Shake(server->port(), TLS1_1_VERSION).certificate, "");
}

// In processes of their own: gRPC reads these settings once.
TEST_F(TlsTest, MinVersion13) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto run = [&] {
    const bool started = Start({.min_version = "VersionTLS13"}).ok();
    const bool refused = started && Shake(server->port(), TLS1_2_VERSION).version == 0;
    _exit(refused && Shake(server->port()).version == TLS1_3_VERSION ? 0 : 1);
  };
  EXPECT_EXIT(run(), ::testing::ExitedWithCode(0), "");
}

TEST_F(TlsTest, CipherSuites) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto run = [&] {
    const bool started =
        Start({.cipher_suites = {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"}}).ok();
    const bool chosen =
        started && Shake(server->port(), TLS1_2_VERSION).cipher == "ECDHE-RSA-CHACHA20-POLY1305";
    _exit(chosen ? 0 : 1);
  };
  EXPECT_EXIT(run(), ::testing::ExitedWithCode(0), "");
}

TEST_F(TlsTest, ReloadKeepsTheOldPairOnFailure) {
  const KeyPair first = WritePair();
  ASSERT_TRUE(Start({.cert_path = directory, .reload = true}).ok());
  EXPECT_EQ(Shake(server->port()).certificate, first.certificate);

  const KeyPair second = WritePair();
  EXPECT_TRUE(Eventually([&] { return Shake(server->port()).certificate == second.certificate; }));

  Write("tls.crt", "not a certificate");
  EXPECT_TRUE(Eventually([&] { return errors > 0; }));
  EXPECT_EQ(Shake(server->port()).certificate, second.certificate);

  const KeyPair third = WritePair();
  EXPECT_TRUE(Eventually([&] { return Shake(server->port()).certificate == third.certificate; }));
}

TEST_F(TlsTest, ReloadFollowsASecretVolume) {
  namespace fs = std::filesystem;
  const auto write_version = [&](const char* name) {
    fs::create_directory(directory + "/" + name);
    const auto pair = MakeSelfSigned();
    Write(std::string(name) + "/tls.crt", pair->certificate);
    Write(std::string(name) + "/tls.key", pair->key);
    fs::create_directory_symlink(name, directory + "/..data_tmp");
    fs::rename(directory + "/..data_tmp", directory + "/..data");
    return pair->certificate;
  };
  const std::string first = write_version("..1");
  fs::create_symlink("..data/tls.crt", directory + "/tls.crt");
  fs::create_symlink("..data/tls.key", directory + "/tls.key");
  ASSERT_TRUE(Start({.cert_path = directory, .reload = true}).ok());
  EXPECT_EQ(Shake(server->port()).certificate, first);
  const std::string second = write_version("..2");
  EXPECT_TRUE(Eventually([&] { return Shake(server->port()).certificate == second; }));
}

TEST_F(TlsTest, BadFilesFailTheStart) {
  EXPECT_THAT(std::string(Start({.cert_path = directory}).message()),
              HasSubstr("/tls.crt: No such file"));
  const KeyPair pair = WritePair();
  Write("tls.key", MakeSelfSigned()->key);
  EXPECT_THAT(std::string(Start({.cert_path = directory}).message()),
              HasSubstr("/tls.key: is not the key of"));
  Write("tls.key", "junk");
  EXPECT_THAT(std::string(Start({.cert_path = directory}).message()),
              HasSubstr("/tls.key: is not an unencrypted PEM private key"));
  Write("tls.key", pair.key);
  Write("tls.crt", std::string(2 << 20, 'x'));
  EXPECT_THAT(std::string(Start({.cert_path = directory}).message()), HasSubstr("is too large"));
}

TEST(TlsOptionsTest, C120_MinVersionNames) {
  EXPECT_FALSE(*MinVersionIs13(""));
  EXPECT_FALSE(*MinVersionIs13("VersionTLS12"));
  EXPECT_TRUE(*MinVersionIs13("VersionTLS13"));
  EXPECT_THAT(std::string(MinVersionIs13("TLS1.2").status().message()),
              HasSubstr("\"TLS1.2\" is unknown"));
}

TEST(TlsOptionsTest, CipherSuiteNames) {
  EXPECT_EQ(*OpenSslCipherList({}), "");
  EXPECT_EQ(*OpenSslCipherList({" TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 ", "",
                                "TLS_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA"}),
            "ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA");
  EXPECT_FALSE(OpenSslCipherList({"TLS_NO_SUCH_SUITE"}).ok());
}

}  // namespace
}  // namespace epp::extproc
