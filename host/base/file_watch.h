// Follows files through every way in which files change: rewritten in place, replaced by rename,
// swapped with their directory as Kubernetes does with mounted ConfigMaps, or on a file system that
// reports nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "host/base/mutex.h"
#include "host/base/settling.h"
#include "host/base/unique_fd.h"

namespace epp {

class FileWatch {
 public:
  struct Options {
    uint64_t debounce_ns = 100'000'000;  // quiet time after the last event
    uint64_t renamed_ns = 5'000'000;     // the same when all that happened were renames into place
    uint64_t poll_ns = 30'000'000'000;   // looks also without an event
    uint64_t retry_ns = 1'000'000'000;   // see Changed
  };
  // Called on the watching thread when a file may have changed; compares contents itself. True
  // asks for one more look after retry_ns: the file may have been half written.
  using Changed = std::function<bool()>;

  // Watching has begun when this returns; events from now on are not missed. The files need not
  // exist, nor their directories.
  FileWatch(std::string path, Options options, Changed changed)
      : FileWatch(std::vector{std::move(path)}, options, std::move(changed)) {}
  FileWatch(const std::vector<std::string>& paths, Options options, Changed changed);
  // Waits for a running call.
  ~FileWatch();
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  // Follows these instead. A file that was not followed before is taken for changed: it may have
  // been, since the caller learned of it. Threads: any.
  void Follow(const std::vector<std::string>& paths);

  // Lets calls begin; without it, events only gather.
  void Start();

 private:
  struct Directory {
    std::string path;
    std::set<std::string> names;
    int watch = -1;  // -1: there is none, for now
  };

  void Run();
  void Wake();
  bool Watched(int watch) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool AddWatches() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Settling ConsumeEvents() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const Changed changed_;
  UniqueFd inotify_;
  UniqueFd wake_;
  Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool joined_ ABSL_GUARDED_BY(mutex_) = false;  // a file is new here, and wants a look
  std::vector<Directory> directories_ ABSL_GUARDED_BY(mutex_);  // of the files that are followed
  std::thread thread_;
};

}  // namespace epp
