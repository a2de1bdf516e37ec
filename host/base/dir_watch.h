// Follows directories through every way in which files are installed: copied, overwritten in place,
// replaced by rename, linked, swapped with their volume as Kubernetes does, or with the directory
// itself; and directories that are deleted and come back.
//
// An inotify watch says that something happens, a fingerprint of the wanted files (stat, no
// reading) whether anything changed; the fingerprint is also taken now and then without an event,
// for file systems that report nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "host/base/settling.h"
#include "host/base/unique_fd.h"

namespace epp {

class DirWatch {
 public:
  struct Options {
    uint64_t debounce_ns = 250'000'000;     // quiet time after the last event ...
    uint64_t renamed_ns = 5'000'000;        // the same when all were renames into place
    uint64_t max_delay_ns = 5'000'000'000;  // ... but no longer than this after the first
    uint64_t poll_ns = 30'000'000'000;      // looks also without an event
    uint64_t rewatch_ns = 1'000'000'000;    // looks whether a path means another directory now
  };
  using Wanted = bool (*)(std::string_view file_name);

  // Watching has begun when this returns. `changed` runs on the watching thread. A directory need
  // not exist yet.
  DirWatch(std::vector<std::string> directories, Wanted wanted, Options options,
           std::function<void()> changed);
  // Waits for a running call.
  ~DirWatch();
  DirWatch(const DirWatch&) = delete;
  DirWatch& operator=(const DirWatch&) = delete;

  // Lets calls begin; without it, events only gather.
  void Start();

 private:
  struct Directory {
    std::string path;
    int watch = -1;
    uint64_t device = 0;  // of what is watched
    uint64_t inode = 0;
  };

  void Run();
  bool Rewatch();
  Settling ConsumeEvents();
  std::string Fingerprint() const;

  const Wanted wanted_;
  const Options options_;
  const std::function<void()> changed_;
  std::vector<Directory> directories_;
  std::string fingerprint_;
  UniqueFd inotify_;
  UniqueFd stop_;
  std::thread thread_;
};

}  // namespace epp
