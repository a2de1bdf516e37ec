#include "tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace sidecar {
namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr size_t kRecordBytes = 16 * 1024;
constexpr long kValidSeconds = 10L * 365 * 24 * 3600;
// Of TLS 1.2; those of 1.3 are all fine.
constexpr const char* kSuites =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr std::string_view kHttp11 = "http/1.1";

SSL* Ssl(void* p) { return static_cast<SSL*>(p); }

std::string LibraryError() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "unknown error";
  if (ERR_SYSTEM_ERROR(code)) return std::strerror(ERR_GET_REASON(code));
  const char* const reason = ERR_reason_error_string(code);
  return reason == nullptr ? "unknown error" : reason;
}

// ---- A BIO on the socket. OpenSSL's own would raise SIGPIPE. ----

int SocketOf(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio))); }

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

int WriteSocket(BIO* bio, const char* data, size_t size, size_t* sent) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::send(SocketOf(bio), data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0 && WouldBlock()) BIO_set_retry_write(bio);
  if (n <= 0) return 0;
  *sent = static_cast<size_t>(n);
  return 1;
}

int ReadSocket(BIO* bio, char* data, size_t size, size_t* got) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::recv(SocketOf(bio), data, size, MSG_DONTWAIT);
  if (n < 0 && WouldBlock()) BIO_set_retry_read(bio);
  if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  if (n <= 0) return 0;
  *got = static_cast<size_t>(n);
  return 1;
}

long ControlSocket(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

int CreateSocket(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

// ---- Certificates ----

// No passphrase is ever asked for on the terminal.
int NoPassphrase(char*, int, int, void*) { return 0; }

bool AddExtension(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value), X509_EXTENSION_free);
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// A certificate without a name, which nobody can verify. Its key is of a kind that costs next to
// nothing to make, and little at each handshake.
bool UseSelfSigned(SSL_CTX* context) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> made(X509_new(), X509_free);
  std::array<unsigned char, 16> serial{};
  if (key == nullptr || made == nullptr || RAND_bytes(serial.data(), serial.size()) != 1) {
    return false;
  }
  serial[0] &= 0x7f;
  const std::unique_ptr<BIGNUM, decltype(&BN_free)> number(
      BN_bin2bn(serial.data(), serial.size(), nullptr), BN_free);
  X509_NAME* const name = X509_get_subject_name(made.get());
  return number != nullptr && X509_set_version(made.get(), X509_VERSION_3) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(made.get())) != nullptr &&
         X509_gmtime_adj(X509_getm_notBefore(made.get()), 0) != nullptr &&
         X509_gmtime_adj(X509_getm_notAfter(made.get()), kValidSeconds) != nullptr &&
         X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC,
                                    reinterpret_cast<const unsigned char*>("pde-sidecar"), -1, -1,
                                    0) == 1 &&
         X509_set_issuer_name(made.get(), name) == 1 &&
         X509_set_pubkey(made.get(), key.get()) == 1 &&
         AddExtension(made.get(), NID_basic_constraints, "critical,CA:FALSE") &&
         AddExtension(made.get(), NID_key_usage, "critical,digitalSignature") &&
         AddExtension(made.get(), NID_ext_key_usage, "serverAuth") &&
         X509_sign(made.get(), key.get(), EVP_sha256()) > 0 &&
         SSL_CTX_use_certificate(context, made.get()) == 1 &&
         SSL_CTX_use_PrivateKey(context, key.get()) == 1;
}

bool UseFiles(SSL_CTX* context, const std::string& directory, bool expired_too, std::string* why) {
  const std::string certificate = directory + "/tls.crt";
  const std::string key = directory + "/tls.key";
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
    *why = certificate + ": no PEM certificate: " + LibraryError();
    return false;
  }
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    *why = key + ": no unencrypted PEM key of tls.crt: " + LibraryError();
    return false;
  }
  const X509* const leaf = SSL_CTX_get0_certificate(context);
  if (!expired_too && X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) {
    *why = certificate + ": has expired";
    return false;
  }
  return true;
}

