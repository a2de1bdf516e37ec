#include "host/serve/plugin_health.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "absl/time/time.h"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"
#include "host/preflight/crash_handler.h"
#include "host/preflight/quarantine.h"
#include "host/telemetry/log.h"

namespace epp::serve {
namespace {

constexpr ConditionSpec kDisabled{"plugin-disabled", 0};
constexpr ConditionSpec kQuarantined{"plugin-quarantined", 0};
constexpr ConditionSpec kStuck{"plugin-stuck", 0};
constexpr uint64_t kStuckNs = 2'000'000'000;
constexpr std::array<std::string_view, 3> kStates = {"active", "disabled", "quarantined"};

bool Quarantined(const loader::Instance& instance) {
  return preflight::IsStandIn(*instance.type().type);
}

std::string_view StateOf(const loader::Instance& instance) {
  if (Quarantined(instance)) return kStates[2];
  return instance.guard().off() ? kStates[1] : kStates[0];
}

std::string Join(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) StrAppend(&out, out.empty() ? "" : ", ", name);
  return out;
}

size_t RetiredModules(const loader::Catalog& catalog) {
  std::set<std::string> used;
  for (const auto& library : catalog.libraries()) used.insert(library->info().digest);
  size_t retired = 0;
  for (const std::string& digest : loader::Library::MappedDigests()) {
    retired += !used.contains(digest);
  }
  return retired;
}

template <class Family>
Family Must(const absl::StatusOr<Family>& made) {
  return made.ok() ? *made : Family();
}

}  // namespace

PluginHealth::PluginHealth(Conditions* conditions, telemetry::EppMetrics* metrics,
                           uint64_t stuck_abort_ns)
    : conditions_(conditions),
      metrics_(metrics),
      stuck_abort_ns_(stuck_abort_ns),
      watchdog_(kStuckNs),
      state_(Must(metrics->registry().Gauges(
          {.name = "epp_plugin_state",
           .help = "1 for the state that an instance is in: active, disabled or quarantined.",
           .labels = {"plugin", "state"}}))),
      retired_(Must(metrics->registry().Gauges(
          {.name = "epp_plugin_retired_modules",
           .help = "Former plugin libraries that stay mapped until the process ends."}))),
      stuck_(Must(metrics->registry().Counters({.name = "epp_plugin_stuck_total",
                                                .help = "Calls of a plugin that did not return.",
                                                .labels = {"plugin"},
                                                .hide_untouched = true}))) {}

void PluginHealth::ShowState(const std::string& plugin, std::string_view state) {
  for (const std::string_view each : kStates) {
    state_.With({plugin, each}).Set(each == state ? 1 : 0);
  }
}

void PluginHealth::Watch(const runtime::Generation& generation, const loader::Catalog& catalog,
                         uint64_t now_ns) {
  std::string stuck_text;
  for (const preflight::StuckCall& stuck : watchdog_.Look(now_ns)) {
    const std::string who = preflight::Describe(stuck.call);
    StrAppend(&stuck_text, stuck_text.empty() ? "" : "; ", who, " has not returned for ",
              stuck.for_ns / 1'000'000'000, " s");
    if (stuck.first) {
      const loader::Identity& id = stuck.call.guard->identity();
      stuck_.With({std::string_view(id.instance.data())}).Add();
      EPP_LOG_EXEMPT(kError, "sched", "plugin call does not return",
                     {{"plugin", std::string_view(id.instance.data())},
                      {"library", std::string_view(id.library.data())},
                      {"digest", std::string_view(id.digest.data())},
                      {"interface", std::string_view(loader::NameOf(stuck.call.entry))},
                      {"thread", static_cast<int64_t>(stuck.call.thread)},
                      {"for_ms", stuck.for_ns / 1'000'000}});
    }
    if (stuck_abort_ns_ != 0 && stuck.for_ns >= stuck_abort_ns_) {
      EPP_LOG_EXEMPT(kError, "sched", "ending the process: a plugin call does not return",
                     {{"call", who}, {"for_ms", stuck.for_ns / 1'000'000}});
      log::Flush();
      preflight::AbortFor(stuck.call);
    }
  }
  const bool is_stuck = !stuck_text.empty();
  conditions_->Set(kStuck, is_stuck, std::move(stuck_text));

  admin::Status status;
  Describe(generation, catalog, status);
  conditions_->Set(kDisabled, !status.disabled_plugins.empty(),
                   StrCat("switched off after slow calls, until the library or its parameters "
                          "change or epp reload --force: ",
                          Join(status.disabled_plugins)));
  conditions_->Set(
      kQuarantined, !status.quarantined_plugins.empty(),
      StrCat("left out after a crash, see epp plugins: ", Join(status.quarantined_plugins)));

  retired_.With({}).Set(static_cast<double>(status.retired_modules));
  std::set<std::string> now;
  for (const auto& instance : generation.instances()) {
    now.insert(instance->name());
    ShowState(instance->name(), StateOf(*instance));
  }
  for (const std::string& gone : shown_) {
    if (!now.contains(gone)) ShowState(gone, "");
  }
  shown_ = std::move(now);
}

void PluginHealth::Forgive(const runtime::Generation& generation) {
  for (const auto& instance : generation.instances()) {
    if (instance->guard().slow()) instance->guard().Forgive();
  }
}

void PluginHealth::Describe(const runtime::Generation& generation, const loader::Catalog& catalog,
                            admin::Status& status) {
  for (const auto& instance : generation.instances()) {
    if (Quarantined(*instance)) {
      status.quarantined_plugins.push_back(instance->name());
    } else if (instance->guard().off()) {
      status.disabled_plugins.push_back(instance->name());
    }
  }
  status.retired_modules = RetiredModules(catalog);
}

bool PrepareStateDir(const std::string& dir) {
  if (dir.empty()) return false;
  mkdir(dir.c_str(), 0750);
  return access(dir.c_str(), W_OK | X_OK) == 0;
}

}  // namespace epp::serve
