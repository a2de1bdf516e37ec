// epp plugin: what authors of plugins need. Each subcommand is a row of kSubcommands.
#include <array>
#include <ostream>
#include <utility>

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"
#include "host/base/strings.h"
#include "host/cli/command.h"
#include "host/cli/plugin_check.h"

namespace epp::cli {
namespace {

int New(std::vector<std::string> arguments, Io& io) { return MakePluginNew()->Main(arguments, io); }

int Check(std::vector<std::string> arguments, Io& io) {
  return BecomePluginCheck(std::move(arguments), io);
}

int Doc(std::vector<std::string> arguments, Io& io) {
  arguments.insert(arguments.begin(), "--doc");
  return BecomePluginCheck(std::move(arguments), io);
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
