// The command line of `epp serve`: our settings, and the flags of llm-d-router by their own names.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "host/cli/app_text.h"
#include "host/config/settings.h"

namespace epp::cli {

// What has no place in the settings file, or only a flag of the reference names.
struct ServeFlags {
  std::string settings_file;
  bool print_settings = false;
  std::string config_text;     // --config-text; with config_file set, an error
  std::string endpoints_file;  // ours: file discovery without naming it in the config

  std::string pool_name;
  std::string pool_namespace;
  std::string pool_group;
  std::string endpoint_selector;
  std::vector<uint16_t> endpoint_target_ports;

  std::string max_recv_message;  // size strings; "" is the default
  std::string max_send_message;
  std::vector<std::string> tls_cipher_suites;
  bool health_checking = false;
  bool leader_election = false;
  bool stream_metrics = false;
  bool emit_endpoint_scores = false;
  bool subset_filter = true;
  int64_t pool_metrics_interval_ns = 5'000'000'000;

  std::vector<std::string> warnings;  // about accepted flags without effect, clamped values
};

struct ServeCommandLine {
  ServeFlags flags;
  config::SettingsBuilder settings;
};

// Parses the arguments behind `epp serve`. InvalidArgument carries what to print; Cancelled carries
// help text, which is an answer and not an error.
absl::StatusOr<std::unique_ptr<ServeCommandLine>> ParseServeArguments(
    const std::vector<std::string>& arguments);

// All of them, with "--".
std::vector<std::string> ServeFlagNames();
AppText ServeText();

}  // namespace epp::cli
