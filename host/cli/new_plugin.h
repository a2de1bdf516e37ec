// The project that `epp plugin new` writes.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace epp::cli {

inline constexpr std::array<std::string_view, 5> kNewKinds = {"filter", "scorer", "picker",
                                                              "scraper", "producer"};
inline constexpr std::array<std::string_view, 3> kNewLanguages = {"cpp", "c", "rust"};

struct ProjectFile {
  std::string path;  // below the project's folder
  std::string text;
};

// All files of a project, ready to be written. Errors: InvalidArgument for an unknown kind or
// language, a kind that the language has no template for, or a name that no library can have.
absl::StatusOr<std::vector<ProjectFile>> NewProject(std::string_view kind, std::string_view name,
                                                    std::string_view language);

// Writes them below `folder`, which is made when it is missing. Nothing is written over: when one
// of the files exists, AlreadyExists, and none is written.
absl::Status WriteProject(const std::string& folder, const std::vector<ProjectFile>& files);

}  // namespace epp::cli
