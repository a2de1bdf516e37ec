#include "host/http/test_support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <chrono>
#include <memory>

#include "host/http/resolver.h"

namespace epp::http::test {
namespace {

std::string Contents(BIO* bio) {
  char* data = nullptr;
  const long n = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<size_t>(n));
  BIO_free(bio);
  return out;
}

}  // namespace

RawServer::RawServer(Serve serve, const char* address) : serve_(std::move(serve)) {
  Address bound = *ParseAddress(address, 0);
  listener_.reset(::socket(bound.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&bound.storage), bound.length);
  ::listen(listener_.get(), 1024);
  ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&bound.storage), &bound.length);
  port_ = ntohs(reinterpret_cast<sockaddr_in*>(&bound.storage)->sin_port);
  accept_thread_ = std::thread([this] {
    while (true) {
      const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      const int number = accepted_.fetch_add(1);
      std::lock_guard<std::mutex> lock(mu_);
      open_.push_back(fd);
      threads_.emplace_back([this, fd, number] {
        serve_(fd, number);
        std::lock_guard<std::mutex> inner(mu_);
        std::erase(open_, fd);
        ::close(fd);
      });
    }
  });
}

RawServer::~RawServer() {
  ::shutdown(listener_.get(), SHUT_RDWR);
  accept_thread_.join();
  {
    std::lock_guard<std::mutex> lock(mu_);
    for (int fd : open_) ::shutdown(fd, SHUT_RDWR);
  }
  for (auto& thread : threads_) thread.join();
}

bool ReadRequest(int fd, std::string* head) {
  std::string text;
  char c;
  while (!text.ends_with("\r\n\r\n")) {
    if (::recv(fd, &c, 1, 0) != 1) return false;
    text.push_back(c);
  }
  if (head != nullptr) *head = text;
  return true;
}

void SendAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    text.remove_prefix(static_cast<size_t>(n));
  }
}

std::string ReadAll(int fd) {
  std::string out;
  char buffer[4096];
  ssize_t n;
  while ((n = ::recv(fd, buffer, sizeof(buffer), 0)) > 0) {
    out.append(buffer, static_cast<size_t>(n));
  }
  return out;
}

UniqueFd ConnectTo(uint16_t port) {
  Address to = *ParseAddress("127.0.0.1", port);
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval limit{20, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to.storage), to.length) != 0) fd.reset();
  return fd;
}

void WaitForClose(int fd) {
  char c;
  while (::recv(fd, &c, 1, 0) > 0) {
  }
}

bool Eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

Certificate MakeCertificate() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* x = X509_new();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -60);
  X509_gmtime_adj(X509_getm_notAfter(x), 86400);
  X509_set_pubkey(x, key);
  X509_NAME* name = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(x, name);
  X509V3_CTX context;
  X509V3_set_ctx(&context, x, x, nullptr, nullptr, 0);
  for (const auto& [nid, value] : {std::pair{NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1"},
                                   std::pair{NID_basic_constraints, "critical,CA:TRUE"}}) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
    X509_add_ext(x, extension, -1);
    X509_EXTENSION_free(extension);
  }
  X509_sign(x, key, EVP_sha256());
  Certificate out;
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, x);
  out.cert_pem = Contents(bio);
  bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  out.key_pem = Contents(bio);
  X509_free(x);
  EVP_PKEY_free(key);
  return out;
}

}  // namespace epp::http::test
