// epp check: is this configuration good here; what does it amount to.
#include <algorithm>
#include <array>
#include <chrono>
#include <ostream>
#include <sstream>

#include "CLI/CLI.hpp"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/cli/command.h"
#include "host/cli/describe.h"
#include "host/cli/load.h"
#include "host/config/document.h"
#include "host/objects/object_files.h"
#include "host/pool/file_discovery.h"
#include "host/serve/load.h"
#include "host/serve/trial.h"

namespace epp::cli {
namespace {

constexpr std::array<std::string_view, 5> kStages = {"syntax", "schema", "wiring", "libraries",
                                                     "endpoints"};
enum Stage : size_t { kSyntax, kSchema, kWiring, kLibraries, kEndpoints };

// Where a finding belongs. One pass finds those of several stages; codes tell them apart.
Stage StageOf(const std::string& code) {
  static constexpr std::array<std::string_view, 14> kWiringCodes = {
      "EPP-CFG-UNDEFINED-REF", "EPP-CFG-WRONG-KIND",     "EPP-CFG-TWO-PICKERS",
      "EPP-CFG-HANDLER-COUNT", "EPP-CFG-HANDLER",        "EPP-CFG-DUPLICATE-EXTRACTOR",
      "EPP-CFG-NO-SOURCE",     "EPP-CFG-SOURCE",         "EPP-CFG-PAYLOAD",
      "EPP-CFG-NO-PRODUCER",   "EPP-CFG-TWO-PRODUCERS",  "EPP-CFG-ATTRIBUTE-TYPE",
      "EPP-CFG-CYCLE",         "EPP-CFG-UNMET-OPTIONAL",
  };
  static constexpr std::array<std::string_view, 6> kMoreWiringCodes = {
      "EPP-CFG-DATA-CYCLE",       "EPP-CFG-NO-DISCOVERY",     "EPP-CFG-FLOW-OFF",
      "EPP-CFG-FLOW-UNAVAILABLE", "EPP-CFG-DUPLICATE-PARSER", "EPP-CFG-WHICH-PRODUCER"};
  static constexpr std::array<std::string_view, 3> kLibraryCodes = {
      "EPP-CFG-UNKNOWN-TYPE", "EPP-CFG-EXPERIMENTAL", "EPP-CFG-CREATE"};
  const auto in = [&](const auto& codes) {
    return std::find(codes.begin(), codes.end(), code) != codes.end();
  };
  if (code == "EPP-CFG-SYNTAX" || code == "EPP-CFG-READ") return kSyntax;
  if (code.starts_with("EPP-POOL-") || code.starts_with("EPP-OBJ-")) return kEndpoints;
  if (in(kWiringCodes) || in(kMoreWiringCodes)) return kWiring;
  if (in(kLibraryCodes) || !code.starts_with("EPP-CFG-")) return kLibraries;
  return kSchema;
}

bool HasPreflightError(const config::Diagnostics& found) {
  return std::any_of(found.all().begin(), found.all().end(),
                     [](const auto& d) { return d.code == "EPP-LOAD-PREFLIGHT"; });
}

std::string Count(size_t n, std::string_view what) {
  return StrCat(n, " ", what, n == 1 ? "" : "s");
}

void Add(const config::Diagnostic& d, config::Diagnostics& out) {
  if (d.severity == config::Severity::kError) {
    out.Error(d.mark, d.code, d.message, d.caret, d.hint);
  } else {
    out.Warning(d.mark, d.code, d.message, d.caret, d.hint);
  }
}

// The findings of the stages up to `last`.
config::Diagnostics UpTo(const config::Diagnostics& all, Stage last) {
  config::Diagnostics out;
  for (const config::Diagnostic& d : all.all()) {
    if (StageOf(d.code) <= last) Add(d, out);
  }
  return out;
}

class Check final : public Command {
 public:
  Check()
      : Command("check", "Check a configuration as serve would load it, without serving",
                "  epp check config.yaml\n"
                "  epp check - < config.yaml\n"
                "  epp check --settings /etc/epp/epp.toml --deny-warnings\n"
                "  epp check config.yaml --print\n") {
    app().add_option("FILE", file_,
                     "the configuration, - for stdin; default: what serve would use");
    app().add_option("--settings", settings_, "settings file (TOML)");
    app()
        .add_option("--set", set_, "SECTION.KEY=VALUE: override one setting, repeatable")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app().add_option("--endpoints-file", endpoints_file_,
                     "check this endpoints file, as serve would");
    app().add_flag("--allow-experimental-plugins", experimental_, "allow alpha plugin types");
    app().add_option("--flags", flags_, "further arguments of serve, as one word");
    app().add_flag("--deny-warnings", deny_warnings_, "a warning is a no, too");
    app()
        .add_option("--stage", stage_, "stop after this one")
        ->check(CLI::IsMember({"syntax", "schema", "wiring", "libraries", "endpoints"}));
    app().add_flag("--print", print_, "print the effective configuration on stdout");
    AddJsonFlag();
  }

