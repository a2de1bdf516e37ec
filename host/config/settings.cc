#include "host/config/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <sstream>
#include <type_traits>

#include "absl/time/time.h"
#include "host/base/json_writer.h"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"
#include "host/base/strings.h"
#include "toml++/toml.h"

namespace epp::config {
namespace {

using Type = SettingSpec::Type;

constexpr int64_t kSecond = 1'000'000'000;

constexpr std::string_view kLogLevels[] = {"error", "warn", "info", "debug", "trace"};
constexpr std::string_view kLogFormats[] = {"auto", "text", "json"};
constexpr std::string_view kTlsVersions[] = {"", "VersionTLS10", "VersionTLS11", "VersionTLS12",
                                             "VersionTLS13"};

constexpr std::array kTable = {
    SettingSpec{"config.file", Type::kText, "\"\"", "scheduling config; --config-file wins",
                &Settings::config_file},
    SettingSpec{"config.watch", Type::kBool, "true",
                "follow the config file and the plugin directories; false: only epp reload and "
                "SIGHUP apply changes",
                &Settings::config_watch},
    SettingSpec{"config.settle", Type::kDuration, "\"250ms\"",
                "quiet time after the last change of a file", &Settings::config_settle, 0,
                60 * kSecond},
    SettingSpec{"config.jitter", Type::kDuration, "\"0s\"",
                "random delay before a change is applied, for several replicas",
                &Settings::config_jitter, 0, 3600 * kSecond},
    SettingSpec{"config.history", Type::kInt, "12",
                "attempts to change the configuration that are kept, for epp rollback",
                &Settings::config_history, 1, 100},
    SettingSpec{"config.state_dir", Type::kText, "\"/var/lib/epp\"",
                "what outlives a restart (history, quarantine); empty: nothing does",
                &Settings::state_dir},

    SettingSpec{"plugins.dirs", Type::kTexts, "[]",
                "directories with plugin libraries, searched in this order; empty: those that came "
                "with epp",
                &Settings::plugin_dirs},
    SettingSpec{"plugins.runtime_dir", Type::kText, "\"\"",
                "private copies of libraries; must allow execution; empty: sealed memory files",
                &Settings::runtime_dir},
    SettingSpec{"plugins.allow_unlisted", Type::kBool, "true",
                "load libraries whose digest nothing pins; false for production",
                &Settings::allow_unlisted},
    SettingSpec{"plugins.allow_experimental", Type::kBool, "false",
                "alpha plugin types; same as --allow-experimental-plugins",
                &Settings::allow_experimental},
    SettingSpec{"plugins.sha256", Type::kTexts, "[]",
                "digests of libraries that may load, beside those that a plugin.toml pins",
                &Settings::plugin_digests},
    SettingSpec{
        "plugins.preflight", Type::kDuration, "\"5s\"",
        "how long one call may take in the child that tries new libraries first, and a twelfth "
        "of what all may take; 0s: no trial, not advised",
        &Settings::preflight, 0, 600 * kSecond},
    SettingSpec{"plugins.call_budget", Type::kDuration, "\"1ms\"",
                "a call that takes longer (1 us more an endpoint, 1 ns more a byte) is a strike, "
                "three in a minute switch the instance off; 0s: never",
                &Settings::call_budget, 0, 60 * kSecond},
    SettingSpec{"plugins.stuck_abort", Type::kDuration, "\"30s\"",
                "end the process when a call has not returned for so long; 0s: never",
                &Settings::stuck_abort, 0, 3600 * kSecond},
    SettingSpec{"plugins.quarantine", Type::kBool, "true",
                "after a crash, do not load again the library that was running",
                &Settings::quarantine},
    SettingSpec{"plugins.max_retired", Type::kInt, "64",
                "former libraries that stay mapped before new ones are refused until a restart",
                &Settings::max_retired, 0, 100000},

    SettingSpec{"serve.grpc_listen", Type::kText, "\"[::]:9002\"", "ext-proc",
                &Settings::grpc_listen},
    SettingSpec{"serve.health_listen", Type::kText, "\"[::]:9003\"",
                "gRPC health, always plaintext", &Settings::health_listen},
    SettingSpec{"serve.metrics_listen", Type::kText, "\"[::]:9090\"",
                "/metrics /healthz /readyz /debug/plugins/state", &Settings::metrics_listen},
    SettingSpec{"serve.workers", Type::kInt, "0", "request threads; 0: one a core",
                &Settings::workers, 0, 256},
    SettingSpec{"serve.max_body", Type::kSize, "\"0\"",
                "cap on request bodies, larger ones get 413; 0: none", &Settings::max_body},
    SettingSpec{"serve.drain", Type::kDuration, "\"30s\"",
                "keep serving after SIGTERM before refusing new streams", &Settings::drain, 0,
                3600 * kSecond},
    SettingSpec{"serve.mode_override", Type::kBool, "true",
                "ask the proxy not to send response bodies that no plugin reads",
                &Settings::mode_override},
    SettingSpec{"serve.echo_headers", Type::kBool, "false",
                "repeat every header in the mutation, as llm-d-router does",
                &Settings::echo_headers},
    SettingSpec{"serve.single_destination", Type::kBool, "false",
                "never send more than the first target to the proxy",
                &Settings::single_destination},
    SettingSpec{"serve.strip_system_headers", Type::kBool, "false",
                "remove the client's own control headers before the model server",
                &Settings::strip_system_headers},
    SettingSpec{"serve.bodyless_unavailable", Type::kBool, "false",
                "answer 503 instead of 500 when a request without body finds no endpoint",
                &Settings::bodyless_unavailable},
    SettingSpec{"serve.own_denials", Type::kBool, "false",
                "answer with an admitter's own status, such as 429, instead of 500",
                &Settings::own_denials},

    SettingSpec{"tls.secure", Type::kBool, "true",
                "TLS on the ext-proc port; same as --secure-serving", &Settings::secure},
    SettingSpec{"tls.cert_dir", Type::kText, "\"\"", "tls.crt and tls.key; empty: self-signed",
                &Settings::cert_dir},
    SettingSpec{"tls.reload", Type::kBool, "false", "follow changes in cert_dir",
                &Settings::cert_reload},
    SettingSpec{"tls.min", Type::kText, "\"\"",
                "VersionTLS12 or VersionTLS13; empty: the library's", &Settings::tls_min, 0, 0,
                kTlsVersions},

    SettingSpec{"admin.socket", Type::kText, "\"/run/epp/admin.sock\"", "empty turns it off",
                &Settings::admin_socket},
    SettingSpec{"admin.socket_group", Type::kText, "\"\"", "group of the socket; its mode is 0660",
                &Settings::admin_socket_group},
    SettingSpec{"admin.read_only", Type::kBool, "false", "refuse every change",
                &Settings::admin_read_only},

    SettingSpec{"scrape.interval", Type::kDuration, "\"50ms\"",
                "time between two scrapes of an endpoint, at least 50ms",
                &Settings::scrape_interval, 50'000'000, 3600 * kSecond},
    SettingSpec{"scrape.timeout", Type::kDuration, "\"1s\"", "for one scrape",
                &Settings::scrape_timeout, 1'000'000, 60 * kSecond},
    SettingSpec{"scrape.max_body", Type::kSize, "\"16Mi\"", "larger pages are refused",
                &Settings::scrape_max_body, 1024, int64_t{1} << 30},
    SettingSpec{"scrape.stale_after", Type::kDuration, "\"2s\"",
                "age at which an endpoint's metrics count as stale", &Settings::stale_after,
                1'000'000, 3600 * kSecond},

    SettingSpec{"envoy.endpoints_file", Type::kText, "\"\"",
                "keep the pool's members here for an EDS cluster of Envoy; \"\": off",
                &Settings::envoy_endpoints_file},

    SettingSpec{"decisions.records", Type::kInt, "1024", "decisions kept for epp explain; 0: none",
                &Settings::records, 0, 65536},
    SettingSpec{
        "decisions.observe", Type::kBool, "false",
        "read responses although no plugin wants them: tokens and times in records and metrics",
        &Settings::observe},

    SettingSpec{"guard.enabled", Type::kBool, "false",
                "go back by itself when a new configuration turns out bad", &Settings::guard},
    SettingSpec{"guard.window", Type::kDuration, "\"2m\"",
                "how long a new configuration is watched", &Settings::guard_window, kSecond,
                3600 * kSecond},
    SettingSpec{"guard.max_errors", Type::kNumber, "0.01", "share of requests that fail inside epp",
                &Settings::guard_max_errors, 0, 1},
    SettingSpec{"guard.max_skew", Type::kNumber, "3.0",
                "requests of the busiest endpoint by those of the mean one",
                &Settings::guard_max_skew, 1, 1'000'000},

    SettingSpec{"shadow.cpu_percent", Type::kInt, "5",
                "share of the workers that a shadow may take before it is shed",
                &Settings::shadow_cpu_percent, 1, 100},

    SettingSpec{"log.level", Type::kText, "\"info\"", "error, warn, info, debug, trace; -v wins",
                &Settings::log_level, 0, 0, kLogLevels},
    SettingSpec{"log.format", Type::kText, "\"auto\"", "auto, text, json", &Settings::log_format, 0,
                0, kLogFormats},

    SettingSpec{"metrics.old_names", Type::kBool, "false",
                "also emit the deprecated metric names of llm-d-router", &Settings::old_names},
};

const SettingSpec* Find(std::string_view key) {
  for (const SettingSpec& spec : SettingSpecs()) {
    if (spec.key == key) return &spec;
  }
  return nullptr;
}

std::string_view TypeName(Type type) {
  switch (type) {
    case Type::kText:
      return "a string";
    case Type::kBool:
      return "true or false";
    case Type::kInt:
      return "an integer";
    case Type::kNumber:
      return "a number";
    case Type::kDuration:
      return "a duration such as \"250ms\" or \"1m30s\"";
    case Type::kSize:
      return "a size such as \"16Mi\" or \"0\"";
    case Type::kTexts:
      return "a list of strings";
  }
  return "";
}

std::string FormatNumber(Type type, int64_t value) {
  if (type == Type::kDuration)
    return StrCat("\"", FormatGoDuration(absl::Nanoseconds(value)), "\"");
  return StrCat(value);
}

absl::Status Wrong(const SettingSpec& spec, std::string_view got) {
  return absl::InvalidArgumentError(StrCat(spec.key, " is ", got, ", want ", TypeName(spec.type)));
}

// A value as the text that Set takes.
std::string TextOf(const toml::node& node) {
  if (const auto* s = node.as_string()) return s->get();
  if (const auto* i = node.as_integer()) return StrCat(i->get());
  if (const auto* f = node.as_floating_point()) return StrCat(f->get());
  if (const auto* b = node.as_boolean()) return b->get() ? "true" : "false";
  std::ostringstream out;
  out << toml::node_view<const toml::node>(node);
  return out.str();
}

// The same for a message.
std::string Shown(const toml::node& node) {
  if (node.is_table()) return "a table";
  if (node.is_array()) return "a list";
  if (node.is_string()) return StrCat("\"", TextOf(node), "\"");
  return TextOf(node);
}

const char* CodeOf(const absl::Status& status) {
  if (absl::IsOutOfRange(status)) return "EPP-SET-RANGE";
  return absl::IsNotFound(status) ? "EPP-SET-CHOICE" : "EPP-SET-TYPE";
}

Mark MarkOf(const std::shared_ptr<const SourceText>& text, const toml::source_region& region) {
  Mark mark;
  mark.source = text;
  mark.line = region.begin.line;
  mark.column = region.begin.column;
  if (region.end.line == region.begin.line && region.end.column > region.begin.column) {
    mark.length = region.end.column - region.begin.column;
  }
  return mark;
}

}  // namespace

std::span<const SettingSpec> SettingSpecs() { return kTable; }

SettingsBuilder::SettingsBuilder() {
  for (const SettingSpec& spec : SettingSpecs()) {
    if (spec.type == Type::kTexts) continue;  // defaults to empty
    std::string_view text = spec.default_text;
    if (text.size() >= 2 && text.front() == '"') text = text.substr(1, text.size() - 2);
    Set(spec, text).IgnoreError();
  }
}

absl::Status SettingsBuilder::Set(const SettingSpec& spec, std::string_view text) {
  const std::string quoted = StrCat("\"", text, "\"");
  switch (spec.type) {
    case Type::kText:
      if (!spec.choices.empty() && std::ranges::find(spec.choices, text) == spec.choices.end()) {
        std::string want;
        for (const std::string_view choice : spec.choices) {
          StrAppend(&want, want.empty() ? "" : ", ", "\"", choice, "\"");
        }
        return absl::NotFoundError(StrCat(spec.key, " is ", quoted, ", want one of ", want));
      }
      settings_.*std::get<std::string Settings::*>(spec.member) = text;
      return absl::OkStatus();
    case Type::kBool:
      if (text != "true" && text != "false") return Wrong(spec, quoted);
      settings_.*std::get<bool Settings::*>(spec.member) = text == "true";
      return absl::OkStatus();
    case Type::kTexts: {
      std::vector<std::string> items;
      while (!text.empty()) {
        const size_t comma = text.find(',');
        items.emplace_back(text.substr(0, comma));
        text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
      }
      settings_.*std::get<std::vector<std::string> Settings::*>(spec.member) = std::move(items);
      return absl::OkStatus();
    }
    case Type::kNumber: {
      double value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
        return Wrong(spec, quoted);
      }
      if (value < static_cast<double>(spec.min) || value > static_cast<double>(spec.max)) {
        return absl::OutOfRangeError(
            StrCat(spec.key, " is ", text, ", want ", spec.min, " to ", spec.max));
      }
      settings_.*std::get<double Settings::*>(spec.member) = value;
      return absl::OkStatus();
    }
    case Type::kInt:
    case Type::kDuration:
    case Type::kSize:
      break;
  }
  int64_t value = 0;
  if (spec.type == Type::kDuration) {
    const absl::StatusOr<int64_t> parsed = ParseGoDurationNs(text);
    if (!parsed.ok()) return Wrong(spec, quoted);
    value = *parsed;
  } else if (spec.type == Type::kSize) {
    const absl::StatusOr<uint64_t> parsed = ParseQuantity(text);
    if (!parsed.ok() || *parsed > INT64_MAX) return Wrong(spec, quoted);
    value = static_cast<int64_t>(*parsed);
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return Wrong(spec, quoted);
  }
  if (value < spec.min || value > spec.max) {
    return absl::OutOfRangeError(
        StrCat(spec.key, " is ", text, ", want ", FormatNumber(spec.type, spec.min),
               spec.max == INT64_MAX ? std::string(" or more")
                                     : StrCat(" to ", FormatNumber(spec.type, spec.max))));
  }
  settings_.*std::get<int64_t Settings::*>(spec.member) = value;
  return absl::OkStatus();
}

