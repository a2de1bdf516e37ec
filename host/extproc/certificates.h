// The server's certificate: made, loaded, checked, and watched.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace epp::extproc {

struct KeyPair {
  std::string certificate;  // PEM, leaf first
  std::string key;          // PEM
};

// A certificate that nobody can verify, for clients that do not: no name in it, ten years.
// Cost: about 0.1 s.
absl::StatusOr<KeyPair> MakeSelfSigned();

// Reads tls.crt and tls.key of a directory, and checks that they belong together.
absl::StatusOr<KeyPair> LoadKeyPair(const std::string& directory);

// The pair in use. With a watch, a thread follows the directory; a pair that does not load leaves
// the old one in use. Threads: any.
class CertificateStore {
 public:
  explicit CertificateStore(KeyPair pair);
  ~CertificateStore();
  CertificateStore(const CertificateStore&) = delete;
  CertificateStore& operator=(const CertificateStore&) = delete;

  // The pair, and a number that grows with each change, from 1.
  std::shared_ptr<const KeyPair> Current(uint64_t* version) const;

  // Starts following `directory`. Reacts to files written or created in it (a Kubernetes secret
  // changes by creating a symbolic link), once it has been quiet for 250 ms. `log_error` is called
  // from the watch's thread. Once only.
  absl::Status Watch(std::string directory, std::function<void(std::string_view)> log_error);

 private:
  void Follow(int inotify_fd);
  void Reload();

  mutable std::mutex mutex_;
  std::shared_ptr<const KeyPair> pair_;  // guarded by mutex_
  uint64_t version_ = 1;                 // guarded by mutex_

  std::string directory_;
  std::function<void(std::string_view)> log_error_;
  int stop_fd_ = -1;
  std::thread thread_;
};

}  // namespace epp::extproc
