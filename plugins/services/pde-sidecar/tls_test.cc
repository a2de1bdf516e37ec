// TLS with clients and with workers. The workers are sidecars themselves, before fake engines.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "rig.h"

namespace sidecar::test {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kBody = R"({"model":"m","max_tokens":50})";

// A certificate that is its own authority, as tls.crt and tls.key.
void WritePair(const fs::path& directory, const std::string& name, const std::string& alternative,
               long valid_seconds = 3600) {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const made = X509_new();
  X509_set_version(made, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
  X509_gmtime_adj(X509_getm_notBefore(made), -7200);
  X509_gmtime_adj(X509_getm_notAfter(made), valid_seconds);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(made, X509_get_subject_name(made));
  X509_set_pubkey(made, key);
  X509_EXTENSION* const extension =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, alternative.c_str());
  X509_add_ext(made, extension, -1);
  X509_EXTENSION_free(extension);
  X509_sign(made, key, EVP_sha256());
  fs::create_directories(directory);
  // As writers do that care: whole files, renamed.
  for (const bool private_part : {true, false}) {
    const fs::path path = directory / (private_part ? "tls.key" : "tls.crt");
    const std::string next = path.string() + ".next";
    std::FILE* const file = std::fopen(next.c_str(), "w");
    if (private_part) {
      PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
    } else {
      PEM_write_X509(file, made);
    }
    std::fclose(file);
    fs::rename(next, path);
  }
  X509_free(made);
  EVP_PKEY_free(key);
}

// A client that trusts everybody, and speaks plain OpenSSL.
class TlsClient {
 public:
  explicit TlsClient(int port, int version = 0, std::string protocols = "")
      : context_(SSL_CTX_new(TLS_client_method())), raw_(port) {
    if (version != 0) {
      SSL_CTX_set_security_level(context_, 0);
      SSL_CTX_set_min_proto_version(context_, version);
      SSL_CTX_set_max_proto_version(context_, version);
    }
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, raw_.fd());
    SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(protocols.data()),
                        static_cast<unsigned>(protocols.size()));
    open_ = SSL_connect(ssl_) == 1;
  }
  ~TlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  bool open() const { return open_; }
  std::string version() const { return SSL_get_version(ssl_); }
  // The CN, or O, of the server's certificate.
  std::string name() const {
    X509* const certificate = SSL_get1_peer_certificate(ssl_);
    if (certificate == nullptr) return "";
    char* const line = X509_NAME_oneline(X509_get_subject_name(certificate), nullptr, 0);
    std::string out = line;
    OPENSSL_free(line);
    X509_free(certificate);
    return out;
  }
  bool Send(const std::string& bytes) {
    return SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) > 0;
  }
  // Bytes until `text` was seen, and takes them.
  std::string Until(const std::string& text) {
    size_t at;
    while ((at = in_.find(text)) == in_.npos) {
      std::array<char, 16384> buffer;
      const int n = SSL_read(ssl_, buffer.data(), buffer.size());
      if (n <= 0) return std::exchange(in_, "") + " (ended)";
      in_.append(buffer.data(), static_cast<size_t>(n));
    }
    const std::string out = in_.substr(0, at + text.size());
    in_.erase(0, at + text.size());
    return out;
  }
  void SayGoodBye() {
    SSL_shutdown(ssl_);
    raw_.Close();
  }
  void Vanish() { raw_.Close(); }

 private:
  SSL_CTX* context_;
  Client raw_;
  SSL* ssl_ = nullptr;
  bool open_ = false;
  std::string in_;
};

struct TlsTest : ::testing::Test {
  TlsTest() : directory(fs::temp_directory_path() / "sidecar-tls-XXXXXX") {
    std::string name = directory.string();
    directory = ::mkdtemp(name.data());
  }
  ~TlsTest() override { fs::remove_all(directory); }
  // With TLS before the engine.
  void Serve(Rig& rig, const FakeWorker& engine, const std::string& certificates = "") const {
    rig.config.tls.listen = true;
    if (!certificates.empty()) rig.config.tls.cert_path = (directory / certificates).string();
    rig.Start(engine);
  }
  // Asks the engine of `rig` for anything over a connection of its own.
  static Response Ask(const Rig& rig) { return Post(rig.port(), kChat, kBody); }
  static bool Logged(const Rig& rig, std::string_view text) {
    return Eventually([&] {
      return std::ranges::any_of(rig.host.logs(), [&](const auto& line) {
        return line.text.find(text) != std::string::npos;
      });
    });
  }
  fs::path directory;
};

