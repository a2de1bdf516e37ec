#include "host/loader/manifest.h"

#include <toml++/toml.h>

#include <algorithm>
#include <exception>

#include "absl/strings/ascii.h"
#include "host/base/str_cat.h"
#include "host/loader/refusal.h"

namespace epp::loader {
namespace {

absl::Status Bad(uint32_t line, std::string_view what) {
  return Refuse("EPP-LOAD-MANIFEST", StrCat("plugin.toml line ", line, ": ", what));
}

absl::StatusOr<Manifest> FromTable(const toml::table& table) {
  Manifest m;
  for (const auto& [key, node] : table) {
    const uint32_t line = node.source().begin.line;
    std::string* text = key == "name"          ? &m.name
                        : key == "version"     ? &m.version
                        : key == "license"     ? &m.license
                        : key == "description" ? &m.description
                        : key == "sha256"      ? &m.sha256
                                               : nullptr;
    if (text != nullptr) {
      const auto value = node.value<std::string>();
      if (!value) return Bad(line, StrCat(key.str(), " is not a string"));
      *text = *value;
    } else if (key == "types") {
      const toml::array* items = node.as_array();
      if (items == nullptr) return Bad(line, "types is not a list of strings");
      for (const toml::node& item : *items) {
        const auto value = item.value<std::string>();
        if (!value) return Bad(line, "types is not a list of strings");
        m.types.push_back(*value);
      }
    } else if (key == "check") {
      // How epp-plugin-check configures the types; nothing for the host.
      if (!node.is_table()) return Bad(line, "check is not a table");
    } else {
      return Bad(line, StrCat("unknown key \"", key.str(), "\""));
    }
  }
  absl::AsciiStrToLower(&m.sha256);
  if (!m.sha256.empty() && (m.sha256.size() != 64 ||
                            m.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)) {
    return Bad(1, "sha256 is not 64 hex digits");
  }
  return m;
}

}  // namespace

absl::StatusOr<Manifest> ParseManifest(std::string_view text) {
  try {
    return FromTable(toml::parse(text));
  } catch (const toml::parse_error& e) {
    return Bad(e.source().begin.line, e.description());
  } catch (const std::exception& e) {
    return Bad(0, e.what());
  }
}

}  // namespace epp::loader
