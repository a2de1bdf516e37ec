// epp help: topics, commands, and what diagnostic codes mean.
#include <array>
#include <ostream>
#include <vector>

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"
#include "host/base/strings.h"
#include "host/cli/command.h"
#include "host/cli/topics.h"
#include "host/config/explain_code.h"

namespace epp::cli {
namespace {

constexpr std::array kTopics = {
    Topic{"exit-codes", "what epp exits with",
          "0    done; valid; healthy\n"
          "1    the answer is no: invalid, not found, degraded; serve: could not start\n"
          "2    usage: unknown flag or command, unreadable argument\n"
          "3    no running epp could be reached\n"
          "4    the running epp refused\n"
          "5    timed out waiting\n"
          "70   a bug of ours\n"
          "78   serve: configuration or settings invalid at start\n"
          "130, 143   interrupted\n"},
    Topic{"admin", "how commands find the running epp",
          "status, pool and explain ask a running epp through its admin socket. The first that is\n"
          "given counts:\n"
          "  --admin unix:PATH or http://HOST:PORT\n"
          "  the environment variable EPP_ADMIN, in the same form\n"
          "  [admin] socket of the settings file: --settings, else /etc/epp/epp.toml\n"
          "  the socket in /run/epp, else in $XDG_RUNTIME_DIR/epp\n"
          "Several sockets in one place: they are listed, and one must be named.\n"},
    Topic{"match", "expressions that select decisions",
          "Terms, separated by commas, must all hold:\n"
          "  model=NAME          as the client or the target names it\n"
          "  endpoint=NAME       picked; with or without its namespace\n"
          "  candidate=NAME      scored, picked or not\n"
          "  outcome=ok|rejected|error|aborted|pending\n"
          "  code=503            HTTP status\n"
          "  profile=NAME, generation=N\n"
          "  slower=1ms          the decision took longer\n"
          "  ttft>500ms          time to first token\n"
          "  margin<0.1          lead of the picked one over the best other\n"},
    Topic{"config", "where configuration comes from",
          "Scheduling: an EndpointPickerConfig, YAML or JSON, in --config-file or --config-text;\n"
          "none means built-in defaults. epp check says what one amounts to.\n"
          "Everything else: settings in TOML, --settings FILE. --set SECTION.KEY=VALUE and flags\n"
          "win over the file. epp serve --print-settings shows all, with their origins.\n"},
    Topic{"signals", "what serve does on signals",
          "TERM, INT   drain: health turns to not serving, requests are still answered for\n"
          "            [serve] drain, then new ones are refused; ends when the last is done\n"
          "            a second one: cut what is left\n"},
    Topic{
        "colour", "when output is coloured",
        "On a terminal, unless NO_COLOR is set or TERM is \"dumb\"; --color=always|never wins.\n"},
};

class Help final : public Command {
 public:
  Help()
      : Command("help", "A topic, a command, or what a diagnostic code means",
                "  epp help EPP-CFG-RANGE\n"
                "  epp help exit-codes\n") {
    app().add_option("WORD", word_, "a topic, a command or a code");
  }

 private:
  int Run(Io& io) override {
    if (word_.empty()) return Overview(io);
    for (const Topic& topic : kTopics) {
      if (topic.name == word_) {
        io.out << topic.text;
        return kDone;
      }
    }
    if (const config::CodeText* text = config::ExplainCode(word_)) {
      io.out << Bold(text->code, io.out_colour) << "\n\n"
             << text->cause << "\n\nexample  " << text->example << "\nfix      " << text->fix
             << "\n";
      return kDone;
    }
    for (const CommandEntry& entry : Commands()) {
      if (entry.name == word_) return entry.make()->Main({"--help"}, io);
    }
    return Unknown(io);
  }

  static int Overview(Io& io) {
    io.out << "Topics:\n";
    for (const Topic& topic : kTopics) {
      io.out << "  " << topic.name << std::string(12 - topic.name.size(), ' ') << topic.summary
             << "\n";
    }
    io.out << "\nepp help CODE explains a code such as EPP-CFG-RANGE; epp COMMAND -h a command.\n"
           << "Codes:\n";
    for (const config::CodeText& text : config::CodeTexts()) io.out << "  " << text.code << "\n";
    return kDone;
  }

  int Unknown(Io& io) const {
    std::vector<std::string_view> known;
    for (const Topic& topic : kTopics) known.push_back(topic.name);
    for (const config::CodeText& text : config::CodeTexts()) known.push_back(text.code);
    for (const CommandEntry& entry : Commands()) known.push_back(entry.name);
    std::string message = StrCat("\"", word_, "\" is no topic, command or code");
    const std::string_view meant = Nearest(word_, known, word_.size() < 5 ? 1 : 2);
    if (!meant.empty()) StrAppend(&message, ", did you mean \"", meant, "\"?");
    return Fail(io, kUsage, "EPP-CLI-USAGE", message);
  }

  std::string word_;
};

}  // namespace

std::span<const Topic> Topics() { return kTopics; }

std::unique_ptr<Command> MakeHelp() { return std::make_unique<Help>(); }

}  // namespace epp::cli
