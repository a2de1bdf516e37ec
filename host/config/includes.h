// One config out of several files: epp.include.
//
// The files are read first, into the SourceText of the config, and composed later, from nothing but
// that: what was read once can be composed again, compared, and kept.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "host/config/document.h"

namespace epp::config {

inline constexpr size_t kMaxIncludeDepth = 8;    // files in each other, the config not counted
inline constexpr size_t kMaxIncludedFiles = 64;  // in all
// All files of a config together may be as large as one: kMaxDocumentBytes.

// Where included files come from.
class IncludeReader {
 public:
  virtual ~IncludeReader() = default;
  // The file at `path`, which the real place of no symbolic link may take out of the directory
  // `within`. Both are relative to the directory of the config, without ".." in them; `within` may
  // be empty.
  virtual SourceText::Included Read(const std::string& path, const std::string& within) = 0;
};

// Reads from the directory of the config file at `config`.
class IncludedFiles final : public IncludeReader {
 public:
  explicit IncludedFiles(std::string config);
  SourceText::Included Read(const std::string& path, const std::string& within) override;

 private:
  std::string directory_;  // "" or ends in '/'
};

// `config` with every file that it includes, directly or through others, as far as they can be
// followed. What is wrong with them is for Compose to say.
std::shared_ptr<const SourceText> ReadIncludes(SourceText config, IncludeReader& reader);

// The tree that `config` and its included files amount to: each file laid over those that it
// includes, which are taken in their order and once each (MergeConfig). epp.include is gone from
// it, and epp.shadow.file is relative to the directory of `config`. Nothing when any file is
// unusable; the reasons are in `out`, at the places where they stand.
std::optional<Node> Compose(const std::shared_ptr<const SourceText>& config, Diagnostics& out);

// The included files, readable or not, as paths to open.
std::set<std::string> IncludedPaths(const SourceText& config);

}  // namespace epp::config
