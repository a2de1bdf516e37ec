#include "host/cli/serve_flags.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <functional>
#include <sstream>

#include "CLI/CLI.hpp"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"

namespace epp::cli {
namespace {

// Flags of the reference that moved into the parameters of core-metrics-extractor.
constexpr std::array kMoved = {"total-queued-requests-metric", "total-running-requests-metric",
                               "kv-cache-usage-percentage-metric", "lora-info-metric",
                               "cache-info-metric"};

std::string_view View(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

// Remembers the first error of a flag's own check; CLI11 callbacks cannot return one.
class Problems {
 public:
  void Note(absl::Status status) {
    if (first_.ok()) first_ = std::move(status);
  }
  const absl::Status& first() const { return first_; }

 private:
  absl::Status first_;
};

absl::StatusOr<std::vector<uint16_t>> ParsePorts(const std::vector<std::string>& texts) {
  std::vector<uint16_t> ports;
  for (const std::string& text : texts) {
    uint32_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc() || end != text.data() + text.size() || port > 65535) {
      return absl::InvalidArgumentError(
          StrCat("--endpoint-target-ports: \"", text, "\" is not a port, want 0 to 65535"));
    }
    if (std::find(ports.begin(), ports.end(), port) == ports.end()) {
      ports.push_back(static_cast<uint16_t>(port));
    }
  }
  if (ports.size() > 8) {
    return absl::InvalidArgumentError(
        StrCat("--endpoint-target-ports: ", ports.size(), " ports, want at most 8"));
  }
  return ports;
}

// "[::]:9002" with another port.
std::string WithPort(const std::string& listen, std::string_view port) {
  return StrCat(std::string_view(listen).substr(0, listen.rfind(':')), ":", port);
}

std::string LevelOf(int verbosity) {
  return verbosity <= 3 ? "info" : verbosity == 4 ? "debug" : "trace";
}

class Parser {
 public:
  explicit Parser(ServeCommandLine& out) : out_(out), app_("Run the endpoint picker", "epp serve") {
    app_.set_help_flag("-h,--help", "print this help");
    AddOwn();
    AddServing();
    AddPool();
    AddConfiguration();
    AddDiagnostics();
  }

  absl::Status Run(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    try {
      app_.parse(arguments);
    } catch (const CLI::CallForHelp&) {
      return absl::CancelledError(app_.help());
    } catch (const CLI::ParseError& error) {
      return absl::InvalidArgumentError(error.what());
    }
    if (!problems_.first().ok()) return problems_.first();
    return Check();
  }

  AppText Text() const { return DescribeApp(app_); }
  std::vector<std::string> FlagNames() const {
    std::vector<std::string> names;
    for (const CLI::Option* option : app_.get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back(StrCat("--", name));
    }
    return names;
  }

 private:
  // A flag that is a setting under another name.
  void Setting(const std::string& flag, const std::string& key, const std::string& doc) {
    app_.add_option_function<std::string>(
        flag, [this, key, flag](const std::string& text) { Apply(key, text, flag); }, doc);
  }
  void BoolSetting(const std::string& flag, const std::string& key, const std::string& doc) {
    app_.add_flag_function(
        flag, [this, key, flag](int64_t n) { Apply(key, n > 0 ? "true" : "false", flag); }, doc);
  }
  void PortSetting(const std::string& flag, const std::string& key,
                   std::string config::Settings::*member, const std::string& doc) {
    app_.add_option_function<std::string>(
        flag,
        [this, key, flag, member](const std::string& port) {
          Apply(key, WithPort(out_.settings.settings().*member, port), flag);
        },
        doc);
  }
  void Apply(const std::string& key, std::string_view text, const std::string& origin) {
    const absl::Status status = out_.settings.Apply(key, text, origin);
    if (!status.ok()) {
      problems_.Note(absl::InvalidArgumentError(StrCat(origin, ": ", View(status))));
    }
  }
  // Accepted, because command lines have it; without effect here.
  void Inert(const std::string& flag, const std::string& why) {
    app_.add_option_function<std::string>(
            flag,
            [this, flag, why](const std::string&) {
              out_.flags.warnings.push_back(StrCat(flag, " has no effect: ", why));
            },
            why)
        ->expected(0, 1);
  }

