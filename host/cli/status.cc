// epp status: one-screen health.
#include <chrono>
#include <ostream>
#include <sstream>
#include <thread>

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"
#include "host/cli/admin_client.h"
#include "host/cli/version.h"
#include "nlohmann/json.hpp"

namespace epp::cli {
namespace {

class Status final : public ClientCommand {
 public:
  Status()
      : ClientCommand("status", "One-screen health of the running epp",
                      "  epp status\n"
                      "  epp status --check || page-somebody\n"
                      "  epp status --section pool\n") {
    app().add_flag("--check", check_, "exit 1 when not ready or any warning is active");
    app().add_option("--section", section_, "only this one: config, pool, traffic, plugins, ...");
    app().add_flag("--watch", watch_, "print again every 2 s until interrupted");
  }

 private:
  int Run(Io& io) override {
    int exit_code = Once(io);
    while (watch_ && (exit_code == kDone || exit_code == kNo)) {
      io.out.flush();
      std::this_thread::sleep_for(std::chrono::seconds(2));
      // A terminal shows one screen that changes; a file gets one document after the other.
      if (io.out_tty) io.out << "\x1b[H\x1b[2J";
      exit_code = Once(io);
    }
    return exit_code;
  }

  int Once(Io& io) {
    int exit_code = kDone;
    const auto document = Get(io, "/admin/status", false, &exit_code);
    if (!document.ok()) return exit_code;
    const auto status = nlohmann::json::parse(document->body, nullptr, false);
    if (!status.is_object()) {
      return Fail(io, kRefused, "EPP-CLI-REFUSED", "the answer is no status document");
    }
    if (const std::string theirs = status.value("version", ""); IsNewer(theirs, Version())) {
      io.err << "warning: the process (" << theirs << ") is newer than this command (" << Version()
             << ")\n";
    }
    const bool healthy = status.value("ready", false) &&
                         (!status.contains("degraded") || status["degraded"].empty());
    if (json()) {
      if (section_.empty()) {
        io.out << document->body;
        if (!document->body.ends_with('\n')) io.out << "\n";
      } else if (status.contains(section_)) {
        io.out << status[section_].dump() << "\n";
      } else {
        return NoSection(io);
      }
    } else {
      const auto text = Get(io, "/admin/status", true, &exit_code);
      if (!text.ok()) return exit_code;
      const std::string shown = section_.empty() ? text->body : SectionOf(text->body);
      if (shown.empty()) return NoSection(io);
      io.out << shown;
    }
    return check_ && !healthy ? kNo : kDone;
  }

  int NoSection(Io& io) {
    return Fail(io, kUsage, "EPP-CLI-USAGE", StrCat("there is no section \"", section_, "\""));
  }

  // The line that starts with the section's name, and the indented ones below it.
  std::string SectionOf(const std::string& text) const {
    std::string out;
    bool inside = false;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with(' ')) inside = line.starts_with(section_ + " ");
      if (inside) StrAppend(&out, line, "\n");
    }
    return out;
  }

  bool check_ = false;
  bool watch_ = false;
  std::string section_;
};

}  // namespace

std::unique_ptr<Command> MakeStatus() { return std::make_unique<Status>(); }

}  // namespace epp::cli
