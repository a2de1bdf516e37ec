// Follows the objects in files: those in the endpoints file itself and in every *.yaml beside it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "host/base/clock.h"
#include "host/base/dir_watch.h"
#include "host/config/diagnostics.h"
#include "host/objects/object_set.h"
#include "host/objects/objects_text.h"

namespace epp::objects {

inline constexpr size_t kMaxObjectsFileBytes = size_t{1} << 20;
inline constexpr size_t kMaxObjectsFiles = 1024;

// What one reading of the files led to.
struct ObjectsReport {
  size_t refused = 0;  // objects, and files that cannot be used
  size_t ignored = 0;  // objects of another pool, namespace or the older group
  uint64_t unix_ns = 0;
  std::shared_ptr<const ObjectSet> objects;  // never null
  config::Diagnostics diagnostics;
};

// Keeps a set equal to the files. An object that is refused keeps its former version, if there was
// one; of a file that cannot be used, all former objects stay. When objects of one kind exist in
// both API groups, those of the older group are ignored, as in a cluster that serves both.
// Threads: any; members but Start and the destructor may run concurrently.
class ObjectFiles {
 public:
  struct Options {
    bool watch = false;
    PoolIdentity pool;
    DirWatch::Options timing;
    const Clock* clock = &Clock::Real();  // for reports only
    // After every reading that found something changed; on the watching thread or the caller's.
    std::function<void(const ObjectsReport&)> on_change;
  };

  ObjectFiles() = default;
  ObjectFiles(const ObjectFiles&) = delete;
  ObjectFiles& operator=(const ObjectFiles&) = delete;

  // Reads the files and publishes to `slot`, which must outlive this; follows them until
  // destruction if options.watch is set. on_change is not called by it. Call once.
  ObjectsReport Start(std::string endpoints_file, Options options, ObjectSlot* slot);
  // Reads the files again.
  void Reload();
  ObjectsReport last() const;

 private:
  using Key = std::pair<Kind, std::string>;
  struct Known {
    Object object;
    std::string file;
  };

  std::vector<std::string> Files() const;
  // False when the file says what it said before. Then nothing else is set.
  bool LoadLocked(ObjectsReport& report);
  void ReadFile(const std::string& path, const std::string& text, std::map<Key, Known>& next,
                std::vector<std::string>& unusable, ObjectsReport& report) const;

  std::string endpoints_file_;
  std::string directory_;
  Options options_;
  ObjectSlot* slot_ = nullptr;

  mutable std::mutex mutex_;  // the five below
  bool read_ = false;
  bool unreadable_ = false;                   // some file, at the last reading
  std::map<std::string, std::string> texts_;  // of files that mention objects, as last read
  std::map<Key, Known> known_;
  ObjectsReport last_;

  std::unique_ptr<DirWatch> watch_;  // last: its thread uses all of the above
};

}  // namespace epp::objects
