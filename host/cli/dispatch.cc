// From the command line to one subcommand.
#include <array>
#include <ostream>

#include "host/base/str_cat.h"
#include "host/base/strings.h"
#include "host/cli/command.h"

namespace epp::cli {
namespace {

constexpr std::array kCommands = {
    CommandEntry{"serve", "run the endpoint picker", MakeServe},
    CommandEntry{"check", "is this configuration good here; what does it amount to", MakeCheck},
    CommandEntry{"diff", "what a change of the configuration would do", MakeDiff},
    CommandEntry{"plugins", "plugin types and libraries; one type in detail", MakePlugins},
    CommandEntry{"plugin", "write, check or document a library of your own", MakePlugin},
    CommandEntry{"new-plugin", "the same as plugin new", MakeNewPlugin},
    CommandEntry{"status", "one-screen health of the running epp", MakeStatus},
    CommandEntry{"pool", "its endpoints as a table", MakePool},
    CommandEntry{"explain", "why a request went where it went", MakeExplain},
    CommandEntry{"reload", "read the config and the plugin directories again, now", MakeReload},
    CommandEntry{"rollback", "serve an older configuration again", MakeRollback},
    CommandEntry{"shadow", "compare a candidate config on live requests", MakeShadow},
    CommandEntry{"completion", "completion for bash, zsh or fish", MakeCompletion},
    CommandEntry{"version", "what this executable is made of", MakeVersion},
    CommandEntry{"help", "a topic, or what a diagnostic code means", MakeHelp},
};

void PrintOverview(std::ostream& out) {
  out << "epp picks endpoints for LLM inference.\n\nUsage: epp COMMAND [ARGUMENTS]\n\nCommands:\n";
  for (const CommandEntry& entry : kCommands) {
    out << "  " << entry.name << std::string(12 - std::min<size_t>(entry.name.size(), 11), ' ')
        << entry.summary << "\n";
  }
  out << "\nepp COMMAND -h says more. Flags without a command run serve.\n";
}

}  // namespace

std::span<const CommandEntry> Commands() { return kCommands; }

int Dispatch(const std::vector<std::string>& arguments, Io& io) {
  if (arguments.empty()) {
    PrintOverview(io.err);
    return kUsage;
  }
  const std::string& word = arguments[0];
  if (word == "-h" || word == "--help") {
    PrintOverview(io.out);
    return kDone;
  }
  if (word.starts_with('-')) return MakeServe()->Main(arguments, io);
  if (word == "man") return MakeMan()->Main({arguments.begin() + 1, arguments.end()}, io);
  std::vector<std::string_view> names;
  for (const CommandEntry& entry : kCommands) {
    if (entry.name == word) return entry.make()->Main({arguments.begin() + 1, arguments.end()}, io);
    names.push_back(entry.name);
  }
  const std::string_view meant = Nearest(word, names, word.size() < 5 ? 1 : 2);
  io.err << "epp: unknown command \"" << word << "\"";
  if (!meant.empty()) io.err << ", did you mean \"" << meant << "\"?";
  io.err << "\n  hint: epp -h\n";
  return kUsage;
}

}  // namespace epp::cli
