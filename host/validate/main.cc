// epp-plugin-check: does a plugin keep the contract of the ABI? Also reached as `epp plugin check`
// and `epp plugin doc`. A program of its own, so that it counts allocations and so that neither
// tcmalloc nor gRPC is in the picture.
#include <regex.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <iostream>

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"
#include "host/cli/command.h"
#include "host/validate/case_numbers.h"
#include "host/validate/cases.h"
#include "host/validate/child.h"
#include "host/validate/doc.h"
#include "host/validate/report.h"

namespace epp::validate {
namespace {

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// A POSIX extended regular expression.
class Pattern {
 public:
  explicit Pattern(const std::string& text)
      : error_(regcomp(&compiled_, text.c_str(), REG_EXTENDED | REG_NOSUB)) {}
  ~Pattern() {
    if (error_ == 0) regfree(&compiled_);
  }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  // Empty when it is well formed.
  std::string Error() const {
    if (error_ == 0) return "";
    char text[128];
    regerror(error_, &compiled_, text, sizeof(text));
    return text;
  }
  bool Matches(const Case& c) const {
    const std::string id(c.id), name(c.name);
    return regexec(&compiled_, id.c_str(), 0, nullptr, 0) == 0 ||
           regexec(&compiled_, name.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  regex_t compiled_{};
  const int error_;
};

class PluginCheck final : public cli::Command {
 public:
  PluginCheck()
      : Command("plugin check", "Does a plugin keep the contract of the ABI?",
                "  epp plugin check build/my-scorer.so\n"
                "  epp plugin check --only-failed build/*.so\n"
                "  epp plugin check --in-process --include V11 build/my-scorer.so\n"
                "  epp plugin doc build/my-scorer.so > tables.md\n") {
    app().add_option("FILE", files_, "libraries, NAME.so")->required();
    app().add_flag("--only-failed", only_failed_, "show only the cases that failed");
    app().add_option("--include", include_, "only cases whose id or name matches this expression");
    app().add_option("--exclude", exclude_, "no cases whose id or name matches this expression");
    app().add_flag("--in-process", in_process_,
                   "no child processes: a crash ends this one, as a debugger wants it");
    app().add_flag("--strict", strict_,
                   "fail, too, for what is too slow, and for types that cannot be created");
    app().add_option("--seed", seed_, "of everything that is made up");
    app().add_option("--params", params_,
                     "YAML or JSON, a map from type to parameters; wins over [check.TYPE] of the "
                     "plugin.toml beside the library");
    app().add_option("--timeout", timeout_s_, "seconds for a case")->check(CLI::Range(1.0, 3600.0));
    app().add_flag("--doc", doc_, "print the README tables of the types instead");
    AddJsonFlag();
  }

 private:
  int Run(cli::Io& io) override {
    std::vector<const Case*> cases;
    if (absl::Status s = Select(cases); !s.ok()) {
      return Fail(io, cli::kUsage, "EPP-CLI-USAGE", Message(s));
    }
    std::vector<LibraryFile> libraries;
    for (const std::string& path : files_) {
      absl::StatusOr<LibraryFile> file = ReadLibraryFile(path, params_);
      if (!file.ok()) return Fail(io, cli::kUsage, "EPP-CLI-USAGE", Message(file.status()));
      libraries.push_back(*std::move(file));
    }
    return doc_ ? Document(io, libraries) : Check(io, libraries, cases);
  }

  absl::Status Select(std::vector<const Case*>& cases) const {
    const Pattern include(include_), exclude(exclude_);
    for (const Pattern* pattern : {&include, &exclude}) {
      if (const std::string error = pattern->Error(); !error.empty()) {
        return absl::InvalidArgumentError(StrCat("bad regular expression: ", error));
      }
    }
    for (const Case& c : AllCases()) {
      if (!include_.empty() && !include.Matches(c)) continue;
      if (!exclude_.empty() && exclude.Matches(c)) continue;
      cases.push_back(&c);
    }
    if (cases.empty()) return absl::InvalidArgumentError("no case is left to run");
    return absl::OkStatus();
  }

  int Document(cli::Io& io, const std::vector<LibraryFile>& libraries) {
    for (const LibraryFile& file : libraries) {
      const absl::StatusOr<std::string> text = validate::Document(file);
      if (!text.ok()) {
        return Fail(io, cli::kNo, "EPP-LOAD-DLOPEN",
                    StrCat(file.path, ": ", Message(text.status())));
      }
      io.out << *text;
    }
    return cli::kDone;
  }

  int Check(cli::Io& io, const std::vector<LibraryFile>& libraries,
            const std::vector<const Case*>& cases) {
    ReportOptions options{only_failed_, strict_, ""};
    if (seed_ != 1) StrAppend(&options.rerun, " --seed ", seed_);
    if (!params_.empty()) StrAppend(&options.rerun, " --params ", params_);
    std::vector<LibraryReport> reports;
    bool failed = false;
    for (size_t i = 0; i < libraries.size(); ++i) {
      reports.push_back(CheckOne(io, libraries[i], files_[i], cases, options));
      for (const CaseReport& report : reports.back().cases) {
        failed = failed || Failed(report.outcome, strict_);
      }
    }
    if (json()) io.out << Json(reports, options) << "\n";
    return failed ? cli::kNo : cli::kDone;
  }

  LibraryReport CheckOne(cli::Io& io, const LibraryFile& file, const std::string& path,
                         const std::vector<const Case*>& cases, const ReportOptions& options) {
    using Clock = std::chrono::steady_clock;
    LibraryReport report;
    report.path = path;
    if (file.elf.ok() && file.elf->note) {
      report.abi = StrCat(file.elf->note->abi_major, ".", file.elf->note->abi_minor);
    }
    report.types = CountTypes(file);
    if (!json()) PrintHeader(report, io.out);
    const Clock::time_point start = Clock::now();
    for (const Case* c : cases) {
      const bool progress = io.err_tty && (json() || only_failed_);
      if (progress) io.err << "\r" << c->id << " of " << file.name << "\x1b[K" << std::flush;
      const auto body = [&](Findings& findings) {
        CaseRun run{file, findings, seed_, strict_};
        c->run(run);
      };
      report.cases.push_back(
          {c, in_process_ ? RunHere(c->number, body) : RunInChild(c->number, body, Limit())});
      if (progress) io.err << "\r\x1b[K" << std::flush;
      if (!json()) PrintCase(report, report.cases.back(), options, io.out);
      io.out.flush();
    }
    report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (!json()) PrintSummary(report, options, io.out);
    return report;
  }

  // 0 when the library does not load.
  uint32_t CountTypes(const LibraryFile& file) const {
    const Outcome outcome = RunInChild(
        kRecord,
        [&](Findings& findings) {
          const auto subject = Subject::Open(file);
          if (subject.ok()) findings.Note(StrCat((*subject)->types().size()));
        },
        Limit());
    return outcome.notes.empty() ? 0 : static_cast<uint32_t>(std::stoul(outcome.notes[0]));
  }

  absl::Duration Limit() const { return absl::Seconds(timeout_s_); }

  std::vector<std::string> files_;
  std::string include_, exclude_, params_;
  bool only_failed_ = false, in_process_ = false, strict_ = false, doc_ = false;
  uint64_t seed_ = 1;
  double timeout_s_ = 10;
};

}  // namespace
}  // namespace epp::validate

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  epp::cli::Io io = epp::cli::ProcessIo();
  int exit_code = epp::cli::kBug;
  try {
    exit_code = epp::validate::PluginCheck().Main({argv + 1, argv + argc}, io);
  } catch (const std::exception& error) {
    std::cerr << "epp-plugin-check: a bug of ours: " << error.what() << "\n";
  }
  std::cout.flush();
  return exit_code;
}
