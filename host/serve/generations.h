// The generations of this process: the serving one, how it is replaced, and what became of the
// rest.
//
// A reload builds a whole new generation beside the serving one, keeps instances that did not
// change, and publishes it in one step; requests that run finish on theirs. What fails changes
// nothing. Old generations are destroyed on the config thread, by Collect.
//
// Threads: Start, Reload and Collect belong to the config thread; the rest is for any.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "host/admin/names.h"
#include "host/base/clock.h"
#include "host/config/diagnostics.h"
#include "host/request/serving.h"
#include "host/runtime/generation.h"
#include "host/runtime/services.h"
#include "host/runtime/state_transfer.h"
#include "host/scrape/scrape_loop.h"
#include "host/serve/conditions.h"
#include "host/serve/draining.h"
#include "host/serve/history.h"
#include "host/serve/load.h"
#include "host/serve/reload_outcome.h"
#include "host/serve/reload_request.h"

namespace epp::serve {

class Generations {
 public:
  // All borrowed; they outlive this.
  Generations(const cli::ServeCommandLine& command_line, Platform* platform,
              request::ServingSlot* serving, admin::Names* names, Conditions* conditions,
              const Clock* clock);
  // No request may run any more.
  ~Generations();

  // Builds the first generation; nothing is published yet. False when `out` has errors.
  bool Build(std::shared_ptr<const config::SourceText> text, config::Diagnostics& out);
  // Publishes it, and gives its sources to `scraper` from now on.
  absl::Status Publish(scrape::ScrapeLoop* scraper);

  // Reads the config and the plugin directories again, or goes back. With may_wait, the outcome may
  // be `unsettled`; call it again a moment later, without.
  ReloadOutcome Reload(const ReloadRequest& request, bool may_wait = false);

  // Destroys generations that no request uses any more, and carries state from those that go.
  void Collect();
  // Collect is wanted every 100 ms, not every second.
  bool following() const { return carrier_.following() || services_.draining(); }
  // The services of the serving generation, and those of former ones that still drain.
  runtime::Services& services() { return services_; }

  std::shared_ptr<const runtime::Generation> current() const;
  uint64_t since_unix_ns() const;
  // What the serving config was read from, and what the last one that was tried was: the config
  // file and all that they include, and the serving config's shadow, whether it is there or not.
  std::vector<std::string> WatchedFiles() const;
  const History& history() const { return history_; }
  // What is in force after a rollback.
  std::optional<Pin> pin() const;
  // How many requests run, for the words of a reload. Set it before the first reload.
  void CountRunningWith(std::function<int64_t()> running) { running_ = std::move(running); }

 private:
  // What is to be built.
  struct Trial {
    std::shared_ptr<const config::SourceText> text;
    std::shared_ptr<const Attempt> target;  // of a rollback
  };

  void OpenHistory();
  DiskState Disk(const absl::StatusOr<std::shared_ptr<const config::SourceText>>& text) const;
  bool NothingNew(const DiskState& disk, const runtime::Generation& former);
  // Whether there is something to build; else `outcome` says why not.
  bool Choose(const ReloadRequest& request, const DiskState& disk, bool libraries_changed,
              const runtime::Generation& former, Trial& trial, config::Diagnostics& diagnostics,
              ReloadOutcome& outcome);
  void UseFormerBuilds(const Attempt& target, config::Diagnostics& diagnostics);
  void SetPin(const ReloadRequest& request, const Trial& trial, const DiskState& disk,
              const ReloadOutcome& outcome);
  std::string ConfigPath() const;
  std::shared_ptr<runtime::Generation> Own(std::unique_ptr<runtime::Generation> generation);
  absl::Status Swap(std::shared_ptr<runtime::Generation> next, const runtime::Generation* former,
                    runtime::StateReport* state);
  bool Unsettled(const ReloadOutcome& outcome) const;
  void ReportLibraries();
  void ReportPin();
  void Remember(const ReloadOutcome& outcome, const config::SourceText* text,
                const std::string& digest, const runtime::Generation* made);
  void Report(const ReloadOutcome& outcome);

  const cli::ServeCommandLine& command_line_;
  Platform* const platform_;
  request::ServingSlot* const serving_;
  admin::Names* const names_;
  Conditions* const conditions_;
  const Clock* const clock_;
  scrape::ScrapeLoop* scraper_ = nullptr;
  uint64_t last_number_ = 0;
  History history_;
  std::function<int64_t()> running_;
  DiskState seen_;  // at the last attempt
  runtime::StateCarrier carrier_;
  Draining draining_;
  runtime::Services services_;

  mutable std::mutex mutex_;  // the rest
  std::shared_ptr<runtime::Generation> current_;
  uint64_t since_unix_ns_ = 0;
  std::optional<Pin> pin_;
  std::shared_ptr<const config::SourceText> tried_;
  std::vector<std::unique_ptr<runtime::Generation>> dead_;
};

}  // namespace epp::serve
