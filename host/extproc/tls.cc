#include "host/extproc/tls.h"

#include <grpc/grpc_security.h>
#include <grpcpp/security/server_credentials.h>

#include <array>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace epp::extproc {
namespace {

// gRPC cannot be told a lowest version for certificates that change. With this list no handshake of
// TLS 1.2 finds a suite, because a pre-shared key is never set; TLS 1.3 has suites of its own.
constexpr const char* kNoTls12Suite = "PSK-AES256-GCM-SHA384";

struct Suite {
  std::string_view go;
  std::string_view openssl;  // empty: of TLS 1.3
};

constexpr std::array kSuites = {
    Suite{"TLS_AES_128_GCM_SHA256", ""},
    Suite{"TLS_AES_256_GCM_SHA384", ""},
    Suite{"TLS_CHACHA20_POLY1305_SHA256", ""},
    Suite{"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA"},
    Suite{"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA"},
    Suite{"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"},
    Suite{"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA"},
    Suite{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"},
    Suite{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"},
    Suite{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"},
    Suite{"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"},
    Suite{"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"},
    Suite{"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"},
    Suite{"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    Suite{"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    Suite{"TLS_RSA_WITH_RC4_128_SHA", "RC4-SHA"},
    Suite{"TLS_RSA_WITH_3DES_EDE_CBC_SHA", "DES-CBC3-SHA"},
    Suite{"TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"},
    Suite{"TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"},
    Suite{"TLS_RSA_WITH_AES_128_CBC_SHA256", "AES128-SHA256"},
    Suite{"TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"},
    Suite{"TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"},
    Suite{"TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", "ECDHE-ECDSA-RC4-SHA"},
    Suite{"TLS_ECDHE_RSA_WITH_RC4_128_SHA", "ECDHE-RSA-RC4-SHA"},
    Suite{"TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", "ECDHE-RSA-DES-CBC3-SHA"},
    Suite{"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256"},
    Suite{"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDHE-RSA-AES128-SHA256"},
};

// Asked by gRPC at every handshake, under a lock of its own.
struct Fetcher {
  const CertificateStore* store;
  uint64_t version = 0;

  static grpc_ssl_certificate_config_reload_status Fetch(void* self,
                                                         grpc_ssl_server_certificate_config** out) {
    auto& fetcher = *static_cast<Fetcher*>(self);
    uint64_t version;
    const std::shared_ptr<const KeyPair> pair = fetcher.store->Current(&version);
    if (version == fetcher.version) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pem = {pair->key.c_str(), pair->certificate.c_str()};
    // Client roots must be given, although no client certificate is asked for; any will do.
    *out = grpc_ssl_server_certificate_config_create(pair->certificate.c_str(), &pem, 1);
    fetcher.version = version;
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }
};

class FetchingCredentials final : public grpc::ServerCredentials {
 public:
  explicit FetchingCredentials(const CertificateStore* store)
      : fetcher_{store},
        credentials_(grpc_ssl_server_credentials_create_with_options(
            grpc_ssl_server_credentials_create_options_using_config_fetcher(
                GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE, Fetcher::Fetch, &fetcher_))) {}
  ~FetchingCredentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  Fetcher fetcher_;
  grpc_server_credentials* credentials_;
};

}  // namespace

absl::StatusOr<std::string> OpenSslCipherList(const std::vector<std::string>& go_names) {
  std::string list;
  for (const std::string& raw : go_names) {
    const std::string name(absl::StripAsciiWhitespace(raw));
    if (name.empty()) continue;
    const Suite* found = nullptr;
    for (const Suite& suite : kSuites) {
      if (suite.go == name) found = &suite;
    }
    if (found == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("tls-cipher-suites: \"", absl::CEscape(name),
                                                     "\" is unknown, want a name such as ",
                                                     "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"));
    }
    if (found->openssl.empty()) continue;
    if (!list.empty()) list += ':';
    list += found->openssl;
  }
  return list;
}

absl::StatusOr<bool> MinVersionIs13(const std::string& name) {
  if (name == "VersionTLS13") return true;
  if (name.empty() || name == "VersionTLS10" || name == "VersionTLS11" || name == "VersionTLS12") {
    return false;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("tls-min-version: \"", absl::CEscape(name),
                   "\" is unknown, want VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13"));
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(
    const TlsOptions& options, const std::function<void(std::string_view)>& log_error,
    std::unique_ptr<CertificateStore>* store) {
  const auto is_13 = MinVersionIs13(options.min_version);
  if (!is_13.ok()) return is_13.status();
  const auto ciphers = OpenSslCipherList(options.cipher_suites);
  if (!ciphers.ok()) return ciphers.status();
  if (!options.secure) return grpc::InsecureServerCredentials();

  auto pair = options.cert_path.empty() ? MakeSelfSigned() : LoadKeyPair(options.cert_path);
  if (!pair.ok()) return pair.status();
  *store = std::make_unique<CertificateStore>(*std::move(pair));
  if (options.reload && !options.cert_path.empty()) {
    if (absl::Status status = (*store)->Watch(options.cert_path, log_error); !status.ok()) {
      return status;
    }
  }
  const char* suites = *is_13 ? kNoTls12Suite : ciphers->c_str();
  if (*suites != '\0') setenv("GRPC_SSL_CIPHER_SUITES", suites, /*overwrite=*/1);
  return std::make_shared<FetchingCredentials>(store->get());
}

}  // namespace epp::extproc