 private:
  int Run(Io& io) override {
    const auto last =
        static_cast<Stage>(std::find(kStages.begin(), kStages.end(), stage_) - kStages.begin());
    config::Diagnostics found;
    const auto line = LoadServeCommandLine(ServeArguments(), found);
    if (!line.ok()) return Fail(io, kUsage, "EPP-CLI-USAGE", View(line.status()));
    if (!found.ok()) return Report(io, found, kSyntax);
    const auto text = serve::ReadConfig(**line);
    if (!text.ok()) return Fail(io, kUsage, "EPP-CFG-READ", View(text.status()));
    Examine(**line, *text, last, found);
    return Report(io, UpTo(found, last), last);
  }

  std::vector<std::string> ServeArguments() const {
    std::vector<std::string> arguments;
    const auto add = [&](const std::string& flag, const std::string& value) {
      if (!value.empty()) arguments.insert(arguments.end(), {flag, value});
    };
    add("--settings", settings_);
    for (const std::string& pair : set_) add("--set", pair);
    add("--config-file", file_);
    add("--endpoints-file", endpoints_file_);
    if (experimental_) arguments.push_back("--allow-experimental-plugins");
    std::istringstream words(flags_);
    for (std::string word; words >> word;) arguments.push_back(word);
    return arguments;
  }

  void Examine(const ServeCommandLine& line, std::shared_ptr<const config::SourceText> text,
               Stage last, config::Diagnostics& found) {
    if (last == kSyntax) {
      config::ParseDocument(std::move(text), found);
      return;
    }
    const config::Settings& settings = line.settings.settings();
    const auto begin = std::chrono::steady_clock::now();
    if (last < kLibraries) {
      const loader::Catalog catalog = serve::OpenCatalog(settings);
      const config::ResolvedConfig config = config::Resolve(
          std::move(text), catalog, {.allow_experimental = settings.allow_experimental}, found);
      if (found.ok()) Describe(config);
      return;
    }
    serve::PluginFiles plugins = serve::FindPlugins(settings);
    refused_ = plugins.libraries.refused.size();
    const bool proven = serve::Prove(line, text, plugins, nullptr, found);
    if (!proven && HasPreflightError(found)) return;
    platform_ = std::make_unique<serve::Platform>(settings, 1, false, std::move(plugins));
    // What the trial found wrong with the config needs no second build to be found again.
    if (proven) generation_ = platform_->Build(1, std::move(text), found);
    took_ms_ = std::chrono::duration_cast<std::chrono::milliseconds>(
                   std::chrono::steady_clock::now() - begin)
                   .count();
    refused_ = platform_->catalog()->refused().size();
    if (generation_) {
      Describe(generation_->config());
      PrintIfWanted(generation_->config());
    }
    if (last == kEndpoints) CheckEndpoints(line, found);
  }

  void Describe(const config::ResolvedConfig& config) {
    digest_ = config.digest.substr(0, 8);
    wiring_ = DescribeInstances(config);
    for (const std::string& profile : DescribeProfiles(config)) StrAppend(&wiring_, "; ", profile);
  }

  void PrintIfWanted(const config::ResolvedConfig& config) {
    if (print_) effective_ = PrintEffective(config);
  }

  // A library that nobody names is no error here; it is a line of epp plugins.

  void CheckEndpoints(const ServeCommandLine& line, config::Diagnostics& found) {
    std::string path = line.flags.endpoints_file;
    bool multicluster = false;
    if (path.empty()) {
      if (!generation_) return;
      if (!generation_->discovery()) {
        found.Warning({}, "EPP-CFG-NO-DISCOVERY",
                      "no endpoint discovery is configured: serve needs --endpoints-file", "",
                      "or dataLayer.discovery with a plugin of type file-discovery");
        return;
      }
      const auto settings = pool::FileDiscoverySettingsOf(generation_->discovery()->self());
      path = settings.path;
      multicluster = settings.multicluster;
    }
    pool::Discovery discovery;
    pool::Discovery::Options options;
    options.multicluster = multicluster;
    const pool::LoadReport report = discovery.Start(path, options, &platform_->pool());
    for (const config::Diagnostic& d : report.diagnostics.all()) Add(d, found);
    endpoints_ = StrCat(path, ": ", Count(report.endpoints, "endpoint"));
    CheckObjects(path, line.flags, found);
  }