TEST_F(TlsTest, Case010TheListenerSpeaksModernTlsOnly) {
  const FakeWorker engine(R"({"from":"decode"})");
  Rig rig;
  Serve(rig, engine);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient client(rig.port(), version);
    ASSERT_TRUE(client.open());
    EXPECT_THAT(client.name(), HasSubstr("O=pde-sidecar"));
    for (int request = 0; request < 2; ++request) {
      client.Send(PostText(kChat, kBody));
      EXPECT_THAT(client.Until(R"({"from":"decode"})"), HasSubstr("HTTP/1.1 200"));
    }
    client.Send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(client.Until(R"({"from":"decode"})"), HasSubstr("HTTP/1.1 200"));
  }
  EXPECT_FALSE(TlsClient(rig.port(), TLS1_1_VERSION).open());
  EXPECT_TRUE(TlsClient(rig.port(), 0, "\x02h2\x08http/1.1").open());
  EXPECT_FALSE(TlsClient(rig.port(), 0, "\x02h2").open()) << "it would wait for frames";
  Client plain(rig.port());
  plain.Send(PostText(kChat, kBody));
  EXPECT_TRUE(plain.Closed());
}

TEST_F(TlsTest, AClientThatLeavesEndsTheEnginesRequest) {
  for (const bool politely : {true, false}) {
    const FakeWorker engine([](const Received&, const Writer& write) {
      write(StreamHead() + Chunk("data: 1\n\n"));
      while (write("")) {
      }
    });
    Rig rig;
    Serve(rig, engine);
    TlsClient client(rig.port());
    client.Send(PostText(kChat, kBody));
    client.Until("data: 1");
    politely ? client.SayGoodBye() : client.Vanish();
    EXPECT_TRUE(engine.WaitForLeft(1)) << politely;
  }
}

TEST_F(TlsTest, AHandshakeThatHangsIsEnded) {
  const FakeWorker engine("{}");
  Rig rig;
  rig.config.header_timeout = Milliseconds(50);
  Serve(rig, engine);
  Client client(rig.port());
  client.Send("\x16\x03\x01");
  EXPECT_TRUE(client.Closed());
}

TEST_F(TlsTest, EachHopOnItsOwn) {
  WritePair(directory / "good", "worker", "IP:127.0.0.1");
  const FakeWorker decode(R"({"from":"decode"})");
  const FakeWorker prefill(R"({"kv_transfer_params":{"a":1}})");
  const FakeWorker encode("{}");
  Rig decoder, prefiller, encoder;
  Serve(decoder, decode, "good");
  Serve(prefiller, prefill, "good");
  Serve(encoder, encode, "good");
  for (Rig* worker : {&prefiller, &encoder}) {
    ASSERT_EQ(Post(worker->port(), kChat, kBody).status, 0) << "in the clear";
  }

  Rig rig;
  rig.config.engine_port = static_cast<uint16_t>(decoder.port());
  rig.config.ec_connector = "ec-example";
  rig.config.tls.ca_file = (directory / "good/tls.crt").string();
  for (TlsConfig::Hop& hop : rig.config.tls.hops) hop.on = true;
  rig.Start();
  const std::string body =
      R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url",)"
      R"("image_url":{"url":"http://i/1"}}]}]})";
  const std::string at = "127.0.0.1:";
  for (const std::string scheme : {"", "https://", "http://"}) {
    const Response got =
        Post(rig.port(), kChat, body,
             {{"x-prefiller-host-port", scheme + at + std::to_string(prefiller.port())},
              {"x-encoder-hosts-ports", at + std::to_string(encoder.port())}});
    EXPECT_EQ(got.status, 200) << got.body;
    EXPECT_EQ(got.body, R"({"from":"decode"})");
  }
  EXPECT_EQ(prefill.calls(), 3u);
  EXPECT_EQ(encode.calls(), 3u);
  EXPECT_EQ(decode.calls(), 3u);
  EXPECT_THAT(prefiller.server->Describe(), HasSubstr(R"("connections":1)")) << "is kept";
}

TEST_F(TlsTest, AHopWithoutTlsKnowsNoHttps) {
  const FakeWorker decode("{}");
  Rig rig;
  rig.Start(decode);
  EXPECT_EQ(
      Post(rig.port(), kChat, kBody, {{"x-prefiller-host-port", "https://127.0.0.1:1"}}).status,
      502);
}

TEST_F(TlsTest, CertificatesAreChecked) {
  WritePair(directory / "good", "worker", "IP:127.0.0.1");
  WritePair(directory / "named", "worker", "DNS:worker.example");
  const FakeWorker engine(R"({"from":"decode"})");
  struct Case {
    const char* served;
    const char* trusted;  // null: the system's
    const char* name;
    bool verify;
    int status;
  };
  for (const Case& c :
       {Case{"good", "good", "", true, 200}, Case{"good", "named", "", true, 502},
        Case{"good", nullptr, "", true, 502}, Case{"good", nullptr, "", false, 200},
        Case{"named", "named", "", true, 502}, Case{"named", "named", "worker.example", true, 200},
        Case{"named", "named", "other.example", true, 502}}) {
    Rig worker;
    Serve(worker, engine, c.served);
    Rig rig;
    rig.config.engine_port = static_cast<uint16_t>(worker.port());
    auto& tls = rig.config.tls;
    tls.hops[static_cast<size_t>(Stage::kDecode)] = {true, c.verify};
    if (c.trusted != nullptr) tls.ca_file = (directory / c.trusted / "tls.crt").string();
    tls.name = c.name;
    rig.Start();
    const size_t before = engine.calls();
    const Response got = Ask(rig);
    EXPECT_EQ(got.status, c.status) << c.served << " " << c.name;
    EXPECT_EQ(got.body.find("TLS with the engine fails") != got.body.npos, c.status == 502);
    EXPECT_EQ(engine.calls() - before, c.status == 200 ? 1u : 0u);
  }
}

