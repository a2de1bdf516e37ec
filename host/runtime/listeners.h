// Listening sockets that outlive the services that use them; what is behind "epp.host.listener/1".
//
// Threads: any.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "host/base/unique_fd.h"
#include "host/loader/host_services.h"

namespace epp::runtime {

class Listeners final : public loader::ListenerSource {
 public:
  // One socket an address. It is opened with the first descriptor and closed with the last.
  // Errors: InvalidArgument for what is no address, Unavailable when it cannot be listened on.
  absl::StatusOr<int> Borrow(std::string_view address) noexcept override;
  void GiveBack(int fd) noexcept override;

  // How many sockets are open.
  size_t open() const;

 private:
  struct Shared {
    UniqueFd socket;
    size_t lent = 0;
  };

  mutable std::mutex mutex_;
  std::map<std::string, Shared, std::less<>> shared_;  // by address
  std::map<int, std::string> lent_;                    // by descriptor
};

}  // namespace epp::runtime
