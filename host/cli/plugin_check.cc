// epp plugin check, epp plugin doc: both are epp-plugin-check.
#include "host/cli/plugin_check.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <ostream>
#include <system_error>

namespace epp::cli {

int BecomePluginCheck(std::vector<std::string> arguments, Io& io) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string program = (self.parent_path() / "epp-plugin-check").string();
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  io.out.flush();
  io.err.flush();
  execv(program.c_str(), argv.data());
  io.err << "epp plugin: cannot run " << program << ": " << std::strerror(errno)
         << "\n  hint: it comes with the SDK\n";
  return kUsage;
}

}  // namespace epp::cli
