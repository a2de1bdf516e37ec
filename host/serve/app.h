// A serving epp: everything wired, from settings to listeners.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "host/cli/serve_flags.h"
#include "host/config/diagnostics.h"

namespace epp::serve {

class App {
 public:
  // Builds and starts everything; on success requests are being served. A bad configuration fills
  // `diagnostics`; other failures (a port in use) are the status.
  static absl::StatusOr<std::unique_ptr<App>> Start(const cli::ServeCommandLine& command_line,
                                                    config::Diagnostics& diagnostics);
  virtual ~App() = default;

  // Serves until SIGTERM or SIGINT, then drains. Returns the exit code. The calling thread must
  // have those signals blocked since before Start.
  virtual int Run() = 0;
};

}  // namespace epp::serve
