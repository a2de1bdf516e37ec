// The typed EndpointPickerConfig, as decoded and after defaults, and its plugins as instances to
// make.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "epp/abi.h"
#include "host/config/diagnostics.h"
#include "host/loader/catalog.h"

namespace epp::config {

// What a plugin type must implement to be named by dataLayer.discovery; private to the host.
inline constexpr const char* kDiscoveryInterface = "epp.host.file-discovery/1";

// The configuration that runs when none is given.
extern const char* const kDefaultConfig;

// Decoded parameters of one instance, in the order of its type's declarations. Owns the texts.
class ParamValues {
 public:
  std::span<const epp_value> view() const { return values_; }
  // Where the config gives a value; without source when it does not.
  const Mark& mark(size_t index) const { return marks_[index]; }
  // For comparing instances across generations: equal texts mean equal values.
  std::string Canonical() const;

 private:
  friend class ParamDecoder;
  std::vector<epp_value> values_;
  std::vector<Mark> marks_;
  std::deque<std::string> texts_;
  std::deque<std::vector<epp_str>> lists_;
};

// One plugin instance to create.
struct PluginSpec {
  std::string name;
  const loader::TypeEntry* type = nullptr;
  std::shared_ptr<const ParamValues> params;
  Mark mark;             // of the plugin's entry; unknown when injected
  std::string injected;  // why the host added it; empty when the config declares it
};

struct ProfileEntry {
  size_t plugin = 0;  // index into ResolvedConfig::plugins
  double weight = 1.0;
  Mark mark;
};

struct ProfileSpec {
  std::string name;
  std::vector<ProfileEntry> entries;  // in config order; a picker is always among them
  Mark mark;
};

struct DataSourceSpec {
  size_t source = 0;  // index into plugins
  std::vector<size_t> extractors;
  Mark mark;
};

// A second config that is asked what it would have picked: `epp.shadow`.
struct ShadowSpec {
  std::string file;   // to open: the directory of the config is part of it
  double sample = 0;  // share of requests, in (0, 1]
};

// A config that passed every check that needs no instance. Plugins are in creation order: a plugin
// comes after those that its parameters name.
struct ResolvedConfig {
  std::vector<PluginSpec> plugins;
  std::vector<ProfileSpec> profiles;
  size_t profile_handler = 0;   // index into plugins
  std::vector<size_t> parsers;  // in order of preference
  std::vector<DataSourceSpec> sources;
  std::optional<size_t> discovery;  // index into plugins
  bool flow_control_gate = false;
  std::optional<ShadowSpec> shadow;
  std::string digest;                        // hex SHA-256 of the text, first 8 digits are shown
  std::shared_ptr<const SourceText> source;  // the text, with what it includes
};

// The digest of the configuration that `text` stands for: of its own text, and with includes of
// their paths and texts as well.
std::string Digest(const SourceText& text);

struct ResolveOptions {
  bool allow_experimental = false;
};

// Composes, decodes and checks `text` (YAML or JSON; empty means the built-in default
// configuration). What it includes must be in it (ReadIncludes). All errors are collected in `out`;
// the result is meaningful only when out.ok().
ResolvedConfig Resolve(std::shared_ptr<const SourceText> text, const loader::Catalog& catalog,
                       const ResolveOptions& options, Diagnostics& out);

// The spec of an instance that the host adds by itself, of `type`, with default parameters. Errors
// (a required parameter) go to `out` at `mark`.
std::optional<PluginSpec> DefaultInstance(const loader::TypeEntry& type, std::string name,
                                          std::string why, const Mark& mark, Diagnostics& out);

}  // namespace epp::config