absl::Status SettingsBuilder::Apply(std::string_view key, std::string_view text,
                                    std::string_view origin) {
  const SettingSpec* spec = Find(key);
  if (spec == nullptr) {
    std::vector<std::string_view> known;
    for (const SettingSpec& s : SettingSpecs()) known.push_back(s.key);
    const std::string_view near = Nearest(key, known);
    return absl::InvalidArgumentError(
        StrCat("unknown setting \"", key, "\"",
               near.empty() ? std::string() : StrCat(", did you mean \"", near, "\"?")));
  }
  const absl::Status status = Set(*spec, text);
  if (status.ok()) {
    origins_[std::string(key)] = origin;
    pinned_[std::string(key)] = true;
  }
  return status;
}

void SettingsBuilder::ApplyFile(std::shared_ptr<const SourceText> text, Diagnostics& out) {
  toml::table root;
  try {
    root = toml::parse(text->text, text->name);
  } catch (const toml::parse_error& error) {
    out.Error(MarkOf(text, error.source()), "EPP-SET-SYNTAX", std::string(error.description()));
    return;
  }
  std::vector<std::string_view> known;
  for (const SettingSpec& s : SettingSpecs()) known.push_back(s.key);

  for (const auto& [section_key, section_node] : root) {
    const std::string section(section_key.str());
    const toml::table* section_table = section_node.as_table();
    if (section_table == nullptr) {
      out.Error(MarkOf(text, section_key.source()), "EPP-SET-UNKNOWN-KEY",
                StrCat("\"", section, "\" is not a section"), "want [section]");
      continue;
    }
    for (const auto& [name_key, node] : *section_table) {
      const std::string key = StrCat(section, ".", name_key.str());
      const Mark key_mark = MarkOf(text, name_key.source());
      const Mark mark = MarkOf(text, node.source());
      const SettingSpec* spec = Find(key);
      if (spec == nullptr) {
        const std::string_view near = Nearest(key, known);
        out.Error(key_mark, "EPP-SET-UNKNOWN-KEY", StrCat("unknown setting \"", key, "\""),
                  near.empty() ? std::string() : StrCat("did you mean \"", near, "\"?"));
        continue;
      }
      const bool list = spec->type == Type::kTexts;
      const bool fits = list                          ? node.is_array()
                        : spec->type == Type::kBool   ? node.is_boolean()
                        : spec->type == Type::kInt    ? node.is_integer()
                        : spec->type == Type::kNumber ? node.is_number()
                        : spec->type == Type::kSize   ? node.is_string() || node.is_integer()
                                                      : node.is_string();
      if (!fits) {
        out.Error(mark, "EPP-SET-TYPE",
                  StrCat(key, " is ", Shown(node), ", want ", TypeName(spec->type)));
        continue;
      }
      const bool pinned = pinned_.contains(key);
      if (list) {
        std::vector<std::string> items;
        const size_t errors = out.errors();
        for (const toml::node& item : *node.as_array()) {
          if (!item.is_string()) {
            out.Error(MarkOf(text, item.source()), "EPP-SET-TYPE",
                      StrCat(key, " has an item that is ", Shown(item), ", want a string"));
            continue;
          }
          items.push_back(item.as_string()->get());
        }
        if (pinned || out.errors() > errors) continue;
        settings_.*std::get<std::vector<std::string> Settings::*>(spec->member) = std::move(items);
      } else {
        const Settings kept = settings_;
        if (const absl::Status status = Set(*spec, TextOf(node)); !status.ok()) {
          out.Error(mark, CodeOf(status),
                    std::string(status.message().data(), status.message().size()));
          continue;
        }
        if (pinned) {  // checked all the same
          settings_ = kept;
          continue;
        }
      }
      origins_[key] = StrCat(text->name, ":", mark.line);
    }
  }
}

