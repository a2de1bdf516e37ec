// Endpoints from a file: the built-in plugin types, and the worker that follows the file.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "epp/abi.h"
#include "host/base/clock.h"
#include "host/base/file_watch.h"
#include "host/config/diagnostics.h"
#include "host/pool/endpoints_file.h"
#include "host/pool/pool.h"

namespace epp::pool {

// Implemented by plugin types that the host itself runs as discovery; private to the host.
inline constexpr const char* kFileDiscoveryInterface = "epp.host.file-discovery/1";

// What an instance of the types below was configured to do.
struct FileDiscoverySettings {
  std::string path;
  bool watch = false;
  bool multicluster = false;
};

// Types "file-discovery" and "multicluster-file-discovery", for Catalog::AddBuiltin.
const epp_plugin_type* FileDiscoveryType();
const epp_plugin_type* MulticlusterFileDiscoveryType();
// `self` is an instance of one of them; lives as long as it.
const FileDiscoverySettings& FileDiscoverySettingsOf(const void* self);

// What one reading of the file led to.
struct LoadReport {
  bool applied = false;  // false: the file as a whole is unusable, the pool is as it was
  size_t endpoints = 0;  // in the pool now, from this file
  size_t refused = 0;    // entries
  uint64_t unix_ns = 0;
  config::Diagnostics diagnostics;
};

// Keeps a pool equal to a file. An entry that is refused keeps its former version, if there was
// one; when a refused entry cannot even be named, nothing is removed. A file that is unreadable as
// a whole changes nothing. Threads: any; all members but the destructor may run concurrently.
class Discovery {
 public:
  struct Options {
    bool watch = false;
    bool multicluster = false;
    uint64_t debounce_ns = 100'000'000;   // quiet time before a changed file is read
    uint64_t poll_ns = 30'000'000'000;    // for file systems that report no changes
    uint64_t retry_ns = 1'000'000'000;    // a file that does not parse is read once more
    const Clock* clock = &Clock::Real();  // for reports only
    std::function<void(const LoadReport&)> on_reload;  // on the watching thread
  };

  Discovery() = default;
  Discovery(const Discovery&) = delete;
  Discovery& operator=(const Discovery&) = delete;

  // Reads the file into `pool` (not published yet), which must outlive this. When that is applied
  // and options.watch is set, follows the file until destruction. Call once.
  LoadReport Start(std::string path, Options options, Pool* pool);
  // Reads the file again, changed or not.
  LoadReport Reload();
  // The last reading that changed something or failed.
  LoadReport last() const;

 private:
  using Key = std::pair<std::string, std::string>;  // namespace, name of an entry

  bool ReadText(std::string& text, config::Diagnostics& out) const;
  LoadReport LoadLocked(bool even_if_same, bool* unchanged);
  void Apply(EndpointsFile file);
  bool ReloadIfChanged();

  std::string path_;
  Options options_;
  Pool* pool_ = nullptr;

  mutable std::mutex mutex_;  // the four below
  std::string text_;          // as last read
  bool read_ = false;
  std::map<Key, std::vector<Endpoint::Fields>> entries_;
  LoadReport last_;

  bool retrying_ = false;             // watching thread
  std::unique_ptr<FileWatch> watch_;  // last: its thread uses all of the above
};

}  // namespace epp::pool
