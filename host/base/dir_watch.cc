#include "host/base/dir_watch.h"

#include <dirent.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "host/base/clock.h"
#include "host/base/str_cat.h"

namespace epp {
namespace {

// Modifications too: while a large file is being copied, it is not quiet.
constexpr uint32_t kWatchedEvents = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE |
                                    IN_MODIFY | IN_ATTRIB | IN_DELETE | IN_DELETE_SELF |
                                    IN_MOVE_SELF | IN_ONLYDIR;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

}  // namespace

DirWatch::DirWatch(std::vector<std::string> directories, Wanted wanted, Options options,
                   std::function<void()> changed)
    : wanted_(wanted), options_(options), changed_(std::move(changed)) {
  for (std::string& path : directories) directories_.push_back({std::move(path)});
  inotify_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  stop_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Rewatch();
  fingerprint_ = Fingerprint();
}

DirWatch::~DirWatch() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

void DirWatch::Start() {
  thread_ = std::thread([this] { Run(); });
}

// True when a path means another directory than before. That can be the work of a link anywhere in
// the path, which no watch of the directory reports.
bool DirWatch::Rewatch() {
  bool changed = false;
  for (Directory& directory : directories_) {
    struct stat now {};
    const bool there = ::stat(directory.path.c_str(), &now) == 0 && S_ISDIR(now.st_mode);
    const uint64_t inode = there ? now.st_ino : 0;
    if (inode == directory.inode && now.st_dev == directory.device &&
        (directory.watch >= 0) == there) {
      continue;
    }
    changed = true;
    if (directory.watch >= 0) ::inotify_rm_watch(inotify_.get(), directory.watch);
    directory.device = there ? now.st_dev : 0;
    directory.inode = inode;
    directory.watch =
        there ? ::inotify_add_watch(inotify_.get(), directory.path.c_str(), kWatchedEvents) : -1;
  }
  return changed;
}

// What may have happened to a wanted file.
Settling DirWatch::ConsumeEvents() {
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
      if (event.mask & IN_IGNORED) {
        // The watch ended; a later one may have its number, so only a gone directory counts.
        for (Directory& directory : directories_) {
          if (directory.watch == event.wd) directory.watch = -1;
        }
        seen = Settling::kWritten;
      }
      // Without a name it is about the directory itself.
      const bool about_file = event.len > 0;
      if (!about_file || wanted_(name) || std::strcmp(name, "..data") == 0) {
        Raise(seen, SettlingOf(event.mask));
      }
    }
  }
}

std::string DirWatch::Fingerprint() const {
  std::string out;
  for (const Directory& directory : directories_) {
    struct stat dir {};
    if (::stat(directory.path.c_str(), &dir) != 0) continue;
    StrAppend(&out, directory.path, "|", uint64_t{dir.st_mode}, "|", uint64_t{dir.st_uid}, "\n");
    const std::unique_ptr<DIR, CloseDir> listing(::opendir(directory.path.c_str()));
    if (!listing) continue;
    std::vector<std::string> files;
    while (const dirent* entry = ::readdir(listing.get())) {
      if (!wanted_(entry->d_name)) continue;
      struct stat file {};
      std::string line = entry->d_name;
      if (::fstatat(::dirfd(listing.get()), entry->d_name, &file, 0) == 0) {
        StrAppend(&line, "|", uint64_t{file.st_dev}, "|", uint64_t{file.st_ino}, "|",
                  uint64_t{file.st_mode}, "|", uint64_t{file.st_uid}, "|",
                  static_cast<int64_t>(file.st_size), "|",
                  static_cast<int64_t>(file.st_mtim.tv_sec), ".",
                  static_cast<int64_t>(file.st_mtim.tv_nsec), "|",
                  static_cast<int64_t>(file.st_ctim.tv_sec), ".",
                  static_cast<int64_t>(file.st_ctim.tv_nsec));
      }
      files.push_back(std::move(line));
    }
    std::sort(files.begin(), files.end());
    for (const std::string& line : files) StrAppend(&out, line, "\n");
  }
  return out;
}

void DirWatch::Run() {
  constexpr uint64_t kNever = ~uint64_t{0};
  const auto now = [] { return Clock::Real().mono_ns(); };
  uint64_t next_poll = now() + options_.poll_ns;
  uint64_t first = kNever;  // event since the last look
  uint64_t due = kNever;
  Settling pending = Settling::kNothing;  // since the last look
  for (;;) {
    const uint64_t at = now();
    const uint64_t wake = std::min({next_poll, due, at + options_.rewatch_ns});
    const uint64_t wait_ms = wake > at ? (wake - at + 999'999) / 1'000'000 : 0;
    pollfd fds[2] = {{inotify_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    ::poll(fds, 2, static_cast<int>(std::min<uint64_t>(wait_ms, 3'600'000)));
    if (fds[1].revents != 0) return;
    Settling seen = fds[0].revents != 0 ? ConsumeEvents() : Settling::kNothing;
    if (Rewatch()) seen = Settling::kWritten;
    if (seen != Settling::kNothing) {
      Raise(pending, seen);
      const uint64_t quiet =
          pending == Settling::kRenamed ? options_.renamed_ns : options_.debounce_ns;
      first = std::min(first, now());
      due = std::min(now() + quiet, first + options_.max_delay_ns);
    }
    if (now() < std::min(due, next_poll)) continue;
    due = first = kNever;
    pending = Settling::kNothing;
    next_poll = now() + options_.poll_ns;
    std::string found = Fingerprint();
    if (found == fingerprint_) continue;
    fingerprint_ = std::move(found);
    changed_();
  }
}

}  // namespace epp
