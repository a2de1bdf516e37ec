// Plugin errors as statuses.
#pragma once

#include "absl/status/status.h"
#include "epp/abi.h"

namespace epp::loader {

// The status of a plugin call with the text that it left. Unknown codes become Internal; the text
// is cut at the buffer's end and malformed UTF-8 in it replaced.
absl::Status FromPluginError(epp_status status, const epp_error& error);

}  // namespace epp::loader