  void AddOwn() {
    app_.add_option("--settings", out_.flags.settings_file, "settings file (TOML)");
    app_.add_option_function<std::vector<std::string>>(
        "--set",
        [this](const std::vector<std::string>& pairs) {
          for (const std::string& pair : pairs) {
            const size_t eq = pair.find('=');
            if (eq == std::string::npos) {
              problems_.Note(absl::InvalidArgumentError(
                  StrCat("--set: \"", pair, "\" has no \"=\", want SECTION.KEY=VALUE")));
              continue;
            }
            Apply(pair.substr(0, eq), pair.substr(eq + 1), "--set");
          }
        },
        "SECTION.KEY=VALUE: override one setting, repeatable");
    app_.add_flag("--print-settings", out_.flags.print_settings,
                  "print the effective settings with their origin, and exit");
    app_.add_option("--endpoints-file", out_.flags.endpoints_file,
                    "discover endpoints from this file, whatever the config says");
  }

  void AddServing() {
    PortSetting("--grpc-port", "serve.grpc_listen", &config::Settings::grpc_listen,
                "ext-proc port");
    PortSetting("--grpc-health-port", "serve.health_listen", &config::Settings::health_listen,
                "gRPC health port");
    PortSetting("--metrics-port", "serve.metrics_listen", &config::Settings::metrics_listen,
                "metrics port");
    app_.add_option("--grpc-max-recv-msg-size", out_.flags.max_recv_message,
                    "largest received message, e.g. 10MiB");
    app_.add_option("--grpc-max-send-msg-size", out_.flags.max_send_message,
                    "largest sent message");
    BoolSetting("--secure-serving", "tls.secure", "TLS on the ext-proc port");
    Setting("--cert-path", "tls.cert_dir", "directory with tls.crt and tls.key");
    BoolSetting("--enable-cert-reload", "tls.reload", "follow changes of the certificate");
    Setting("--tls-min-version", "tls.min", "VersionTLS10 to VersionTLS13");
    app_.add_option("--tls-cipher-suites", out_.flags.tls_cipher_suites, "Go names, TLS 1.2")
        ->delimiter(',');
    app_.add_flag("--health-checking", out_.flags.health_checking,
                  "health service on the ext-proc port too");
    Setting("--drain-timeout", "serve.drain", "serve on for this long after SIGTERM");
    app_.add_flag("--ha-enable-leader-election", out_.flags.leader_election,
                  "leader election (needs Kubernetes)");
    app_.add_flag("--enable-grpc-stream-metrics", out_.flags.stream_metrics,
                  "metrics of ext-proc streams");
    app_.add_flag("--emit-endpoint-scores", out_.flags.emit_endpoint_scores,
                  "publish scores as dynamic metadata");
    app_.add_flag_function(
        "--disable-endpoint-subset-filter",
        [this](int64_t n) { out_.flags.subset_filter = n <= 0; }, "ignore the subset hint");
  }

  void AddPool() {
    app_.add_option("--pool-name", out_.flags.pool_name, "InferencePool name");
    app_.add_option("--pool-namespace", out_.flags.pool_namespace, "InferencePool namespace");
    app_.add_option("--pool-group", out_.flags.pool_group, "InferencePool API group");
    app_.add_option("--endpoint-selector", out_.flags.endpoint_selector,
                    "label selector instead of a pool");
    app_.add_option("--endpoint-target-ports", target_ports_, "1 to 8 ports with the selector")
        ->delimiter(',');
    app_.add_option_function<std::string>(
        "--refresh-metrics-interval", [this](const std::string& text) { ApplyInterval(text); },
        "time between two scrapes");
    app_.add_option_function<std::string>(
        "--refresh-prometheus-metrics-interval",
        [this](const std::string& text) {
          const absl::StatusOr<int64_t> ns = ParseGoDurationNs(text);
          if (!ns.ok() || *ns <= 0) {
            problems_.Note(
                absl::InvalidArgumentError(StrCat("--refresh-prometheus-metrics-interval: \"", text,
                                                  "\" is not a positive duration such as \"5s\"")));
            return;
          }
          out_.flags.pool_metrics_interval_ns = *ns;
        },
        "time between two flushes of the pool gauges");
    Setting("--metrics-staleness-threshold", "scrape.stale_after",
            "age at which metrics count as stale");
  }

