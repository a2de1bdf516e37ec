// The plugin.toml of a library, installed beside NAME.so as NAME.toml. Optional.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace epp::loader {

struct Manifest {
  std::string name;
  std::string version;
  std::string license;
  std::string description;
  std::vector<std::string> types;
  std::string sha256;  // the digest that the library must have; empty for none
};

// Errors: EPP-LOAD-MANIFEST with the line, for a syntax error, an unknown key or a wrong type.
absl::StatusOr<Manifest> ParseManifest(std::string_view text);

}  // namespace epp::loader
