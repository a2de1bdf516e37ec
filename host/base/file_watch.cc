#include "host/base/file_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "host/base/clock.h"

namespace epp {
namespace {

// Directories are watched, not files: a rename over it makes a new inode.
constexpr uint32_t kWatchedEvents = IN_MOVED_TO | IN_CREATE | IN_CLOSE_WRITE | IN_DELETE |
                                    IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
// A directory that is gone may come back.
constexpr uint64_t kRewatchNs = 1'000'000'000;

uint64_t Now() { return Clock::Real().mono_ns(); }

}  // namespace

FileWatch::FileWatch(const std::vector<std::string>& paths, Options options, Changed changed)
    : options_(options), changed_(std::move(changed)) {
  inotify_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Follow(paths);
  MutexLock lock(&mutex_);
  joined_ = false;
}

FileWatch::~FileWatch() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mutex_);
    stop_ = true;
  }
  Wake();
  thread_.join();
}

void FileWatch::Start() {
  thread_ = std::thread([this] { Run(); });
}

void FileWatch::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(wake_.get(), &one, sizeof(one));
}

void FileWatch::Follow(const std::vector<std::string>& paths) {
  std::map<std::string, std::set<std::string>> wanted;  // names by directory
  for (const std::string& path : paths) {
    const size_t slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "."
                                  : slash == 0               ? "/"
                                                             : path.substr(0, slash);
    wanted[directory].insert(slash == std::string::npos ? path : path.substr(slash + 1));
  }
  {
    MutexLock lock(&mutex_);
    std::vector<Directory> former = std::exchange(directories_, {});
    for (auto& [path, names] : wanted) {
      Directory directory{path, std::move(names), -1};
      const auto known = std::find_if(former.begin(), former.end(), [&](const Directory& other) {
        return other.path == directory.path;
      });
      if (known != former.end()) {
        directory.watch = std::exchange(known->watch, -1);
        joined_ |= !std::includes(known->names.begin(), known->names.end(), directory.names.begin(),
                                  directory.names.end());
      } else {
        joined_ = true;
      }
      directories_.push_back(std::move(directory));
    }
    // Two paths to one directory share a watch.
    for (const Directory& gone : former) {
      if (gone.watch >= 0 && !Watched(gone.watch)) ::inotify_rm_watch(inotify_.get(), gone.watch);
    }
    AddWatches();
    if (!joined_) return;
  }
  Wake();
}

bool FileWatch::Watched(int watch) const {
  return std::any_of(directories_.begin(), directories_.end(),
                     [&](const Directory& directory) { return directory.watch == watch; });
}

// True when one was added.
bool FileWatch::AddWatches() {
  bool added = false;
  for (Directory& directory : directories_) {
    if (directory.watch >= 0) continue;
    directory.watch = ::inotify_add_watch(inotify_.get(), directory.path.c_str(), kWatchedEvents);
    added |= directory.watch >= 0;
  }
  return added;
}

// What may have happened to a file.
Settling FileWatch::ConsumeEvents() {
  Settling seen = Settling::kNothing;
  alignas(inotify_event) char buffer[4096];
  for (;;) {
    const ssize_t size = ::read(inotify_.get(), buffer, sizeof(buffer));
    if (size <= 0) return seen;
    for (ssize_t at = 0; at < size;) {
      inotify_event event{};
      std::memcpy(&event, buffer + at, sizeof(event));
      const char* const name = buffer + at + sizeof(event);
      at += static_cast<ssize_t>(sizeof(event) + event.len);
      if (event.mask & IN_Q_OVERFLOW) seen = Settling::kWritten;
      const bool gone = event.mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF);
      if (event.mask & IN_MOVE_SELF) ::inotify_rm_watch(inotify_.get(), event.wd);
      for (Directory& directory : directories_) {
        if (directory.watch != event.wd) continue;
        if (gone) {
          directory.watch = -1;
          seen = Settling::kWritten;
        }
        // A mounted ConfigMap changes by turning the link ..data, of which the files are a part.
        if (event.len > 0 && (std::strcmp(name, "..data") == 0 || directory.names.contains(name))) {
          Raise(seen, SettlingOf(event.mask));
        }
      }
    }
  }
}

void FileWatch::Run() {
  uint64_t next_poll = Now() + options_.poll_ns;
  uint64_t due = ~uint64_t{0};            // of a look that was asked for
  Settling pending = Settling::kNothing;  // since the last look
  bool retrying = false;
  bool unwatched = false;
  for (;;) {
    uint64_t wake = std::min(next_poll, due);
    if (unwatched) wake = std::min(wake, Now() + kRewatchNs);
    const uint64_t at = Now();
    const uint64_t wait_ms = wake > at ? (wake - at + 999'999) / 1'000'000 : 0;
    pollfd fds[2] = {{inotify_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    ::poll(fds, 2, static_cast<int>(std::min<uint64_t>(wait_ms, 3'600'000)));
    {
      MutexLock lock(&mutex_);
      uint64_t ignored = 0;
      [[maybe_unused]] const ssize_t n = ::read(wake_.get(), &ignored, sizeof(ignored));
      if (stop_) return;
      Settling seen = fds[0].revents != 0 ? ConsumeEvents() : Settling::kNothing;
      if (AddWatches()) seen = Settling::kWritten;
      if (std::exchange(joined_, false)) seen = Settling::kWritten;
      if (seen != Settling::kNothing) {
        Raise(pending, seen);
        due = Now() + (pending == Settling::kRenamed ? options_.renamed_ns : options_.debounce_ns);
      }
      unwatched = Watched(-1);
    }
    if (Now() < std::min(due, next_poll)) continue;
    pending = Settling::kNothing;
    // One further look is asked for, not one after another.
    retrying = changed_() && !retrying;
    due = retrying ? Now() + options_.retry_ns : ~uint64_t{0};
    next_poll = Now() + options_.poll_ns;
  }
}

}  // namespace epp