  // The reference raises too small values instead of refusing them.
  void ApplyInterval(const std::string& text) {
    const absl::StatusOr<int64_t> ns = ParseGoDurationNs(text);
    if (ns.ok() && *ns < 50'000'000) {
      out_.flags.warnings.push_back(
          StrCat("--refresh-metrics-interval is ", text, ", raised to 50ms"));
      Apply("scrape.interval", "50ms", "--refresh-metrics-interval");
      return;
    }
    Apply("scrape.interval", text, "--refresh-metrics-interval");
  }

  void AddConfiguration() {
    Setting("--config-file", "config.file", "EndpointPickerConfig, YAML or JSON");
    app_.add_option("--config-text", out_.flags.config_text, "the same, inline");
    BoolSetting("--allow-experimental-plugins", "plugins.allow_experimental",
                "allow alpha plugin types");
  }

  void AddDiagnostics() {
    app_.add_option_function<int>(
        "-v,--v", [this](int n) { Apply("log.level", LevelOf(n < 0 ? 2 : n), "-v"); },
        "verbosity: 2 info, 4 debug, 5 trace");
    app_.add_option_function<std::string>(
        "--zap-log-level",
        [this](const std::string& text) {
          int n = 0;
          const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
          const bool number = error == std::errc() && end == text.data() + text.size();
          Apply("log.level",
                number            ? LevelOf(n)
                : text == "panic" ? "error"
                                  : text,
                "--zap-log-level");
        },
        "debug, info, error, panic or a number");
    Inert("--zap-encoder", "log.format in the settings file says it");
    Inert("--zap-devel", "there is one logger");
    Inert("--zap-stacktrace-level", "log lines carry no stack traces");
    Inert("--zap-time-encoding", "times are epoch seconds in JSON");
    Inert("--tracing", "this build has no trace exporter");
    Inert("--enable-pprof", "use perf; symbols are in the binary");
    Inert("--metrics-endpoint-auth", "it needs Kubernetes");
    app_.add_option("--metrics-cert-dir", metrics_cert_dir_, "TLS for the metrics port");
    app_.add_option("--metrics-client-ca-file", metrics_client_ca_,
                    "client CA of the metrics port");
    for (const char* flag : kMoved) {
      app_.add_option_function<std::string>(
          StrCat("--", flag),
          [this, flag](const std::string&) {
            problems_.Note(absl::InvalidArgumentError(
                StrCat("--", flag, " was removed: use engineConfigs of core-metrics-extractor")));
          },
          "removed");
    }
  }

  absl::Status Check() {
    const absl::StatusOr<std::vector<uint16_t>> ports = ParsePorts(target_ports_);
    if (!ports.ok()) return ports.status();
    out_.flags.endpoint_target_ports = *ports;
    if (!out_.flags.pool_name.empty() && !out_.flags.endpoint_selector.empty()) {
      return absl::InvalidArgumentError("--pool-name and --endpoint-selector exclude each other");
    }
    if (!out_.flags.endpoint_selector.empty() && ports->empty()) {
      return absl::InvalidArgumentError("--endpoint-selector needs --endpoint-target-ports");
    }
    if (!metrics_client_ca_.empty() && metrics_cert_dir_.empty()) {
      return absl::InvalidArgumentError("--metrics-client-ca-file needs --metrics-cert-dir");
    }
    if (!out_.flags.config_text.empty() && !out_.settings.settings().config_file.empty()) {
      return absl::InvalidArgumentError("--config-file and --config-text exclude each other");
    }
    const std::string& min = out_.settings.settings().tls_min;
    if (!min.empty() && min != "VersionTLS10" && min != "VersionTLS11" && min != "VersionTLS12" &&
        min != "VersionTLS13") {
      return absl::InvalidArgumentError(
          StrCat("--tls-min-version is \"", min, "\", want VersionTLS10 to VersionTLS13"));
    }
    return absl::OkStatus();
  }

  ServeCommandLine& out_;
  CLI::App app_;
  Problems problems_;
  std::vector<std::string> target_ports_;
  std::string metrics_cert_dir_;
  std::string metrics_client_ca_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ServeCommandLine>> ParseServeArguments(
    const std::vector<std::string>& arguments) {
  auto out = std::make_unique<ServeCommandLine>();
  const absl::Status status = Parser(*out).Run(arguments);
  if (!status.ok()) return status;
  return out;
}

std::vector<std::string> ServeFlagNames() {
  ServeCommandLine line;
  return Parser(line).FlagNames();
}

AppText ServeText() {
  ServeCommandLine line;
  return Parser(line).Text();
}

}  // namespace epp::cli
