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
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "host/admin/names.h"
#include "host/base/clock.h"
#include "host/config/diagnostics.h"
#include "host/request/serving.h"
#include "host/runtime/generation.h"
#include "host/runtime/state_transfer.h"
#include "host/scrape/scrape_loop.h"
#include "host/serve/conditions.h"
#include "host/serve/draining.h"
#include "host/serve/load.h"

namespace epp::serve {

// What one reload led to.
struct ReloadOutcome {
  enum class Kind : uint8_t { kApplied, kUnchanged, kRefused };
  Kind kind = Kind::kRefused;
  uint64_t generation = 0;  // the serving one, afterwards
  std::string digest;       // of the text on disk, 8 digits
  std::string cause;
  uint64_t took_ns = 0;
  uint64_t trial_ns = 0;  // of that, for trying new libraries in a child; 0: there were none
  size_t kept = 0;        // instances taken over with their state
  size_t created = 0;
  size_t carried = 0;  // of the created ones, those that got the state of their predecessor
  std::vector<runtime::LostState> lost;
  std::vector<LibraryReport::Refused> refused_libraries;
  std::string diagnostics;  // rendered; of a refusal, or warnings
  uint64_t unix_ns = 0;
  // Nothing was decided: what would be refused changed a moment ago and may be half written.
  bool unsettled = false;
};

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

  // Reads the config and the plugin directories again. With may_wait, the outcome may be
  // `unsettled`; call it again a moment later, without.
  ReloadOutcome Reload(std::string_view cause, bool may_wait = false);

  // Destroys generations that no request uses any more, and carries state from those that go.
  void Collect();
  // Collect is wanted every 100 ms, not every second.
  bool following() const { return carrier_.following(); }

  std::shared_ptr<const runtime::Generation> current() const;
  uint64_t since_unix_ns() const;
  // What the serving config was read from, and what the last one that was tried was: the config
  // file and all that they include, whether it is there or not.
  std::vector<std::string> WatchedFiles() const;
  // Newest first: "epp.generations/1".
  std::string HistoryJson() const;

 private:
  static constexpr size_t kHistory = 12;

  std::shared_ptr<runtime::Generation> Own(std::unique_ptr<runtime::Generation> generation);
  absl::Status Swap(std::shared_ptr<runtime::Generation> next, const runtime::Generation* former,
                    runtime::StateReport* state);
  bool Unsettled(const ReloadOutcome& outcome) const;
  void ReportLibraries();
  void Remember(ReloadOutcome outcome);
  void Report(const ReloadOutcome& outcome);

  const cli::ServeCommandLine& command_line_;
  Platform* const platform_;
  request::ServingSlot* const serving_;
  admin::Names* const names_;
  Conditions* const conditions_;
  const Clock* const clock_;
  scrape::ScrapeLoop* scraper_ = nullptr;
  uint64_t last_number_ = 0;
  runtime::StateCarrier carrier_;
  Draining draining_;

  mutable std::mutex mutex_;  // the rest
  std::shared_ptr<runtime::Generation> current_;
  uint64_t since_unix_ns_ = 0;
  std::deque<ReloadOutcome> history_;  // newest first
  std::shared_ptr<const config::SourceText> tried_;
  std::vector<std::unique_ptr<runtime::Generation>> dead_;
};

// Is something on disk not what serves now? The config, or a library that was loaded before.
bool IsRefusal(const ReloadOutcome& outcome);

// "epp.reload/1", and what `epp reload --wait` prints.
std::string ReloadJson(const ReloadOutcome& outcome);
std::string ReloadText(const ReloadOutcome& outcome);

}  // namespace epp::serve
