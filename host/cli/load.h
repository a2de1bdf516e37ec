// The command line and the settings file of `serve`, for the commands that load a configuration.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "host/cli/serve_flags.h"
#include "host/config/diagnostics.h"

namespace epp::cli {

inline std::string_view View(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

// A file of at most 1 MiB. Errors: NotFound and the like, naming the path and the reason.
absl::StatusOr<std::shared_ptr<const config::SourceText>> ReadText(const std::string& path);

// ParseServeArguments, then the settings file that they name. What is wrong in the file goes to
// `out`; a file that cannot be read is NotFound.
absl::StatusOr<std::unique_ptr<ServeCommandLine>> LoadServeCommandLine(
    const std::vector<std::string>& arguments, config::Diagnostics& out);

}  // namespace epp::cli
