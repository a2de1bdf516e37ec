// What serve says once, when it is ready.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/cli/serve_flags.h"
#include "host/serve/app.h"

namespace epp::cli {

// Name and text of each line, in order. Values of secret parameters are never among them.
using Summary = std::vector<std::pair<std::string, std::string>>;

Summary Summarise(const ServeCommandLine& line, const serve::Facts& facts,
                  const admin::Status& status);
// For a terminal: aligned, ending with "ready in 412 ms".
std::string SummaryText(const Summary& summary, const serve::Facts& facts);

}  // namespace epp::cli
