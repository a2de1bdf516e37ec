// gRPC server credentials from a certificate that may change.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "host/extproc/certificates.h"
#include "host/extproc/options.h"

namespace grpc {
class ServerCredentials;
}  // namespace grpc

namespace epp::extproc {

// The names of cipher suites as OpenSSL writes them, joined by colons. Blank names are skipped, and
// so are those of TLS 1.3, whose suites cannot be chosen.
// Errors: InvalidArgument for an unknown name.
absl::StatusOr<std::string> OpenSslCipherList(const std::vector<std::string>& go_names);

// True for TLS 1.3. Errors: InvalidArgument for a name that is not "" or VersionTLS10 to 13.
absl::StatusOr<bool> MinVersionIs13(const std::string& name);

// Plaintext credentials, or TLS with the certificate that `options` ask for; `*store` then holds
// it, and must outlive the server. ALPN is h2; no client certificate is asked for.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(
    const TlsOptions& options, const std::function<void(std::string_view)>& log_error,
    std::unique_ptr<CertificateStore>* store);

}  // namespace epp::extproc
