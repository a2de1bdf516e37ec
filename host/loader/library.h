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
#include "host/loader/guard.h"

namespace epp::loader {

struct LoadOptions {
  // Where private copies go; must permit execution. Empty, or not usable: sealed memory files.
  std::string runtime_dir;
  // Hex SHA-256 digests that may load. Empty together with allow_unlisted = false means: only a
  // library whose plugin.toml pins its own digest.
  std::vector<std::string> allowed_digests;
  bool allow_unlisted = true;
  // Libraries in this directory need no digest that anything lists: they came with the host.
  std::string own_dir;
  // How many former libraries may stay mapped before new ones are refused; 0: no limit.
  size_t max_retired = 0;
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
  bool listed = false;                // a setting or plugin.toml names the digest
  std::string mapped_path;            // the private copy; empty when only inspected
  std::string offers;                 // types and interfaces, for Identity; empty when inspected
  std::vector<std::string> warnings;  // what is odd but no reason to refuse, one line each
};

// A library as it was read: verified, not loaded. Errors carry a code in brackets, e.g.
// "[EPP-ABI-MINOR]", and name the file, what was found and what was wanted.
class LibraryFile {
 public:
  // `dir`/`name`.so and the manifest beside it; NotFound when there is no such file.
  static absl::StatusOr<std::shared_ptr<const LibraryFile>> Read(const std::string& dir,
                                                                 std::string_view name,
                                                                 const LoadOptions& options);
  // The same from memory, for a process that got the bytes from one that read and verified them.
  // `digest` is taken on trust.
  static absl::StatusOr<std::shared_ptr<const LibraryFile>> FromMemory(std::string name,
                                                                       std::string path,
                                                                       std::string digest,
                                                                       std::string bytes);
  ~LibraryFile();

  const LibraryInfo& info() const;
  // Its content, valid as long as the file and the result are. Of a library that is mapped and
  // unchanged it is read once more, from its private copy or where it was found. Errors:
  // EPP-LOAD-COPY, or as Read.
  absl::StatusOr<std::shared_ptr<const std::string>> Bytes() const;

 private:
  friend class Library;
  struct Impl;
  explicit LibraryFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class Library {
 public:
  // Errors as above. The same digest twice gives the same object. A library stays mapped for the
  // life of the process, used or not.
  static absl::StatusOr<std::shared_ptr<const Library>> Load(const LibraryFile& file,
                                                             const LoadOptions& options);
  // Reads and loads `dir`/`name`.so.
  static absl::StatusOr<std::shared_ptr<const Library>> Load(const std::string& dir,
                                                             std::string_view name,
                                                             const LoadOptions& options);
  // A library of that name and digest that this process has mapped before; null for none.
  static std::shared_ptr<const Library> FindMapped(std::string_view name,
                                                   const std::string& digest);
  // Maps the file once more, whether it is mapped already or not.
  static absl::StatusOr<std::shared_ptr<const Library>> LoadAgain(const LibraryFile& file,
                                                                  const LoadOptions& options);
  // Digests of all that was mapped by Load, and stays.
  static std::vector<std::string> MappedDigests();
  static bool IsMapped(std::string_view digest);
  // The bytes that this library was mapped from. Errors: when its private copy is gone.
  absl::StatusOr<std::string> Bytes() const;

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
  // `is_mapped`: code of the library ran, and stays, even when it was refused afterwards.
  static absl::StatusOr<std::shared_ptr<const Library>> MapFile(const LibraryFile& file,
                                                                const LoadOptions& options,
                                                                Entry as, bool* is_mapped);
  std::unique_ptr<Impl> impl_;
};

}  // namespace epp::loader
