// Settings of the host: everything that is not scheduling. One table says each key's name, type,
// default and meaning; the file, --set, the flags and the documentation all come from it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "host/config/diagnostics.h"

namespace epp::config {

// Durations are nanoseconds, sizes bytes, shares fractions.
struct Settings {
  // [config]
  std::string config_file;
  bool config_watch = false;
  int64_t config_settle = 0;
  int64_t config_jitter = 0;
  int64_t config_history = 0;
  std::string state_dir;
  // [plugins]
  std::vector<std::string> plugin_dirs;
  std::string runtime_dir;
  bool allow_unlisted = false;
  bool allow_experimental = false;
  std::vector<std::string> plugin_digests;
  int64_t preflight = 0;
  int64_t call_budget = 0;
  int64_t stuck_abort = 0;
  bool quarantine = false;
  int64_t max_retired = 0;
  // [serve]
  std::string grpc_listen;
  std::string health_listen;
  std::string metrics_listen;
  int64_t workers = 0;
  int64_t max_body = 0;
  int64_t drain = 0;
  bool mode_override = false;
  bool echo_headers = false;
  bool single_destination = false;
  bool strip_system_headers = false;
  bool bodyless_unavailable = false;
  bool own_denials = false;
  // [tls]
  bool secure = false;
  std::string cert_dir;
  bool cert_reload = false;
  std::string tls_min;
  // [admin]
  std::string admin_socket;
  std::string admin_socket_group;
  bool admin_read_only = false;
  // [scrape]
  int64_t scrape_interval = 0;
  int64_t scrape_timeout = 0;
  int64_t scrape_max_body = 0;
  int64_t stale_after = 0;
  // [envoy]
  std::string envoy_endpoints_file;
  // [decisions]
  int64_t records = 0;
  bool observe = false;
  // [guard]
  bool guard = false;
  int64_t guard_window = 0;
  double guard_max_errors = 0;
  double guard_max_skew = 0;
  // [shadow]
  int64_t shadow_cpu_percent = 0;
  // [log]
  std::string log_level;
  std::string log_format;
  // [metrics]
  bool old_names = false;
};

struct SettingSpec {
  enum class Type { kText, kBool, kInt, kNumber, kDuration, kSize, kTexts };
  std::string_view key;  // "section.name"
  Type type;
  std::string_view default_text;  // as it would stand in the file
  std::string_view doc;
  std::variant<std::string Settings::*, bool Settings::*, int64_t Settings::*, double Settings::*,
               std::vector<std::string> Settings::*>
      member;
  int64_t min = 0;
  int64_t max = INT64_MAX;
  std::span<const std::string_view> choices = {};  // of a text; none means any
};

// All settings, in the order of the example file.
std::span<const SettingSpec> SettingSpecs();

// Settings and where each value came from: flag or --set, over the file, over the default.
class SettingsBuilder {
 public:
  SettingsBuilder();

  // Applies a TOML text. Errors (syntax, unknown key, wrong type or range) go to `out`.
  void ApplyFile(std::shared_ptr<const SourceText> text, Diagnostics& out);
  // Applies "section.key" = text, from `origin` ("--set", "--grpc-port"). Values from here win over
  // the file's, whatever the order of the calls.
  absl::Status Apply(std::string_view key, std::string_view text, std::string_view origin);

  const Settings& settings() const { return settings_; }
  // "default", "epp.toml:12", "--grpc-port".
  std::string_view origin(std::string_view key) const;
  // TOML with the origin of each value as a comment.
  std::string Print() const;
  // Keys that are not at their default, for the start-up summary.
  size_t changed() const { return origins_.size(); }

 private:
  absl::Status Set(const SettingSpec& spec, std::string_view text);

  Settings settings_;
  std::map<std::string, std::string, std::less<>> origins_;
  std::map<std::string, bool, std::less<>> pinned_;  // by flag or --set
};

// The value of a setting, as it would stand in the file.
std::string FormatSetting(const SettingSpec& spec, const Settings& settings);

}  // namespace epp::config
