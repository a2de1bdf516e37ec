#include "host/base/file_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "host/base/clock.h"

namespace epp {
namespace {

// The directory is watched, not the file: a rename over it makes a new inode.
constexpr uint32_t kWatchedEvents = IN_MOVED_TO | IN_CREATE | IN_CLOSE_WRITE | IN_DELETE |
                                    IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
// A directory that is gone may come back.
constexpr uint64_t kRewatchNs = 1'000'000'000;

}  // namespace

FileWatch::FileWatch(std::string path, Options options, Changed changed)
    : options_(options), changed_(std::move(changed)) {
  const size_t slash = path.rfind('/');
  directory_ = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  file_name_ = slash == std::string::npos ? path : path.substr(slash + 1);
  inotify_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  stop_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  AddWatch();
}

FileWatch::~FileWatch() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

void FileWatch::Start() {
  thread_ = std::thread([this] { Run(); });
}

void FileWatch::AddWatch() {
  watch_ = ::inotify_add_watch(inotify_.get(), directory_.c_str(), kWatchedEvents);
}

// True when the file may have changed.
bool FileWatch::ConsumeEvents() {
  bool touched = false;
  alignas(inotify_event) char buffer[4096];
  for (;;) {
    const ssize_t size = ::read(inotify_.get(), buffer, sizeof(buffer));
    if (size <= 0) return touched;
    for (ssize_t at = 0; at < size;) {
      inotify_event event{};
      std::memcpy(&event, buffer + at, sizeof(event));
      const char* const name = buffer + at + sizeof(event);
      at += static_cast<ssize_t>(sizeof(event) + event.len);
      if (event.mask & IN_Q_OVERFLOW) touched = true;
      if (event.mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) {
        if (event.wd == watch_) {
          if (event.mask & IN_MOVE_SELF) ::inotify_rm_watch(inotify_.get(), watch_);
          watch_ = -1;
        }
        touched = true;
      }
      // A mounted ConfigMap changes by turning the link ..data, of which the file is a part.
      if (event.len > 0 && (file_name_ == name || std::strcmp(name, "..data") == 0)) touched = true;
    }
  }
}

void FileWatch::Run() {
  const auto now = [] { return Clock::Real().mono_ns(); };
  uint64_t next_poll = now() + options_.poll_ns;
  uint64_t due = ~uint64_t{0};  // of a look that was asked for
  bool retrying = false;
  for (;;) {
    uint64_t wake = std::min(next_poll, due);
    if (watch_ < 0) wake = std::min(wake, now() + kRewatchNs);
    const uint64_t at = now();
    const uint64_t wait_ms = wake > at ? (wake - at + 999'999) / 1'000'000 : 0;
    pollfd fds[2] = {{inotify_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    ::poll(fds, 2, static_cast<int>(std::min<uint64_t>(wait_ms, 3'600'000)));
    if (fds[1].revents != 0) return;
    if (fds[0].revents != 0 && ConsumeEvents()) due = now() + options_.debounce_ns;
    if (watch_ < 0) {
      AddWatch();
      if (watch_ >= 0) due = now() + options_.debounce_ns;
    }
    if (now() < std::min(due, next_poll)) continue;
    // One further look is asked for, not one after another.
    retrying = changed_() && !retrying;
    due = retrying ? now() + options_.retry_ns : ~uint64_t{0};
    next_poll = now() + options_.poll_ns;
  }
}

}  // namespace epp
