// The EndpointPickerConfig as written: every field typed and checked, no reference followed yet.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/config/document.h"

namespace epp::config {

// A name that must be found elsewhere, and where it stands.
struct Reference {
  std::string name;
  Mark mark;
};

struct RawPlugin {
  std::string name;  // the type where the config gives none
  Reference type;    // empty when the config gives none, which was reported
  std::optional<Node> parameters;
  Mark mark;  // of the entry
};

struct RawProfileEntry {
  Reference plugin;
  std::optional<double> weight;
};

struct RawProfile {
  std::string name;
  Mark mark;
  std::vector<RawProfileEntry> entries;
};

struct RawSource {
  Reference plugin;
  std::vector<Reference> extractors;
};

struct RawShadow {
  Reference file;  // as written
  double sample = 0;
};

struct RawConfig {
  bool flow_control_gate = false;
  std::vector<RawPlugin> plugins;
  std::vector<RawProfile> profiles;
  bool has_profiles = false;

  bool inject_data_defaults = true;
  std::vector<RawSource> sources;
  std::optional<Reference> discovery;

  std::vector<Reference> parsers;
  std::optional<Reference> saturation_detector;
  std::vector<Reference> flow_control_references;  // policies of bands and limits

  std::optional<RawShadow> shadow;
};

// Decodes the typed schema strictly: unknown and repeated keys, wrong types, bad quantities and
// durations, unknown gates are errors in `out`. Deprecated forms are moved, with a warning.
// epp.include is not read: see includes.h.
RawConfig DecodeConfig(const Node& root, const std::shared_ptr<const SourceText>& source,
                       Diagnostics& out);

}  // namespace epp::config
