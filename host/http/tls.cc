#include "host/http/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "host/base/hostport.h"

namespace epp::http {
namespace {

SSL_CTX* Ctx(void* p) { return static_cast<SSL_CTX*>(p); }
SSL* Ssl(void* p) { return static_cast<SSL*>(p); }

std::string LastError() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "unknown error" : reason;
}

absl::Status Bad(const std::string& what) {
  return absl::InvalidArgumentError("tls: " + what + ": " + LastError());
}

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using BioPtr = std::unique_ptr<BIO, BioFree>;

BioPtr Memory(const std::string& text) {
  return BioPtr(
      BIO_new_mem_buf(text.data(), static_cast<int>(std::min<size_t>(text.size(), INT_MAX))));
}

// All certificates of the text, handed to `use`, which takes a reference of its own.
template <typename Use>
int ForEachCertificate(const std::string& pem, Use use) {
  const BioPtr bio = Memory(pem);
  int count = 0;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    const bool ok = use(certificate, count);
    X509_free(certificate);
    if (!ok) return -1;
    ++count;
  }
  ERR_clear_error();
  return count;
}

absl::Status UseClientCertificate(SSL_CTX* ctx, const TlsClientOptions& options) {
  const int count = ForEachCertificate(options.cert_pem, [ctx](X509* certificate, int index) {
    return index == 0 ? SSL_CTX_use_certificate(ctx, certificate) == 1
                      : SSL_CTX_add1_chain_cert(ctx, certificate) == 1;
  });
  if (count <= 0) return Bad("client certificate");
  EVP_PKEY* key = PEM_read_bio_PrivateKey(Memory(options.key_pem).get(), nullptr, nullptr, nullptr);
  if (key == nullptr) return Bad("client key");
  const bool ok = SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;
  EVP_PKEY_free(key);
  return ok ? absl::OkStatus() : Bad("client key");
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TlsClient>> TlsClient::Create(
    const TlsClientOptions& options) {
  std::shared_ptr<TlsClient> client(new TlsClient);
  SSL_CTX* ctx = SSL_CTX_new(TLS_client_method());
  if (ctx == nullptr) return Bad("context");
  client->ctx_ = ctx;
  client->verify_ = options.verify;
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(ctx, options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (!options.ca_pem.empty()) {
    X509_STORE* store = SSL_CTX_get_cert_store(ctx);
    const int count = ForEachCertificate(options.ca_pem, [store](X509* certificate, int) {
      return X509_STORE_add_cert(store, certificate) == 1;
    });
    if (count <= 0) return Bad("certificate authority");
  } else if (options.verify) {
    SSL_CTX_set_default_verify_paths(ctx);
  }
  if (!options.cert_pem.empty() || !options.key_pem.empty()) {
    if (absl::Status status = UseClientCertificate(ctx, options); !status.ok()) return status;
  }
  return std::shared_ptr<const TlsClient>(std::move(client));
}

TlsClient::~TlsClient() { SSL_CTX_free(Ctx(ctx_)); }

std::unique_ptr<TlsStream> TlsStream::Create(std::shared_ptr<const TlsClient> client, int fd,
                                             const std::string& server_name) {
  std::unique_ptr<TlsStream> stream(new TlsStream(std::move(client)));
  SSL* ssl = SSL_new(Ctx(stream->client_->ctx_));
  if (ssl == nullptr) return nullptr;
  stream->ssl_ = ssl;
  SSL_set_connect_state(ssl);
  if (SSL_set_fd(ssl, fd) != 1) return nullptr;
  if (!IsIpLiteral(server_name)) {
    SSL_set_tlsext_host_name(ssl, server_name.c_str());
    if (stream->client_->verify_ && SSL_set1_host(ssl, server_name.c_str()) != 1) return nullptr;
  } else if (stream->client_->verify_ &&
             X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), server_name.c_str()) != 1) {
    return nullptr;
  }
  return stream;
}

TlsStream::~TlsStream() {
  if (ssl_ != nullptr) SSL_free(Ssl(ssl_));
}

Io TlsStream::Map(int result, const char* what) {
  switch (SSL_get_error(Ssl(ssl_), result)) {
    case SSL_ERROR_NONE:
      return Io::kOk;
    case SSL_ERROR_WANT_READ:
      return Io::kWantRead;
    case SSL_ERROR_WANT_WRITE:
      return Io::kWantWrite;
    case SSL_ERROR_ZERO_RETURN:
      return Io::kClosed;
    default: {
      const long verdict = SSL_get_verify_result(Ssl(ssl_));
      error_ = std::string(what) + ": " +
               (verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : LastError());
      return Io::kError;
    }
  }
}

Io TlsStream::Handshake() {
  ERR_clear_error();
  return Map(SSL_do_handshake(Ssl(ssl_)), "tls handshake");
}

Io TlsStream::Read(char* data, size_t size, size_t* got) {
  ERR_clear_error();
  *got = 0;
  return Map(SSL_read_ex(Ssl(ssl_), data, size, got), "tls read");
}

Io TlsStream::Write(const char* data, size_t size, size_t* sent) {
  ERR_clear_error();
  *sent = 0;
  return Map(SSL_write_ex(Ssl(ssl_), data, size, sent), "tls write");
}

bool TlsStream::HasPending() const { return SSL_pending(Ssl(ssl_)) > 0; }

}  // namespace epp::http
