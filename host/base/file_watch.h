// Follows one file through every way in which files change: rewritten in place, replaced by rename,
// swapped with its directory as Kubernetes does with mounted ConfigMaps, or on a file system that
// reports nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "host/base/unique_fd.h"

namespace epp {

class FileWatch {
 public:
  struct Options {
    uint64_t debounce_ns = 100'000'000;  // quiet time after the last event
    uint64_t poll_ns = 30'000'000'000;   // looks also without an event
    uint64_t retry_ns = 1'000'000'000;   // see Changed
  };
  // Called on the watching thread when the file may have changed; compares contents itself. True
  // asks for one more look after retry_ns: the file may have been half written.
  using Changed = std::function<bool()>;

  // Watching has begun when this returns; events from now on are not missed.
  FileWatch(std::string path, Options options, Changed changed);
  // Waits for a running call.
  ~FileWatch();
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  // Lets calls begin; without it, events only gather.
  void Start();

 private:
  void Run();
  void AddWatch();
  bool ConsumeEvents();

  const Options options_;
  const Changed changed_;
  std::string directory_;
  std::string file_name_;
  UniqueFd inotify_;
  int watch_ = -1;
  UniqueFd stop_;
  std::thread thread_;
};

}  // namespace epp