  // Objectives and model rewrites are in the endpoints file and beside it.
  void CheckObjects(const std::string& endpoints_file, const ServeFlags& flags,
                    config::Diagnostics& found) {
    objects::ObjectSlot slot;
    objects::ObjectFiles files;
    objects::ObjectFiles::Options options;
    options.pool = {flags.pool_name, flags.pool_group, flags.pool_namespace};
    const objects::ObjectsReport report = files.Start(endpoints_file, std::move(options), &slot);
    for (const config::Diagnostic& d : report.diagnostics.all()) Add(d, found);
    const size_t objectives = report.objects->objectives().size();
    const size_t rewrites = report.objects->rewrites().size();
    if (objectives > 0) StrAppend(&endpoints_, ", ", Count(objectives, "objective"));
    if (rewrites > 0) StrAppend(&endpoints_, ", ", Count(rewrites, "model rewrite"));
  }

  // What a clean stage says for itself.
  std::string Remark(Stage stage) const {
    if (stage == kWiring) return wiring_;
    if (stage == kLibraries && platform_) {
      std::string text = StrCat(platform_->catalog()->libraries().size(), " libraries, ABI ",
                                EPP_ABI_MAJOR, ".", EPP_ABI_MINOR, ", ", took_ms_, " ms");
      if (refused_ > 0) StrAppend(&text, "; ", refused_, " refused (epp plugins)");
      return text;
    }
    return stage == kEndpoints ? endpoints_ : "";
  }

  void PrintStages(std::ostream& out, const config::Diagnostics& found, Stage last) const {
    size_t blocked = kStages.size();  // the first stage with an error that ends the walk
    for (size_t s = kSyntax; s <= last && s < kStages.size(); ++s) {
      size_t errors = 0;
      size_t warnings = 0;
      for (const config::Diagnostic& d : found.all()) {
        if (StageOf(d.code) != s) continue;
        ++(d.severity == config::Severity::kError ? errors : warnings);
      }
      std::string line = StrCat("  ", kStages[s], std::string(12 - kStages[s].size(), ' '));
      const std::string remark = Remark(static_cast<Stage>(s));
      if (errors > 0) {
        line += Count(errors, "error");
        if (warnings > 0) StrAppend(&line, ", ", Count(warnings, "warning"));
        blocked = std::min(blocked, s);
      } else if (blocked < s && remark.empty()) {
        line += "not reached";
      } else {
        line += "ok";
        if (warnings > 0) StrAppend(&line, "     ", Count(warnings, "warning"));
        if (!remark.empty()) StrAppend(&line, "     ", remark);
      }
      out << line << "\n";
    }
  }

  int Report(Io& io, const config::Diagnostics& found, Stage last) {
    const bool valid = found.ok() && (!deny_warnings_ || found.warnings() == 0);
    const std::string counts =
        StrCat(Count(found.errors(), "error"), ", ", Count(found.warnings(), "warning"));
    if (json()) {
      std::string out;
      JsonWriter w(&out);
      w.BeginObject();
      w.Field("schema", "epp.check/1").Field("valid", valid).Field("digest", digest_);
      w.Field("errors", found.errors()).Field("warnings", found.warnings());
      w.Key("diagnostics").Raw(found.RenderJson());
      if (print_) w.Field("effective", effective_);
      w.EndObject();
      io.out << out << "\n";
      return valid ? kDone : kNo;
    }
    // With --print stdout is the listing and nothing else.
    std::ostream& out = print_ ? io.err : io.out;
    PrintStages(out, found, last);
    if (!found.all().empty()) out << "\n" << found.Render(io.out_colour);
    out << "\n";
    if (valid) {
      out << "valid";
      if (found.warnings() > 0) out << ", " << Count(found.warnings(), "warning");
      if (!digest_.empty()) out << ", digest " << digest_;
      out << "\n";
    } else {
      out << "invalid: " << counts << "; nothing was applied\n";
    }
    if (print_) io.out << effective_;
    return valid ? kDone : kNo;
  }

  std::string file_;
  std::string settings_;
  std::vector<std::string> set_;
  std::string endpoints_file_;
  std::string flags_;
  std::string stage_ = "endpoints";
  bool experimental_ = false;
  bool deny_warnings_ = false;
  bool print_ = false;

  std::unique_ptr<serve::Platform> platform_;
  std::unique_ptr<runtime::Generation> generation_;  // before the platform that it runs in
  int64_t took_ms_ = 0;
  size_t refused_ = 0;
  std::string digest_;
  std::string wiring_;
  std::string endpoints_;
  std::string effective_;
};

}  // namespace

std::unique_ptr<Command> MakeCheck() { return std::make_unique<Check>(); }

}  // namespace epp::cli
