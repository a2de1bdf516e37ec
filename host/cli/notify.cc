#include "host/cli/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "host/base/str_cat.h"
#include "host/base/unique_fd.h"
#include "host/telemetry/log.h"

namespace epp::cli {
namespace {

constexpr uint64_t kStatusEveryUs = 10'000'000;
constexpr uint64_t kDrainStepUs = 30'000'000;

uint64_t NumberIn(const char* variable) {
  const char* text = std::getenv(variable);
  uint64_t number = 0;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), number);
  return number;
}

}  // namespace

void Notify(std::string_view message) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr) return;
  const size_t size = std::strlen(path);
  sockaddr_un address{};
  if (size < 2 || size >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, size);
  // A name that begins with '@' is one in the abstract name space.
  if (path[0] == '@') address.sun_path[0] = '\0';
  const UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return;
  sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
         reinterpret_cast<const sockaddr*>(&address),
         static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size));
}

ServiceNotifier::ServiceNotifier(std::function<bool()> alive) : alive_(std::move(alive)) {
  const uint64_t pid = NumberIn("WATCHDOG_PID");
  if (pid == 0 || pid == static_cast<uint64_t>(getpid())) watchdog_us_ = NumberIn("WATCHDOG_USEC");
  // The first answer comes to the question after this one.
  if (watchdog_us_ != 0) alive_();
}

void ServiceNotifier::Ready(std::string_view status, uint64_t now_us) {
  last_status_ = status;
  last_status_us_ = last_beat_us_ = now_us;
  Notify(StrCat("READY=1\nSTATUS=", status));
}

void ServiceNotifier::Tick(std::string_view status, uint64_t now_us) {
  if (status != last_status_ || now_us - last_status_us_ >= kStatusEveryUs) {
    last_status_ = status;
    last_status_us_ = now_us;
    Notify(StrCat("STATUS=", status));
  }
  if (watchdog_us_ != 0 && now_us - last_beat_us_ >= watchdog_us_ / 4) Beat(now_us);
}

void ServiceNotifier::Beat(uint64_t now_us) {
  if (alive_()) {
    last_beat_us_ = now_us;
    stuck_ = false;
    Notify("WATCHDOG=1");
    return;
  }
  if (now_us - last_beat_us_ < watchdog_us_ / 2 || std::exchange(stuck_, true)) return;
  EPP_LOG_EXEMPT(
      kError, "main", "a worker or the scrape loop does not come round",
      {{"for_ms", (now_us - last_beat_us_) / 1000}, {"watchdog_ms", watchdog_us_ / 1000}});
}

void ServiceNotifier::Reloading(uint64_t now_us) {
  Notify(StrCat("RELOADING=1\nMONOTONIC_USEC=", now_us));
}

void ServiceNotifier::Reloaded(std::string_view status, uint64_t now_us) { Ready(status, now_us); }

void ServiceNotifier::Draining(uint64_t streams) {
  Notify(StrCat(std::exchange(stopping_, true) ? "" : "STOPPING=1\n", "EXTEND_TIMEOUT_USEC=",
                kDrainStepUs, "\nSTATUS=draining, open streams: ", streams));
}

}  // namespace epp::cli
