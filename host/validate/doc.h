// The tables of a plugin's README, from its declarations.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "host/validate/subject.h"

namespace epp::validate {

// Markdown: a section for each type with its parameters, attributes and interfaces. Loads the
// library. Errors: why it cannot be loaded.
absl::StatusOr<std::string> Document(const LibraryFile& file);

}  // namespace epp::validate
