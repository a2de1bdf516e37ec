// epp-plugins(7): the plugin types that come with this executable.
#pragma once

#include "absl/status/statusor.h"
#include "host/cli/man.h"

namespace epp::cli {

// Errors: FailedPrecondition when a library beside this executable is refused.
absl::StatusOr<ManPage> PluginsPage();

}  // namespace epp::cli
