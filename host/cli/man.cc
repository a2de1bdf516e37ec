// epp man: the manual pages, for packages. Not among the commands that people are shown.
#include "host/cli/man.h"

#include <algorithm>
#include <fstream>
#include <ostream>
#include <sstream>

#include "CLI/CLI.hpp"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"
#include "host/cli/app_text.h"
#include "host/cli/command.h"
#include "host/cli/man_plugins.h"
#include "host/cli/roff.h"
#include "host/cli/serve_flags.h"
#include "host/cli/topics.h"
#include "host/config/settings.h"

namespace epp::cli {
namespace {

using config::SettingSpec;

constexpr std::string_view kEnvironment[][2] = {
    {"EPP_ADMIN", "where the admin API of the running epp is, see above"},
    {"NO_COLOR", "no colour on terminals"},
    {"NOTIFY_SOCKET, WATCHDOG_USEC",
     "serve: set by the service manager, which is then told of readiness, reloads, draining and "
     "the state of the pool, and given signs of life"},
    {"XDG_RUNTIME_DIR", "where an admin socket is looked for that is not in /run/epp"},
};

constexpr std::string_view kFiles[][2] = {
    {"/etc/epp/epp.toml", "settings, see epp.toml(5)"},
    {"/etc/epp/config.yaml", "scheduling config, see epp-config(5)"},
    {"/etc/epp/endpoints.yaml", "the model servers, see epp-endpoints(5)"},
    {"/etc/epp/plugins", "plugins of your own"},
    {"/usr/lib/epp/plugins", "plugins that come with epp, see epp-plugins(7)"},
    {"/usr/share/epp/profiles", "ready configs"},
    {"/run/epp/admin.sock", "admin API"},
};

std::string PageOf(std::string_view command) { return StrCat("epp-", command); }

// "epp-check(1), epp.toml(5)", each in bold.
std::string References(const std::vector<std::pair<std::string, int>>& pages) {
  std::string out;
  for (const auto& [name, section] : pages) {
    StrAppend(&out, out.empty() ? "" : ", ", RoffBold(name), "(", section, ")");
  }
  return out;
}

std::string FlagTerm(const ArgumentText& flag) {
  std::string out = RoffBold(flag.name);
  if (flag.value.empty()) return out;
  // A list of choices may be longer than a line.
  std::string value;
  for (const char c : RoffText(flag.value)) {
    value += c;
    if (c == ',') value += "\\:";
  }
  return StrCat(out, " \\fI", value, "\\fR");
}

std::string Synopsis(const AppText& app) {
  std::string out = RoffBold(app.name);
  if (!app.subcommands.empty()) out += " \\fICOMMAND\\fR";
  if (!app.flags.empty()) out += " [\\fIOPTION\\fR]...";
  for (const ArgumentText& argument : app.arguments) {
    const std::string name = StrCat("\\fI", RoffText(argument.name), "\\fR");
    StrAppend(&out, argument.required ? " " : " [", name, argument.required ? "" : "]");
  }
  return out;
}

void Options(const AppText& app, Roff* page) {
  for (const ArgumentText& argument : app.arguments) {
    page->Term(StrCat("\\fI", RoffText(argument.name), "\\fR"), argument.doc);
  }
  for (const ArgumentText& flag : app.flags) page->Term(FlagTerm(flag), flag.doc);
}

std::string Sentence(std::string_view text) { return StrCat(text, text.ends_with('.') ? "" : "."); }

// A command that reads its arguments by itself, as one with subcommands does, says in its own words
// what they are.
void OwnWords(Command& command, const AppText& app, Roff* page) {
  std::string more;
  for (const std::string& flag : command.FlagNames()) {
    const bool known = std::ranges::any_of(app.flags, [&](const ArgumentText& text) {
      return StrCat(", ", text.name, ",").find(StrCat(" ", flag, ",")) != std::string::npos;
    });
    if (!known) StrAppend(&more, more.empty() ? "" : ", ", flag);
  }
  if (more.empty()) return;
  std::istringstream in;
  std::ostringstream out;
  Io io{in, out, out};
  command.Main({"-h"}, io);
  page->Section("SUBCOMMANDS");
  page->Verbatim(out.str());
  page->Paragraph(StrCat("Their flags: ", more, "."));
}

ManPage CommandPage(const CommandEntry& entry) {
  const std::unique_ptr<Command> command = entry.make();
  const AppText app = entry.name == "serve" ? ServeText() : DescribeApp(command->parser());
  const std::string name = PageOf(entry.name);
  Roff page(name, 1, ManSource());
  page.Section("NAME");
  page.ParagraphRoff(StrCat(RoffText(name), " \\- ", RoffText(entry.summary)));
  page.Section("SYNOPSIS");
  page.ParagraphRoff(Synopsis(app));
  page.Section("DESCRIPTION");
  page.Paragraph(Sentence(app.summary));
  page.Section("OPTIONS");
  Options(app, &page);
  OwnWords(*command, app, &page);
  for (const AppText& sub : app.subcommands) {
    page.Subsection(sub.name);
    page.ParagraphRoff(Synopsis(sub));
    page.Paragraph(Sentence(sub.summary));
    Options(sub, &page);
  }
  if (!command->examples().empty()) {
    page.Section("EXAMPLES");
    page.Verbatim(command->examples());
  }
  page.Section("EXIT STATUS");
  page.ParagraphRoff(StrCat("See ", References({{"epp", 1}}), "."));
  page.Section("SEE ALSO");
  page.ParagraphRoff(References({{"epp", 1}, {"epp.toml", 5}, {"epp-config", 5}}));
  return {name, 1, page.text()};
}

std::string Upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

ManPage OverviewPage() {
  Roff page("epp", 1, ManSource());
  page.Section("NAME");
  page.ParagraphRoff("epp \\- endpoint picker for LLM inference");
  page.Section("SYNOPSIS");
  page.ParagraphRoff("\\fBepp\\fR \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...");
  page.Section("DESCRIPTION");
  page.Paragraph(
      "Tells Envoy, or any gateway that speaks ext-proc, for every request which model server "
      "should answer it: filters drop endpoints, scorers rate them and a picker chooses. Each of "
      "them is a plugin. Flags without a command run serve.");
  page.Section("COMMANDS");
  for (const CommandEntry& entry : Commands()) {
    page.Term(StrCat(RoffBold(PageOf(entry.name)), "(1)"), entry.summary);
  }
  for (const Topic& topic : Topics()) {
    page.Section(topic.name == "exit-codes" ? "EXIT STATUS" : Upper(topic.summary));
    page.Verbatim(topic.text);
  }
  page.Section("ENVIRONMENT");
  for (const auto& [name, doc] : kEnvironment) page.Term(RoffBold(name), doc);
  page.Section("FILES");
  for (const auto& [name, doc] : kFiles) page.Term(RoffBold(name), doc);
  page.Section("SEE ALSO");
  page.ParagraphRoff(
      References({{"epp.toml", 5}, {"epp-config", 5}, {"epp-endpoints", 5}, {"epp-plugins", 7}}));
  return {"epp", 1, page.text()};
}

std::string TypeOf(const SettingSpec& spec) {
  using Type = SettingSpec::Type;
  const auto number = [&](int64_t value) {
    return spec.type == Type::kDuration ? FormatGoDuration(absl::Nanoseconds(value))
                                        : StrCat(value);
  };
  std::string out;
  switch (spec.type) {
    case Type::kText:
      out = spec.choices.empty() ? "text" : "one of";
      break;
    case Type::kBool:
      return "true or false";
    case Type::kInt:
      out = "integer";
      break;
    case Type::kDuration:
      out = "duration";
      break;
    case Type::kSize:
      out = "size in bytes";
      break;
    case Type::kTexts:
      return "list of texts";
    default:
      return "number";
  }
  const char* separator = " ";
  for (const std::string_view choice : spec.choices) {
    StrAppend(&out, std::exchange(separator, ", "), "\"", choice, "\"");
  }
  if (spec.type == Type::kText) return out;
  if (spec.max != INT64_MAX) return StrCat(out, ", ", number(spec.min), " to ", number(spec.max));
  return spec.min == 0 ? out : StrCat(out, ", ", number(spec.min), " or more");
}

ManPage SettingsPage() {
  Roff page("epp.toml", 5, ManSource());
  page.Section("NAME");
  page.ParagraphRoff("epp.toml \\- settings of the endpoint picker");
  page.Section("SYNOPSIS");
  page.ParagraphRoff(
      StrCat(RoffBold("/etc/epp/epp.toml"), ", or what ", RoffBold("--settings"), " names"));
  page.Section("DESCRIPTION");
  page.Paragraph(
      "TOML. Everything that is not scheduling. A flag or --set SECTION.KEY=VALUE wins over the "
      "file, the file over the default; epp serve --print-settings shows what is in force and "
      "where it comes from. Unknown keys are errors. Durations are written like \"250ms\" or "
      "\"1m30s\", sizes like \"16Mi\".");
  page.Section("SETTINGS");
  std::string_view section;
  for (const SettingSpec& spec : config::SettingSpecs()) {
    const size_t dot = spec.key.find('.');
    if (spec.key.substr(0, dot) != section) {
      section = spec.key.substr(0, dot);
      page.Subsection(StrCat("[", section, "]"));
    }
    page.Term(StrCat(RoffBold(spec.key.substr(dot + 1)), " = ", RoffText(spec.default_text)),
              StrCat(spec.doc, " (", TypeOf(spec), ")"));
  }
  page.Section("SEE ALSO");
  page.ParagraphRoff(References({{"epp-serve", 1}, {"epp-config", 5}}));
  return {"epp.toml", 5, page.text()};
}

class Man final : public Command {
 public:
  Man()
      : Command("man", "Prints a manual page, as roff, or the names of all",
                "  epp man epp-serve | man -l -\n") {
    app().add_option("PAGE", page_, "such as epp-serve or epp.toml");
    app().add_option("--dir", dir_, "write all pages into this directory");
  }

