#include "host/cli/command.h"

#include <algorithm>
#include <ostream>

#include "CLI/CLI.hpp"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/base/strings.h"

namespace epp::cli {

Command::Command(std::string_view name, std::string_view summary, std::string_view examples)
    : name_(name),
      examples_(examples),
      app_(std::make_unique<CLI::App>(std::string(summary), StrCat("epp ", name))) {
  app_->set_help_flag("-h,--help", "print this help; --help adds examples");
  app_->add_option("--color", colour_, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
}

Command::~Command() = default;

void Command::AddJsonFlag() { app_->add_flag("--json", json_, "one JSON document on stdout"); }

int Command::Main(const std::vector<std::string>& arguments, Io& io) {
  json_ = std::find(arguments.begin(), arguments.end(), "--json") != arguments.end() &&
          app_->get_option_no_throw("--json") != nullptr;
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants them
  try {
    app_->parse(reversed);
  } catch (const CLI::CallForHelp&) {
    const bool longer = std::find(arguments.begin(), arguments.end(), "--help") != arguments.end();
    if (longer && !examples_.empty()) io.out << "Examples:\n" << examples_ << "\n";
    io.out << app_->help();
    return kDone;
  } catch (const CLI::ParseError& error) {
    return Usage(io, error.what());
  }
  ApplyColour(colour_, io);
  return Run(io);
}

std::vector<std::string> Command::FlagNames() const {
  std::vector<std::string> names;
  for (const CLI::Option* option : app_->get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back(StrCat("--", name));
  }
  return names;
}

int Command::Usage(Io& io, std::string_view message) const {
  std::string text(message);
  // "... not expected: --jsno": the flag that was meant.
  const size_t at = text.rfind("--");
  if (at != std::string::npos) {
    const std::vector<std::string> flags = FlagNames();
    const std::string wrong = text.substr(at, text.find_first_of("= ", at) - at);
    const std::string_view meant = Nearest(wrong, flags);
    if (!meant.empty() && meant != wrong) StrAppend(&text, "; did you mean ", meant, "?");
  }
  const int exit_code = Fail(io, kUsage, "EPP-CLI-USAGE", text);
  if (!json_) io.err << "  hint: epp " << name_ << " -h\n";
  return exit_code;
}

int Command::Fail(Io& io, int exit_code, std::string_view code, std::string_view message) const {
  if (json_) {
    std::string out;
    JsonWriter w(&out);
    w.BeginObject();
    w.Field("schema", "epp.error/1").Field("code", code).Field("message", message);
    w.Key("diagnostics").BeginArray().EndArray();
    w.EndObject();
    io.out << out << "\n";
  } else {
    io.err << "epp " << name_ << ": " << message << "\n";
  }
  return exit_code;
}

}  // namespace epp::cli