// HTTP/1.1 is all we speak; whoever offers others only is told so.
int ChooseProtocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                   unsigned int in_size, void*) {
  for (unsigned int at = 0; at < in_size; at += 1u + in[at]) {
    if (at + 1u + in[at] > in_size) break;
    if (std::string_view(reinterpret_cast<const char*>(in) + at + 1, in[at]) != kHttp11) continue;
    *out = in + at + 1;
    *size = in[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

TlsContext::TlsContext(TlsOptions options) : options_(std::move(options)) {
  BIO_METHOD* const method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "sidecar socket");
  method_ = method;
  if (method == nullptr) return;
  BIO_meth_set_write_ex(method, WriteSocket);
  BIO_meth_set_read_ex(method, ReadSocket);
  BIO_meth_set_ctrl(method, ControlSocket);
  BIO_meth_set_create(method, CreateSocket);
}

TlsContext::~TlsContext() { BIO_meth_free(static_cast<BIO_METHOD*>(method_)); }

std::shared_ptr<TlsContext> TlsContext::Create(TlsOptions options, std::string* why) {
  const std::shared_ptr<TlsContext> out(new TlsContext(std::move(options)));
  // Before the files are read, so that a change meanwhile is seen as one.
  out->loaded_ = out->seen_ = out->Stamp();
  out->context_ = out->method_ == nullptr ? nullptr : out->Load(false, why);
  return out->context_ == nullptr ? nullptr : out;
}

std::shared_ptr<void> TlsContext::Load(bool again, std::string* why) const {
  SSL_CTX* const made = SSL_CTX_new(options_.server ? TLS_server_method() : TLS_client_method());
  const std::shared_ptr<SSL_CTX> context(made, SSL_CTX_free);
  if (context == nullptr || SSL_CTX_set_min_proto_version(made, TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_cipher_list(made, kSuites) != 1) {
    *why = LibraryError();
    return nullptr;
  }
  SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                             SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(made, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_read_ahead(made, 1);  // a record in one read, not two
  SSL_CTX_set_default_passwd_cb(made, NoPassphrase);
  if (options_.server) {
    SSL_CTX_set_alpn_select_cb(made, ChooseProtocol, nullptr);
    if (options_.directory.empty()) {
      if (UseSelfSigned(made)) return context;
      *why = "no certificate can be made: " + LibraryError();
      return nullptr;
    }
    return UseFiles(made, options_.directory, !again, why) ? context : nullptr;
  }
  SSL_CTX_set_verify(made, options_.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (!options_.verify) return context;
  if (options_.ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(made);
  } else if (SSL_CTX_load_verify_file(made, options_.ca_file.c_str()) != 1) {
    *why = options_.ca_file + ": no PEM certificates: " + LibraryError();
    return nullptr;
  }
  ERR_clear_error();
  return context;
}

std::shared_ptr<void> TlsContext::current() const {
  const std::lock_guard lock(mutex_);
  return context_;
}

// Changes with the files, wherever links lead.
std::string TlsContext::Stamp() const {
  std::string out;
  const auto add = [&](const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
      out += "-/";
      return;
    }
    for (const auto number :
         {static_cast<int64_t>(info.st_dev), static_cast<int64_t>(info.st_ino),
          static_cast<int64_t>(info.st_size), static_cast<int64_t>(info.st_mtim.tv_sec),
          static_cast<int64_t>(info.st_mtim.tv_nsec)}) {
      out += std::to_string(number) + "/";
    }
  };
  if (!options_.directory.empty()) {
    add(options_.directory + "/tls.crt");
    add(options_.directory + "/tls.key");
  }
  if (!options_.ca_file.empty()) add(options_.ca_file);
  return out;
}

TlsContext::Seen TlsContext::Look(std::string* what) {
  std::string stamp = Stamp();
  if (stamp == loaded_) {
    seen_ = std::move(stamp);
    return Seen::kNothing;
  }
  if (stamp != seen_) {
    seen_ = std::move(stamp);
    return Seen::kNothing;
  }
  loaded_ = std::move(stamp);
  std::shared_ptr<void> next = Load(true, what);
  if (next == nullptr) return Seen::kRefused;
  *what = options_.server ? options_.directory : options_.ca_file;
  const std::lock_guard lock(mutex_);
  context_ = std::move(next);
  return Seen::kReloaded;
}

TlsSession::TlsSession(TlsContext& context, asio::ip::tcp::socket& socket, const std::string& host)
    : context_(context.shared_from_this()),
      socket_(&socket),
      read_timer_(socket.get_executor()),
      write_timer_(socket.get_executor()) {
  const std::shared_ptr<void> shared = context.current();
  SSL* const ssl = SSL_new(static_cast<SSL_CTX*>(shared.get()));
  BIO* const bio = BIO_new(static_cast<BIO_METHOD*>(context.method_));
  bool fine = ssl != nullptr && bio != nullptr;
  if (fine) {
    BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(socket.native_handle())));
    SSL_set_bio(ssl, bio, bio);
  } else {
    BIO_free(bio);
  }
  const TlsOptions& options = context.options();
  if (fine && options.server) {
    SSL_set_accept_state(ssl);
  } else if (fine) {
    SSL_set_connect_state(ssl);
    const std::string& name = options.name.empty() ? host : options.name;
    error_code no_address;
    asio::ip::make_address(name, no_address);
    if (no_address) {
      fine = SSL_set_tlsext_host_name(ssl, name.c_str()) == 1 &&
             (!options.verify || SSL_set1_host(ssl, name.c_str()) == 1);
    } else if (options.verify) {
      fine = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.c_str()) == 1;
    }
  }
  ssl_ = ssl;
  broken_ = !fine;
  if (!fine) why_ = LibraryError();
}

TlsSession::~TlsSession() { SSL_free(Ssl(ssl_)); }

bool TlsSession::Done(int result, error_code* error) {
  *error = {};
  if (result > 0) return true;
  const int sort = SSL_get_error(Ssl(ssl_), result);
  wants_write_ = sort == SSL_ERROR_WANT_WRITE;
  if (wants_write_ || sort == SSL_ERROR_WANT_READ) return false;
  if (sort == SSL_ERROR_ZERO_RETURN) {
    *error = asio::error::eof;
    return true;
  }
  broken_ = true;
  *error = asio::error::connection_reset;
  const long verdict = SSL_get_verify_result(Ssl(ssl_));
  if (verdict != X509_V_OK && context_->options().verify) {
    why_ = X509_verify_cert_error_string(verdict);
  } else if (ERR_peek_error() != 0) {
    why_ = LibraryError();
  } else {
    why_ = "the connection is closed";
  }
  ERR_clear_error();
  return true;
}

Task<error_code> TlsSession::Wait(std::chrono::steady_clock::time_point until) {
  const bool write = wants_write_;
  asio::steady_timer& timer = write ? write_timer_ : read_timer_;
  timer.expires_at(until);
  timer.async_wait([weak = weak_from_this(), write](error_code) {
    const auto self = weak.lock();
    if (!self || !self->alive()) return;
    const asio::steady_timer& of = write ? self->write_timer_ : self->read_timer_;
    if (of.expiry() > std::chrono::steady_clock::now()) return;  // a later wait's
    self->timed_out_ = true;
    error_code ignored;
    self->socket_->close(ignored);
  });
  const auto [error] = co_await socket_->async_wait(
      write ? asio::ip::tcp::socket::wait_write : asio::ip::tcp::socket::wait_read, kTuple);
  timer.expires_at(asio::steady_timer::time_point::max());
  if (timed_out_) co_return boost::beast::error::timeout;
  co_return error;
}

Task<error_code> TlsSession::Handshake(Milliseconds limit) {
  const auto self = shared_from_this();
  const auto until = std::chrono::steady_clock::now() + limit;
  while (alive()) {
    ERR_clear_error();
    error_code error;
    if (Done(SSL_do_handshake(Ssl(ssl_)), &error)) co_return error;
    error = co_await Wait(until);
    if (error) co_return error;
  }
  co_return asio::error::connection_reset;
}

Task<error_code> TlsSession::Read(std::string& buffer, size_t max, Milliseconds limit) {
  const auto self = shared_from_this();
  const auto until = std::chrono::steady_clock::now() + limit;
  const size_t before = buffer.size();
  for (;;) {
    // Also what Poll took while this waited.
    if (!early_.empty()) {
      buffer += early_;
      early_.clear();
      co_return error_code();
    }
    if (!alive()) co_return asio::error::connection_reset;
    error_code error;
    bool done = false;
    do {
      const size_t at = buffer.size();
      size_t got = 0;
      buffer.resize(at + std::min(kRecordBytes, max - (at - before)));
      ERR_clear_error();
      done = Done(SSL_read_ex(Ssl(ssl_), buffer.data() + at, buffer.size() - at, &got), &error);
      buffer.resize(at + (done && !error ? got : 0));
    } while (done && !error && buffer.size() - before < max && SSL_has_pending(Ssl(ssl_)) == 1);
    // An error behind bytes is found again by the next read.
    if (buffer.size() != before) co_return error_code();
    if (done) co_return error;
    error = co_await Wait(until);
    if (error && early_.empty()) co_return error;
  }
}

Task<error_code> TlsSession::Write(std::string_view bytes, Milliseconds limit) {
  const auto self = shared_from_this();
  const auto until = std::chrono::steady_clock::now() + limit;
  while (alive()) {
    if (bytes.empty()) co_return error_code();
    size_t sent = 0;
    error_code error;
    ERR_clear_error();
    if (Done(SSL_write_ex(Ssl(ssl_), bytes.data(), bytes.size(), &sent), &error)) {
      if (error) co_return error;
      bytes.remove_prefix(sent);
      continue;
    }
    error = co_await Wait(until);
    if (error) co_return error;
  }
  co_return asio::error::connection_reset;
}

TlsSession::State TlsSession::Poll() {
  if (!early_.empty()) return State::kBytes;
  if (!alive()) return State::kEnd;
  early_.resize(kRecordBytes);
  size_t got = 0;
  error_code error;
  ERR_clear_error();
  const bool done = Done(SSL_read_ex(Ssl(ssl_), early_.data(), early_.size(), &got), &error);
  early_.resize(done && !error ? got : 0);
  if (!done) return State::kNothing;
  return error ? State::kEnd : State::kBytes;
}

void TlsSession::SayEnd() {
  if (!alive()) return;
  ERR_clear_error();
  SSL_shutdown(Ssl(ssl_));
  ERR_clear_error();
}

}  // namespace sidecar
