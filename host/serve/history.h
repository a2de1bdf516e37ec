// The last attempts to change the configuration, with all that it takes to make one of them serve
// again: texts and digests of libraries. Refused ones too.
//
// Kept in a directory, one file an attempt, mode 0600, written in one step; or in memory only, when
// there is no directory, another process has it, or it cannot be written, which is said once.
//
// Threads: any, after Open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "host/base/unique_fd.h"
#include "host/config/diagnostics.h"
#include "host/runtime/state_transfer.h"

namespace epp::serve {

struct ConfigFile {
  std::string path;  // those that the config includes are below its directory
  std::string text;
};

// A library that a generation uses.
struct UsedLibrary {
  std::string name;
  std::string digest;  // hex SHA-256
};

struct Attempt {
  uint64_t generation = 0;  // what it made; 0: refused
  uint64_t serving = 0;     // what served afterwards
  uint64_t restored = 0;    // the generation whose text it took, for a rollback
  std::string digest;       // of the text, hex SHA-256; empty when it could not be read
  std::string cause;        // "start", "file change", "signal", "admin", "rollback", "guard"
  std::string actor;        // "uid 0 pid 812"; empty for the process itself
  std::string reason;       // of a rollback, may be empty
  uint64_t unix_ns = 0;
  uint64_t took_ns = 0;
  size_t kept = 0;  // instances
  size_t created = 0;
  size_t carried = 0;  // of the created ones, those that got the state of their predecessor
  std::vector<runtime::LostState> lost;
  std::vector<std::string> changes;  // one line each
  std::string diagnostics;           // rendered
  std::vector<ConfigFile> files;     // the main text first
  std::vector<UsedLibrary> libraries;

  bool applied() const { return generation != 0; }
  // Whether both ask for the same thing.
  bool SameContent(const Attempt& other) const;
};

class History {
 public:
  // `keep` attempts, and always what serves and what a rollback would take.
  explicit History(size_t keep) : keep_(keep) {}

  // Uses `dir` (created if need be; its parent exists) from now on, and reads what is there. What
  // is wrong is said in the log; nothing here fails.
  void Open(const std::string& dir);
  // Why nothing outlives the process; empty when it does.
  std::string why_in_memory() const;

  void Add(Attempt attempt);

  // The attempt that made this generation; null when it is not kept.
  std::shared_ptr<const Attempt> Find(uint64_t generation) const;
  // What a rollback without a number goes back to from the serving generation: the youngest that
  // was made before what serves now and differs from it. Null for none.
  std::shared_ptr<const Attempt> Before(uint64_t serving) const;
  // Newest first.
  std::vector<std::shared_ptr<const Attempt>> all() const;
  // "33 to 44", "33, 35 to 44"; "none".
  std::string KeptGenerations() const;
  uint64_t last_generation() const;

 private:
  struct Entry {
    std::shared_ptr<const Attempt> attempt;
    std::string file;  // its name in dir_, empty for none
  };
  std::shared_ptr<const Attempt> FindLocked(uint64_t generation) const;
  std::shared_ptr<const Attempt> BeforeLocked(uint64_t serving) const;
  void Store(Entry& entry);
  void Drop();
  void Read(const std::string& name);

  const size_t keep_;
  mutable std::mutex mutex_;
  std::string dir_;  // empty: in memory
  std::string why_in_memory_ = "there is no state directory";
  UniqueFd lock_;
  uint64_t next_file_ = 1;
  std::deque<Entry> entries_;  // newest first
};

// The files of a config that was read from `path`, itself first; and the config that they are, with
// the files as its includes. `config` may be null: then there is one empty text.
std::vector<ConfigFile> FilesOf(const config::SourceText* config, const std::string& path);
std::shared_ptr<const config::SourceText> SourceOf(const Attempt& attempt);

// The document of one attempt, "epp.generation/1"; `texts` includes those of the files.
std::string AttemptJson(const Attempt& attempt, bool texts);
// "epp.generations/1": all of them, without texts.
std::string HistoryJson(const History& history, uint64_t serving);

// The text of a history file, and back. Errors: InvalidArgument for what is none or was damaged.
std::string EncodeAttempt(const Attempt& attempt);
absl::StatusOr<Attempt> DecodeAttempt(std::string_view file);

}  // namespace epp::serve
