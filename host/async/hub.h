// What asynchronous plugins need of a process: one I/O thread with timers and an HTTP client, the
// host extensions that offer them, and the operations that requests wait for.
//
// The thread starts with the first use, so that a process without such plugins has none.
//
// Lifetime: outlives HostServices, generations and exchanges. Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "host/async/operations.h"
#include "host/loader/host_services.h"

namespace epp::async {

class Hub final : public loader::ExtensionSource {
 public:
  explicit Hub(uint32_t workers);
  ~Hub() override;
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  Operations& operations() { return operations_; }
  std::unique_ptr<loader::Extensions> ForInstance() override;

 private:
  class Loop;
  class Instance;
  class Extensions;

  Loop& loop();

  Operations operations_;
  std::once_flag once_;
  std::atomic<Loop*> started_{nullptr};
  std::unique_ptr<Loop> loop_;
};

}  // namespace epp::async