 private:
  int Run(Io& io) override {
    std::vector<ManPage> pages = ManPages();
    absl::StatusOr<ManPage> plugins = PluginsPage();
    if (!plugins.ok()) {
      return Fail(io, kNo, "EPP-CLI-MAN",
                  {plugins.status().message().data(), plugins.status().message().size()});
    }
    pages.push_back(*std::move(plugins));
    if (!dir_.empty()) return WriteAll(io, pages);
    for (const ManPage& page : pages) {
      if (page_.empty()) io.out << page.FileName() << "\n";
      if (page_ == page.name || page_ == page.FileName()) {
        io.out << page.roff;
        return kDone;
      }
    }
    if (page_.empty()) return kDone;
    return Fail(io, kNo, "EPP-CLI-MAN", StrCat("there is no page \"", page_, "\""));
  }

  int WriteAll(Io& io, const std::vector<ManPage>& pages) const {
    for (const ManPage& page : pages) {
      const std::string path = StrCat(dir_, "/", page.FileName());
      std::ofstream file(path, std::ios::binary);
      file << page.roff;
      file.close();
      if (!file) return Fail(io, kNo, "EPP-CLI-MAN", StrCat(path, ": cannot be written"));
    }
    return kDone;
  }

  std::string page_;
  std::string dir_;
};

}  // namespace

std::string ManPage::FileName() const { return StrCat(name, ".", section); }

std::string ManSource() { return StrCat("epp ", EPP_VERSION); }

std::vector<ManPage> ManPages() {
  std::vector<ManPage> pages;
  pages.push_back(OverviewPage());
  for (const CommandEntry& entry : Commands()) pages.push_back(CommandPage(entry));
  pages.push_back(SettingsPage());
  pages.push_back(ConfigPage());
  pages.push_back(EndpointsPage());
  return pages;
}

std::unique_ptr<Command> MakeMan() { return std::make_unique<Man>(); }

}  // namespace epp::cli