TEST_F(TlsTest, LargeBodiesBothWays) {
  const FakeWorker engine(
      [](const Received& request, const Writer& write) { write(Answer(request.body)); });
  Rig worker;
  Serve(worker, engine);
  Rig rig;
  rig.config.engine_port = static_cast<uint16_t>(worker.port());
  rig.config.tls.hops[static_cast<size_t>(Stage::kDecode)] = {true, false};
  rig.Start();
  std::string body(5'000'000, ' ');
  for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i * 31 % 26);
  for (const char* path : {"/other", kChat}) {
    const Response got = Post(rig.port(), path, body);
    EXPECT_EQ(got.status, 200);
    EXPECT_TRUE(got.body == body) << path;
  }
}

TEST_F(TlsTest, ChangedCertificatesAreTakenUp) {
  WritePair(directory / "own", "first", "IP:127.0.0.1");
  const FakeWorker engine(R"({"from":"decode"})");
  Rig rig;
  Serve(rig, engine, "own");
  TlsClient old(rig.port());
  ASSERT_TRUE(old.open());
  EXPECT_THAT(old.name(), HasSubstr("CN=first"));

  WritePair(directory / "own", "second", "IP:127.0.0.1");
  EXPECT_TRUE(Logged(rig, "new connections use the certificates now in"));
  EXPECT_THAT(TlsClient(rig.port()).name(), HasSubstr("CN=second"));
  old.Send(PostText(kChat, kBody));
  EXPECT_THAT(old.Until("decode"), HasSubstr("HTTP/1.1 200"));

  const auto refused = [&](const std::string& why) {
    EXPECT_TRUE(Logged(rig, why)) << why;
    EXPECT_THAT(TlsClient(rig.port()).name(), HasSubstr("CN=second"));
  };
  WritePair(directory / "own", "third", "IP:127.0.0.1", -60);
  refused("tls.crt: has expired");
  fs::rename(directory / "own/tls.key", directory / "own/kept");
  refused("tls.key: no unencrypted PEM key of tls.crt: No such file");
  WritePair(directory / "else", "else", "IP:127.0.0.1");
  WritePair(directory / "own", "fourth", "IP:127.0.0.1");
  EXPECT_TRUE(
      Eventually([&] { return TlsClient(rig.port()).name().find("fourth") != std::string::npos; }));
  fs::copy_file(directory / "else/tls.key", directory / "own/tls.key",
                fs::copy_options::overwrite_existing);
  EXPECT_TRUE(Logged(rig, "key values mismatch"));
  EXPECT_THAT(TlsClient(rig.port()).name(), HasSubstr("CN=fourth"));
}

TEST_F(TlsTest, AChangedAuthorityIsTakenUp) {
  WritePair(directory / "worker", "worker", "IP:127.0.0.1");
  WritePair(directory / "trusted", "else", "IP:127.0.0.1");
  const FakeWorker engine("{}");
  Rig worker;
  Serve(worker, engine, "worker");
  Rig rig;
  rig.config.engine_port = static_cast<uint16_t>(worker.port());
  rig.config.tls.ca_file = (directory / "trusted/tls.crt").string();
  rig.config.tls.hops[static_cast<size_t>(Stage::kDecode)].on = true;
  rig.Start();
  EXPECT_EQ(Ask(rig).status, 502);
  fs::copy_file(directory / "worker/tls.crt", directory / "trusted/tls.crt",
                fs::copy_options::overwrite_existing);
  EXPECT_TRUE(Eventually([&] { return Ask(rig).status == 200; }));
}

TEST_F(TlsTest, WhatCannotBeReadIsAnErrorAtTheStart) {
  Config config;
  config.listen = "127.0.0.1";
  config.port = 0;
  config.tls.listen = true;
  config.tls.cert_path = (directory / "missing").string();
  epp::test::Host host;
  host.SetCreating(true);
  Server server(config, epp::Host(host.raw()));
  host.SetCreating(false);
  EXPECT_THAT(std::string(server.Start().message()), HasSubstr("missing/tls.crt: no PEM"));
}

}  // namespace
}  // namespace sidecar::test
