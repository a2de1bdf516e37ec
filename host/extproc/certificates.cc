#include "host/extproc/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace epp::extproc {
namespace {

constexpr int kDebounceMs = 250;
constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr long kValidSeconds = 10L * 365 * 24 * 3600;
// 4096 bits would take up to seconds to generate, at every start, and make each handshake several
// times dearer; the certificate proves nothing to anyone, it only enables encryption.
constexpr unsigned kKeyBits = 2048;

template <auto Function>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Function(object);
  }
};
using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using Pkey = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Cert = std::unique_ptr<X509, Deleter<X509_free>>;
using Number = std::unique_ptr<BIGNUM, Deleter<BN_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;

std::string LibraryError() {
  std::array<char, 256> text;
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  return text.data();
}

absl::Status SelfSignedError() {
  return absl::InternalError(absl::StrCat("self-signed certificate: ", LibraryError()));
}

bool AddExtension(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool FillCertificate(X509* certificate, EVP_PKEY* key) {
  std::array<unsigned char, 16> serial;
  if (RAND_bytes(serial.data(), serial.size()) != 1) return false;
  const Number number(BN_bin2bn(serial.data(), serial.size(), nullptr));
  X509_NAME* name = X509_get_subject_name(certificate);
  return number != nullptr && X509_set_version(certificate, X509_VERSION_3) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), 0) != nullptr &&
         X509_gmtime_adj(X509_getm_notAfter(certificate), kValidSeconds) != nullptr &&
         X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC,
                                    reinterpret_cast<const unsigned char*>("Inference Ext"), -1, -1,
                                    0) == 1 &&
         X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
         AddExtension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
         AddExtension(certificate, NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
         AddExtension(certificate, NID_ext_key_usage, "serverAuth") &&
         X509_sign(certificate, key, EVP_sha256()) > 0;
}

std::string Contents(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  std::string text(kMaxFileBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is too large, want at most ", kMaxFileBytes, " bytes"));
  }
  return text;
}

// No passphrase is ever asked for on the terminal.
int NoPassphrase(char*, int, int, void*) { return 0; }

}  // namespace

absl::StatusOr<KeyPair> MakeSelfSigned() {
  const Pkey key(EVP_RSA_gen(kKeyBits));
  const Cert certificate(X509_new());
  if (key == nullptr || certificate == nullptr || !FillCertificate(certificate.get(), key.get())) {
    return SelfSignedError();
  }
  const Bio certificate_out(BIO_new(BIO_s_mem()));
  const Bio key_out(BIO_new(BIO_s_mem()));
  if (certificate_out == nullptr || key_out == nullptr ||
      PEM_write_bio_X509(certificate_out.get(), certificate.get()) != 1 ||
      PEM_write_bio_PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) !=
          1) {
    return SelfSignedError();
  }
  return KeyPair{Contents(certificate_out.get()), Contents(key_out.get())};
}

absl::StatusOr<KeyPair> LoadKeyPair(const std::string& directory) {
  const std::string certificate_path = directory + "/tls.crt";
  const std::string key_path = directory + "/tls.key";
  auto certificate_text = ReadFile(certificate_path);
  if (!certificate_text.ok()) return certificate_text.status();
  auto key_text = ReadFile(key_path);
  if (!key_text.ok()) return key_text.status();

  const Bio certificate_in(
      BIO_new_mem_buf(certificate_text->data(), static_cast<int>(certificate_text->size())));
  const Cert certificate(PEM_read_bio_X509(certificate_in.get(), nullptr, NoPassphrase, nullptr));
  if (certificate == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(certificate_path, ": is not a PEM certificate: ", LibraryError()));
  }
  const Bio key_in(BIO_new_mem_buf(key_text->data(), static_cast<int>(key_text->size())));
  const Pkey key(PEM_read_bio_PrivateKey(key_in.get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(key_path, ": is not an unencrypted PEM private key: ", LibraryError()));
  }
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        absl::StrCat(key_path, ": is not the key of ", certificate_path));
  }
  return KeyPair{*std::move(certificate_text), *std::move(key_text)};
}

CertificateStore::CertificateStore(KeyPair pair)
    : pair_(std::make_shared<const KeyPair>(std::move(pair))) {}

CertificateStore::~CertificateStore() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  (void)!write(stop_fd_, &one, sizeof(one));
  thread_.join();
  close(stop_fd_);
}

std::shared_ptr<const KeyPair> CertificateStore::Current(uint64_t* version) const {
  const std::lock_guard lock(mutex_);
  *version = version_;
  return pair_;
}

absl::Status CertificateStore::Watch(std::string directory,
                                     std::function<void(std::string_view)> log_error) {
  directory_ = std::move(directory);
  log_error_ = std::move(log_error);
  const int inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (inotify_fd < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("watch of ", directory_));
  }
  if (inotify_add_watch(inotify_fd, directory_.c_str(),
                        IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO) < 0) {
    const int error = errno;
    close(inotify_fd);
    return absl::ErrnoToStatus(error, absl::StrCat("watch of ", directory_));
  }
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  if (stop_fd_ < 0) {
    const int error = errno;
    close(inotify_fd);
    return absl::ErrnoToStatus(error, absl::StrCat("watch of ", directory_));
  }
  thread_ = std::thread([this, inotify_fd] { Follow(inotify_fd); });
  return absl::OkStatus();
}

void CertificateStore::Follow(int inotify_fd) {
  bool changed = false;
  while (true) {
    std::array<pollfd, 2> fds = {pollfd{inotify_fd, POLLIN, 0}, pollfd{stop_fd_, POLLIN, 0}};
    const int ready = poll(fds.data(), fds.size(), changed ? kDebounceMs : -1);
    if (fds[1].revents != 0) break;
    if (ready == 0) {
      changed = false;
      Reload();
    } else if (ready > 0) {
      // Which files changed does not matter; each event starts the quiet time anew.
      alignas(inotify_event) std::array<char, 4096> events;
      while (read(inotify_fd, events.data(), events.size()) > 0) changed = true;
    }
  }
  close(inotify_fd);
}

void CertificateStore::Reload() {
  auto pair = LoadKeyPair(directory_);
  if (!pair.ok()) {
    if (log_error_) {
      log_error_(absl::StrCat("certificate not reloaded, the old one stays in use: ",
                              std::string(pair.status().message())));
    }
    return;
  }
  auto next = std::make_shared<const KeyPair>(*std::move(pair));
  const std::lock_guard lock(mutex_);
  if (next->certificate == pair_->certificate && next->key == pair_->key) return;
  pair_ = std::move(next);
  ++version_;
}

}  // namespace epp::extproc
