// One plugin library in this process: verified on its bytes, mapped from a private copy.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "epp/abi.h"

namespace epp::loader {

struct LoadOptions {
  // Where private copies go; must permit execution. Empty, or not usable: sealed memory files.
  std::string runtime_dir;
  // Hex SHA-256 digests that may load. Empty together with allow_unlisted = false means: only a
  // library whose plugin.toml pins its own digest.
  std::vector<std::string> allowed_digests;
  bool allow_unlisted = true;
};

// What the file says about itself (ELF note, plugin.toml beside it), before any of its code ran.
struct LibraryInfo {
  std::string name;    // file name without .so
  std::string path;    // as installed
  std::string digest;  // hex SHA-256
  epp_abi_note note{};
  std::string version;                // of plugin.toml, else empty
  std::string license;                // likewise
  std::string description;            // likewise
  std::vector<std::string> types;     // likewise
  std::string mapped_path;            // the private copy; empty when only inspected
  std::vector<std::string> warnings;  // what is odd but no reason to refuse, one line each
};

class Library {
 public:
  // Loads `dir`/`name`.so. Errors carry a code in brackets, e.g. "[EPP-ABI-MINOR]", and name the
  // file, what was found and what was wanted; NotFound when there is no such file. The same digest
  // twice gives the same object. A library stays mapped for the life of the process, used or not.
  static absl::StatusOr<std::shared_ptr<const Library>> Load(const std::string& dir,
                                                             std::string_view name,
                                                             const LoadOptions& options);
  // A library of that name and digest that this process has mapped before; null for none.
  static std::shared_ptr<const Library> FindMapped(std::string_view name,
                                                   const std::string& digest);
  // Reads the file without running any of its code.
  static absl::StatusOr<LibraryInfo> Inspect(const std::string& dir, std::string_view name);

  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  const LibraryInfo& info() const;
  const epp_module& module() const;
  std::span<const epp_plugin_type* const> types() const;

 private:
  struct Impl;
  explicit Library(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace epp::loader
