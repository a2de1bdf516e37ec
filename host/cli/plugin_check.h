// Runs epp-plugin-check in place of this process.
#pragma once

#include <string>
#include <vector>

#include "host/cli/io.h"

namespace epp::cli {

// Becomes epp-plugin-check, which lies beside this executable: a program of its own, since it must
// have neither our allocator nor our libraries. Returns, with an exit code, only when that is not
// there.
int BecomePluginCheck(std::vector<std::string> arguments, Io& io);

}  // namespace epp::cli
