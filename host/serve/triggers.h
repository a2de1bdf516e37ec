// What makes the process read its configuration again: a change of the config file or of a plugin
// directory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/base/dir_watch.h"
#include "host/base/file_watch.h"

namespace epp::serve {

class Triggers {
 public:
  struct Options {
    uint64_t settle_ns = 250'000'000;  // quiet time after the last event
    uint64_t jitter_ns = 0;            // upper end of the random delay
  };
  // The cause, and how long to wait before acting on it. Called on threads of this class.
  using Fire = std::function<void(std::string cause, uint64_t delay_ns)>;

  // config_file may be empty: then only directories count.
  Triggers(const std::string& config_file, std::vector<std::string> plugin_dirs, Options options,
           Fire fire);
  // Waits for a running call.
  ~Triggers();

 private:
  bool ConfigChanged();
  uint64_t Delay() const;

  const std::string config_file_;
  const Options options_;
  const Fire fire_;
  std::string digest_;  // of the config at the last look; belongs to its watch's thread
  std::unique_ptr<FileWatch> config_;
  std::unique_ptr<DirWatch> plugins_;
};

// Did the file change within the last two seconds, or, where it is gone, its directory? Who reads
// it now may see the half of it.
bool ChangedLately(const std::string& path);

}  // namespace epp::serve
