// A new text for a file, put beside it first, so that what can go wrong goes wrong before anything
// else is changed.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace epp::cli {

class StagedFile {
 public:
  // Writes `text` beside what `path` leads to, with its mode and, where possible, owner. Errors
  // name the file and the reason, such as a read-only file system.
  static absl::StatusOr<StagedFile> Stage(const std::string& path, std::string_view text);
  // Removes what was not committed.
  ~StagedFile();
  StagedFile(StagedFile&& other) noexcept;
  StagedFile& operator=(StagedFile&&) = delete;

  // Puts it in place; the former file stays as backup().
  absl::Status Commit();

  const std::string& path() const { return path_; }
  std::string backup() const { return path_ + ".bak"; }

 private:
  StagedFile(std::string path, std::string staged)
      : path_(std::move(path)), staged_(std::move(staged)) {}

  std::string path_;    // without symbolic links
  std::string staged_;  // empty once committed
};

}  // namespace epp::cli
