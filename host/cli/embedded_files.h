// Files of the source tree that are part of the executable: sdk/templates, for `epp plugin new`.
#pragma once

#include <span>
#include <string_view>

namespace epp::cli {

struct EmbeddedFile {
  std::string_view name;  // below sdk/templates: "cpp/scorer.cc"
  std::string_view text;
};

// Constant; defined by a generated source.
std::span<const EmbeddedFile> EmbeddedFiles();

}  // namespace epp::cli
