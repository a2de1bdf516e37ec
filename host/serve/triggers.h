// What makes the process read its configuration again: a change of a config file or of a plugin
// directory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "host/base/dir_watch.h"
#include "host/base/file_watch.h"
#include "host/base/mutex.h"

namespace epp::serve {

class Triggers {
 public:
  struct Options {
    uint64_t settle_ns = 250'000'000;  // quiet time after the last event
    uint64_t jitter_ns = 0;            // upper end of the random delay
  };
  // The cause, and how long to wait before acting on it. Called on threads of this class.
  using Fire = std::function<void(std::string cause, uint64_t delay_ns)>;

  // config_files: the config and what it includes; may be empty.
  Triggers(const std::vector<std::string>& config_files, std::vector<std::string> plugin_dirs,
           Options options, Fire fire);
  // Waits for a running call.
  ~Triggers();

  // Follows these files instead. Threads: any.
  void Follow(const std::vector<std::string>& config_files);

 private:
  bool ConfigChanged();
  uint64_t Delay() const;

  const Options options_;
  const Fire fire_;
  Mutex mutex_;
  std::vector<std::string> files_ ABSL_GUARDED_BY(mutex_);
  std::string digest_;  // of the files at the last look; belongs to their watch's thread
  std::unique_ptr<FileWatch> config_;
  std::unique_ptr<DirWatch> plugins_;
};

// Did the file change within the last two seconds, or, where it is gone, its directory? Who reads
// it now may see the half of it.
bool ChangedLately(const std::string& path);

}  // namespace epp::serve
