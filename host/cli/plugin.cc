// epp plugin: what authors of plugins need. Each subcommand is a row of kSubcommands.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <ostream>

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"
#include "host/base/strings.h"
#include "host/cli/command.h"

namespace epp::cli {
namespace {

int New(std::vector<std::string> arguments, Io& io) { return MakePluginNew()->Main(arguments, io); }

// Becomes epp-plugin-check, which lies beside this executable: a program of its own, since it must
// have neither our allocator nor our libraries. Returns only when that is not there.
int Become(std::vector<std::string> arguments, Io& io) {
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
         << "\n  hint: it is installed with the SDK (cmake --install BUILD --component sdk)\n";
  return kUsage;
}

int Check(std::vector<std::string> arguments, Io& io) { return Become(std::move(arguments), io); }

int Doc(std::vector<std::string> arguments, Io& io) {
  arguments.insert(arguments.begin(), "--doc");
  return Become(std::move(arguments), io);
}

struct Subcommand {
  std::string_view name;
  std::string_view arguments;
  std::string_view summary;
  // Gets what follows the name; returns the exit code.
  int (*run)(std::vector<std::string> arguments, Io& io);
};

constexpr std::array kSubcommands = {
    Subcommand{"new", "KIND NAME [DIR]", "write the project of a new plugin", New},
    Subcommand{"check", "FILE.so...", "does it keep the contract of the ABI? Runs its code", Check},
    Subcommand{"doc", "FILE.so", "tables for its README, from its declarations", Doc},
};

class Plugin final : public Command {
 public:
  Plugin() : Command("plugin", "What authors of plugins need", "") {}

  int Main(const std::vector<std::string>& arguments, Io& io) override {
    if (arguments.empty()) {
      Overview(io.err);
      return kUsage;
    }
    const std::string& word = arguments[0];
    if (word == "-h" || word == "--help") {
      Overview(io.out);
      return kDone;
    }
    std::vector<std::string_view> names;
    for (const Subcommand& subcommand : kSubcommands) {
      if (subcommand.name == word) {
        return subcommand.run({arguments.begin() + 1, arguments.end()}, io);
      }
      names.push_back(subcommand.name);
    }
    const std::string_view meant = Nearest(word, names, 2);
    return Fail(
        io, kUsage, "EPP-CLI-USAGE",
        StrCat("unknown subcommand \"", word, "\"", meant.empty() ? "" : ", did you mean \"", meant,
               meant.empty() ? "; hint: epp plugin -h" : "\"?"));
  }

  // Those of the new project; the others have their own programs.
  std::vector<std::string> FlagNames() const override { return MakePluginNew()->FlagNames(); }

 private:
  int Run(Io& io) override {
    Overview(io.err);
    return kUsage;
  }

  static void Overview(std::ostream& out) {
    constexpr size_t kWidth = 20;
    out << "What authors of plugins need.\n\nUsage: epp plugin SUBCOMMAND [ARGUMENTS]\n\n";
    for (const Subcommand& s : kSubcommands) {
      const std::string left = StrCat(s.name, " ", s.arguments);
      out << "  " << left << std::string(left.size() < kWidth ? kWidth - left.size() : 1, ' ')
          << s.summary << "\n";
    }
    out << "\nepp plugin SUBCOMMAND -h says more.\n";
  }
};

}  // namespace

std::unique_ptr<Command> MakePlugin() { return std::make_unique<Plugin>(); }

}  // namespace epp::cli