std::string_view SettingsBuilder::origin(std::string_view key) const {
  const auto it = origins_.find(key);
  return it == origins_.end() ? std::string_view("default") : it->second;
}

std::string FormatSetting(const SettingSpec& spec, const Settings& settings) {
  return std::visit(
      [&](auto member) -> std::string {
        const auto& value = settings.*member;
        using T = std::decay_t<decltype(value)>;
        std::string out;
        if constexpr (std::is_same_v<T, std::string>) {
          AppendJsonString(value, &out);
        } else if constexpr (std::is_same_v<T, bool>) {
          out = value ? "true" : "false";
        } else if constexpr (std::is_same_v<T, double>) {
          AppendJsonDouble(value, &out);
          if (out.find_first_of(".e") == std::string::npos) out += ".0";
        } else if constexpr (std::is_same_v<T, int64_t>) {
          out =
              spec.type == Type::kSize ? StrCat("\"", value, "\"") : FormatNumber(spec.type, value);
        } else {
          out = "[";
          for (const std::string& item : value) {
            if (out.size() > 1) out += ", ";
            AppendJsonString(item, &out);
          }
          out += "]";
        }
        return out;
      },
      spec.member);
}

std::string SettingsBuilder::Print() const {
  std::string out;
  std::string_view section;
  for (const SettingSpec& spec : SettingSpecs()) {
    const size_t dot = spec.key.find('.');
    if (spec.key.substr(0, dot) != section) {
      section = spec.key.substr(0, dot);
      StrAppend(&out, out.empty() ? "" : "\n", "[", section, "]\n");
    }
    StrAppend(&out, spec.key.substr(dot + 1), " = ", FormatSetting(spec, settings_), "  # ",
              origin(spec.key), "\n");
  }
  return out;
}

}  // namespace epp::config
