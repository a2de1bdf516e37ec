// epp completion: scripts for shells, made from the commands' own flags.
#include <ostream>

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"
#include "host/cli/command.h"

namespace epp::cli {
namespace {

std::string Names() {
  std::string out;
  for (const CommandEntry& entry : Commands()) StrAppend(&out, out.empty() ? "" : " ", entry.name);
  return out;
}

std::string Flags(const CommandEntry& entry) {
  std::string out;
  for (const std::string& flag : entry.make()->FlagNames()) {
    StrAppend(&out, out.empty() ? "" : " ", flag);
  }
  return out;
}

std::string Bash() {
  std::string out = StrCat(
      "# bash completion for epp; source it, or put it where bash-completion looks\n"
      "_epp() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} flags=\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W '",
      Names(),
      "' -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case ${COMP_WORDS[1]} in\n");
  for (const CommandEntry& entry : Commands()) {
    StrAppend(&out, "    ", entry.name, ") flags='", Flags(entry), "' ;;\n");
  }
  out +=
      "  esac\n"
      "  case $word in\n"
      "    -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$word\")) ;;\n"
      "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
      "  esac\n"
      "}\n"
      "complete -o filenames -F _epp epp\n";
  return out;
}

std::string Zsh() {
  std::string out =
      "#compdef epp\n"
      "_epp() {\n"
      "  if (( CURRENT == 2 )); then\n"
      "    local -a commands=(\n";
  for (const CommandEntry& entry : Commands()) {
    StrAppend(&out, "      '", entry.name, ":", entry.summary, "'\n");
  }
  out +=
      "    )\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  case $words[2] in\n";
  for (const CommandEntry& entry : Commands()) {
    StrAppend(&out, "    ", entry.name, ") compadd -- ", Flags(entry), " ;;\n");
  }
  out +=
      "  esac\n"
      "  _files\n"
      "}\n"
      "if [ \"$funcstack[1]\" = _epp ]; then _epp \"$@\"; else compdef _epp epp; fi\n";
  return out;
}

std::string Fish() {
  std::string out = "# fish completion for epp\n";
  for (const CommandEntry& entry : Commands()) {
    StrAppend(&out, "complete -c epp -n __fish_use_subcommand -f -a ", entry.name, " -d '",
              entry.summary, "'\n");
    for (const std::string& flag : entry.make()->FlagNames()) {
      StrAppend(&out, "complete -c epp -n '__fish_seen_subcommand_from ", entry.name, "' -l ",
                std::string_view(flag).substr(2), "\n");
    }
  }
  return out;
}

class Completion final : public Command {
 public:
  Completion()
      : Command("completion", "Completion of commands and flags, for a shell",
                "  source <(epp completion bash)\n"
                "  epp completion fish > ~/.config/fish/completions/epp.fish\n") {
    app()
        .add_option("SHELL", shell_, "bash, zsh or fish")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  }

 private:
  int Run(Io& io) override {
    io.out << (shell_ == "bash" ? Bash() : shell_ == "zsh" ? Zsh() : Fish());
    return kDone;
  }

  std::string shell_;
};

}  // namespace

std::unique_ptr<Command> MakeCompletion() { return std::make_unique<Completion>(); }

}  // namespace epp::cli
