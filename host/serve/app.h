// A serving epp: everything wired, from settings to listeners.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "host/admin/status_view.h"
#include "host/cli/serve_flags.h"
#include "host/config/diagnostics.h"
#include "host/runtime/generation.h"

namespace epp::serve {

// What a started process is, for the start-up summary.
struct Facts {
  uint32_t workers = 0;
  uint64_t took_ns = 0;   // from the start of Start to its end
  uint64_t trial_ns = 0;  // of that, for the trial of the libraries; 0: there was none
  const runtime::Generation* generation = nullptr;
  size_t libraries = 0;
  size_t refused_libraries = 0;
  size_t third_party_libraries = 0;  // from other directories than our own
  size_t unlisted_libraries = 0;     // of those, whose digest nothing lists
  std::string plugin_dirs;           // joined
  size_t endpoints = 0;
  // Listeners as they are, with the ports that 0 became; empty: off.
  std::string grpc;
  std::string health;
  std::string metrics;
  std::string admin;
};

// Called on the thread of Run.
struct RunHooks {
  std::function<void()> tick;  // about once a second while serving
  // Around a reload that someone asked for, not around one that a change of the file caused.
  std::function<void()> reloading;
  std::function<void()> reloaded;
  // At once, then about once a second until the last of the open streams has ended.
  std::function<void(uint64_t streams)> draining;
};

class App {
 public:
  // Builds and starts everything; on success requests are being served. A bad configuration fills
  // `diagnostics`; other failures (a port in use) are the status.
  static absl::StatusOr<std::unique_ptr<App>> Start(const cli::ServeCommandLine& command_line,
                                                    config::Diagnostics& diagnostics);
  virtual ~App() = default;

  // Serves until SIGTERM or SIGINT, then drains. Returns the exit code: 0, or 1 when a second
  // signal cut the drain short. The calling thread must have those signals blocked since before
  // Start.
  virtual int Run(const RunHooks& hooks) = 0;

  virtual Facts CurrentFacts() const = 0;
  // Threads: any.
  virtual admin::Status CurrentStatus() = 0;
  // Whether every worker and the scrape loop came round since the last call that said so, or since
  // Start. Asks them to do so for the next call.
  // Threads: that of Run. Cost: a wake-up of each.
  virtual bool AllThreadsTicked() = 0;
};

}  // namespace epp::serve
