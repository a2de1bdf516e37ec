// Telling the service manager how we are (sd_notify), without its library.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace epp::cli {

// Sends "READY=1", "STATUS=..." or several lines to $NOTIFY_SOCKET. Without one, or when nobody
// reads, nothing happens: the service manager is told, never asked.
void Notify(std::string_view message);

// What `epp serve` tells while it runs.
// Threads: one at a time. Times are those of the monotonic clock, in microseconds.
class ServiceNotifier {
 public:
  // `alive` tells whether every thread came round since the last call that said so; asked only when
  // the service manager has set a watchdog on this process ($WATCHDOG_USEC, $WATCHDOG_PID).
  explicit ServiceNotifier(std::function<bool()> alive);

  void Ready(std::string_view status, uint64_t now_us);
  // About once a second: the status when it changed and every 10 s, and a sign of life four times a
  // watchdog period. While a thread is stuck the sign is withheld, so that the watchdog runs out.
  void Tick(std::string_view status, uint64_t now_us);
  void Reloading(uint64_t now_us);
  void Reloaded(std::string_view status, uint64_t now_us);
  // The first time says that this is the end; every time asks for more time to reach it.
  void Draining(uint64_t streams);

 private:
  void Beat(uint64_t now_us);

  const std::function<bool()> alive_;
  uint64_t watchdog_us_ = 0;  // 0: none
  uint64_t last_beat_us_ = 0;
  uint64_t last_status_us_ = 0;
  std::string last_status_;
  bool stuck_ = false;
  bool stopping_ = false;
};

}  // namespace epp::cli
