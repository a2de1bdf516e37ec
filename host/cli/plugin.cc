// epp plugin: what authors of plugins need, as commands of a second level.
#include <algorithm>
#include <array>
#include <ostream>

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"
#include "host/base/strings.h"
#include "host/cli/command.h"

namespace epp::cli {
namespace {

constexpr std::array kActions = {
    CommandEntry{"new", "write the project of a new plugin", MakePluginNew},
};

class Plugin final : public Command {
 public:
  Plugin() : Command("plugin", "What authors of plugins need", "") {
    app().add_option("ACTION", action_);
  }

  int Main(const std::vector<std::string>& arguments, Io& io) override {
    if (arguments.empty() || arguments[0] == "-h" || arguments[0] == "--help") {
      std::ostream& out = arguments.empty() ? io.err : io.out;
      out << "What authors of plugins need\n\nUsage: epp plugin ACTION [ARGUMENTS]\n\nActions:\n";
      for (const CommandEntry& entry : kActions) {
        out << "  " << entry.name << std::string(12 - std::min<size_t>(entry.name.size(), 11), ' ')
            << entry.summary << "\n";
      }
      out << "\nepp plugin ACTION -h says more; epp plugins lists what can be configured here.\n";
      return arguments.empty() ? kUsage : kDone;
    }
    std::vector<std::string_view> names;
    for (const CommandEntry& entry : kActions) {
      if (entry.name == arguments[0]) {
        return entry.make()->Main({arguments.begin() + 1, arguments.end()}, io);
      }
      names.push_back(entry.name);
    }
    const std::string_view meant = Nearest(arguments[0], names, 2);
    io.err << "epp plugin: unknown action \"" << arguments[0] << "\"";
    if (!meant.empty()) io.err << ", did you mean \"" << meant << "\"?";
    io.err << "\n  hint: epp plugin -h\n";
    return kUsage;
  }

  // Of all actions.
  std::vector<std::string> FlagNames() const override {
    std::vector<std::string> names;
    for (const CommandEntry& entry : kActions) {
      for (std::string& name : entry.make()->FlagNames()) {
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
      }
    }
    return names;
  }

 private:
  int Run(Io&) override { return kBug; }  // Main does not come here

  std::string action_;
};

}  // namespace

std::unique_ptr<Command> MakePlugin() { return std::make_unique<Plugin>(); }

}  // namespace epp::cli
