// epp serve: run.
#include <csignal>
#include <cstdlib>
#include <ostream>

#include "host/base/clock.h"
#include "host/base/str_cat.h"
#include "host/cli/command.h"
#include "host/cli/load.h"
#include "host/cli/notify.h"
#include "host/cli/summary.h"
#include "host/extproc/library_logs.h"
#include "host/serve/app.h"
#include "host/telemetry/log.h"

namespace epp::cli {
namespace {

log::Options LogOptions(const config::Settings& settings, bool colour) {
  log::Options options;
  options.level = log::ParseLevel(settings.log_level).value_or(log::Level::kInfo);
  options.format = settings.log_format == "json"   ? log::Format::kJson
                   : settings.log_format == "text" ? log::Format::kText
                                                   : log::Format::kAuto;
  options.color = colour;
  return options;
}

// Every thread inherits this; App::Run takes the signals one by one.
void BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

void LogLibraryMessage(extproc::LibraryLogLevel level, std::string_view text) {
  if (level == extproc::LibraryLogLevel::kError) {
    EPP_LOG(kWarn, "grpc", "library message", {{"text", text}});
  } else {
    EPP_LOG(kDebug, "grpc", "library message", {{"text", text}});
  }
}

// Start-up failures that a restart would only repeat.
bool IsConfigError(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status);
}

uint64_t NowUs() { return Clock::Real().mono_ns() / 1000; }

class Serve final : public Command {
 public:
  Serve() : Command("serve", "Run the endpoint picker", "") {}

  // The flags are the reference's and parsed apart.
  int Main(const std::vector<std::string>& arguments, Io& io) override {
    config::Diagnostics diagnostics;
    const auto line = LoadServeCommandLine(arguments, diagnostics);
    if (absl::IsCancelled(line.status())) {
      io.out << View(line.status());
      return kDone;
    }
    if (!line.ok()) {
      Fail(io, kUsage, "EPP-CLI-USAGE", View(line.status()));
      if (absl::IsNotFound(line.status())) return kConfig;
      io.err << "  hint: epp serve -h\n";
      return kUsage;
    }
    if (!diagnostics.ok()) {
      io.err << diagnostics.Render(io.err_colour);
      return kConfig;
    }
    if ((*line)->flags.print_settings) {
      io.out << (*line)->settings.Print();
      return kDone;
    }
    return Start(**line, diagnostics, io);
  }

  std::vector<std::string> FlagNames() const override { return ServeFlagNames(); }

 private:
  int Run(Io&) override { return kBug; }

  int Start(const ServeCommandLine& line, config::Diagnostics& diagnostics, Io& io) {
    BlockSignals();
    const log::Session session(LogOptions(line.settings.settings(), io.err_colour));
    extproc::RouteLibraryLogs(&LogLibraryMessage);
    for (const std::string& warning : line.flags.warnings) {
      EPP_LOG_EXEMPT(kWarn, "main", "command line", {{"warning", warning}});
    }
    auto app = serve::App::Start(line, diagnostics);
    log::Flush();
    io.err << diagnostics.Render(io.err_colour) << std::flush;
    if (!app.ok()) {
      if (!diagnostics.ok()) return kConfig;
      return Fail(io, IsConfigError(app.status()) ? kConfig : kNo, "EPP-CLI-START",
                  View(app.status()));
    }
    Announce(line, **app, io);
    return Serving(**app);
  }

  static int Serving(serve::App& app) {
    if (std::getenv("NOTIFY_SOCKET") == nullptr) return app.Run({});
    const auto status = [&] { return StatusLine(app.CurrentStatus()); };
    ServiceNotifier manager([&] { return app.AllThreadsTicked(); });
    serve::RunHooks hooks;
    hooks.tick = [&] { manager.Tick(status(), NowUs()); };
    hooks.reloading = [&] { manager.Reloading(NowUs()); };
    hooks.reloaded = [&] { manager.Reloaded(status(), NowUs()); };
    hooks.draining = [&](uint64_t streams) { manager.Draining(streams); };
    manager.Ready(status(), NowUs());
    return app.Run(hooks);
  }

  // The summary: a block for people, one event for programs.
  static void Announce(const ServeCommandLine& line, serve::App& app, Io& io) {
    const serve::Facts facts = app.CurrentFacts();
    const Summary summary = Summarise(line, facts, app.CurrentStatus());
    const std::string& format = line.settings.settings().log_format;
    if (format == "text" || (format == "auto" && io.err_tty)) {
      io.err << SummaryText(summary, facts) << std::flush;
      return;
    }
    std::string text;
    for (const auto& [name, what] : summary)
      StrAppend(&text, text.empty() ? "" : " | ", name, ": ", what);
    EPP_LOG_EXEMPT(kInfo, "main", "startup", {{"summary", text}});
    EPP_LOG_EXEMPT(kInfo, "main", "ready",
                   {{"took_ms", facts.took_ns / 1'000'000},
                    {"grpc", facts.grpc},
                    {"health", facts.health},
                    {"metrics", facts.metrics},
                    {"admin", facts.admin}});
  }

  static std::string StatusLine(const admin::Status& status) {
    return StrCat(status.ready ? "" : "not ready, ", "generation ", status.generation, ", ",
                  status.pool.fresh, " of ", status.pool.total(), " endpoints fresh");
  }
};

}  // namespace

std::unique_ptr<Command> MakeServe() { return std::make_unique<Serve>(); }

}  // namespace epp::cli
