// epp diff: what a change of the configuration means.
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/cli/admin_client.h"
#include "host/cli/load.h"
#include "host/config/includes.h"
#include "host/runtime/generation_diff.h"
#include "host/runtime/outline.h"
#include "host/serve/load.h"
#include "nlohmann/json.hpp"

namespace epp::cli {
namespace {

using Json = nlohmann::json;

// Of a running process.
struct Live {
  std::string path;
  std::vector<std::string> plugin_dirs;
  Json settings;
  runtime::Outline outline;
};

class Diff final : public ClientCommand {
 public:
  Diff()
      : ClientCommand("diff", "What a change of the configuration means: steps, instances, state",
                      "  epp diff old.yaml new.yaml\n"
                      "  epp diff --live\n"
                      "  epp diff --live candidate.yaml --settings /etc/epp/epp.toml\n") {
    app()
        .add_option("FILES", files_, "OLD NEW; with --live NEW, default the configured file")
        ->expected(0, 2);
    app().add_flag("--live", live_, "compare with what the running epp serves");
    app().add_flag("--all", all_, "show also what stays");
    app()
        .add_option("--set", set_, "SECTION.KEY=VALUE: override one setting, repeatable")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app().add_flag("--allow-experimental-plugins", experimental_, "allow alpha plugin types");
  }

 private:
  int Run(Io& io) override {
    if (live_ ? files_.size() > 1 : files_.size() != 2) {
      return Fail(io, kUsage, "EPP-CLI-USAGE", "want OLD NEW, or --live and at most one file");
    }
    int exit_code = kDone;
    std::optional<Live> live;
    if (live_ && !Ask(io, live, &exit_code)) return exit_code;
    config::Diagnostics found;
    line_ = Line(live, found);
    if (!line_.ok()) return Fail(io, kUsage, "EPP-CLI-USAGE", View(line_.status()));
    if (!found.ok()) return Invalid(io, found);
    platform_ = std::make_unique<serve::Platform>((*line_)->settings.settings(), 1, false);

    runtime::Outline from;
    if (live) {
      from = std::move(live->outline);
    } else if (!OutlineOfFile(io, files_[0], from, &exit_code)) {
      return exit_code;
    }
    const std::string& file = live && files_.empty() ? live->path : files_.back();
    if (!file.starts_with('/') && live && files_.empty() && file.starts_with('(')) {
      return Fail(io, kUsage, "EPP-CLI-USAGE", "the running epp has no config file, name one");
    }
    runtime::Outline to;
    if (!OutlineOfFile(io, file, to, &exit_code)) return exit_code;
    runtime::GenerationDiff diff = runtime::Compare(from, to);
    const size_t restart = live ? AddSettings(live->settings, diff) : 0;
    Print(io, diff, to, live && file == live->path, restart);
    return diff.same() ? kDone : kNo;
  }

  bool Ask(Io& io, std::optional<Live>& live, int* exit_code) {
    const auto response = Get(io, "/admin/config", false, exit_code);
    if (!response.ok()) return false;
    const Json document = Json::parse(response->body, nullptr, false);
    absl::StatusOr<runtime::Outline> outline =
        absl::FailedPreconditionError("the running epp is too old for this command");
    if (document.is_object() && document.contains("outline")) {
      outline = runtime::OutlineFromJson(document["outline"].dump());
    }
    if (!outline.ok()) {
      *exit_code = Fail(io, kRefused, "EPP-CLI-REFUSED", View(outline.status()));
      return false;
    }
    live.emplace();
    live->outline = *std::move(outline);
    live->path = document.value("path", "");
    live->settings = document.value("settings", Json::array());
    for (const Json& dir : document.value("plugin_dirs", Json::array())) {
      if (dir.is_string()) live->plugin_dirs.push_back(dir.get<std::string>());
    }
    return true;
  }

  // As for serve; what nobody says here is taken from the running process.
  absl::StatusOr<std::unique_ptr<ServeCommandLine>> Line(const std::optional<Live>& live,
                                                         config::Diagnostics& found) const {
    std::vector<std::string> arguments;
    if (!settings_file().empty()) {
      arguments = {"--settings", settings_file()};
    } else if (live) {
      std::string dirs;
      for (const std::string& dir : live->plugin_dirs) {
        StrAppend(&dirs, dirs.empty() ? "" : ",", dir);
      }
      arguments = {"--set", StrCat("plugins.dirs=", dirs)};
      for (const char* key : {"plugins.allow_unlisted", "plugins.allow_experimental"}) {
        const std::string value = Setting(live->settings, key);
        if (!value.empty()) arguments.insert(arguments.end(), {"--set", StrCat(key, "=", value)});
      }
    }
    for (const std::string& pair : set_) arguments.insert(arguments.end(), {"--set", pair});
    if (experimental_) arguments.push_back("--allow-experimental-plugins");
    return LoadServeCommandLine(arguments, found);
  }

  static std::string Setting(const Json& settings, std::string_view key) {
    for (const Json& row : settings) {
      if (row.is_object() && row.value("key", "") == key) return row.value("value", "");
    }
    return "";
  }

  bool OutlineOfFile(Io& io, const std::string& path, runtime::Outline& outline, int* exit_code) {
    const auto text = ReadText(path);
    if (!text.ok()) {
      *exit_code = Fail(io, kUsage, "EPP-CFG-READ", View(text.status()));
      return false;
    }
    config::Diagnostics found;
    config::IncludedFiles files(path);
    const std::unique_ptr<runtime::Generation> built =
        platform_->Build(1, config::ReadIncludes(**text, files), found);
    if (!built) {
      *exit_code = Invalid(io, found);
      return false;
    }
    outline = runtime::OutlineOf(built->config());
    return true;
  }

  int Invalid(Io& io, const config::Diagnostics& found) const {
    if (json()) return Fail(io, kUsage, "EPP-CLI-INVALID", found.Render());
    io.err << found.Render(io.err_colour);
    return kUsage;
  }

  // Keys of the settings file that differ from what is in force. Those that a flag sets do not.
  size_t AddSettings(const Json& live, runtime::GenerationDiff& diff) const {
    if (settings_file().empty()) return 0;
    size_t added = 0;
    for (const config::SettingSpec& spec : config::SettingSpecs()) {
      for (const Json& row : live) {
        if (!row.is_object() || row.value("key", "") != spec.key) continue;
        const std::string mine = config::FormatSetting(spec, (*line_)->settings.settings());
        const std::string theirs = row.value("value", "");
        if (mine == theirs || row.value("origin", "").starts_with("--")) continue;
        diff.changes.push_back({'~', "settings", std::string(spec.key),
                                StrCat(theirs, " -> ", mine),
                                "needs a restart, a reload would ignore it"});
        ++diff.changed;
        ++added;
      }
    }
    return added;
  }

  void Print(Io& io, const runtime::GenerationDiff& diff, const runtime::Outline& to,
             bool configured, size_t restart) const {
    const std::string digest = to.digest.substr(0, 8);
    if (json()) {
      std::string out;
      JsonWriter w(&out);
      w.BeginObject();
      w.Field("schema", "epp.diff/1").Field("same", diff.same()).Field("digest", digest);
      w.Field("added", diff.added).Field("changed", diff.changed);
      w.Field("dropped", diff.dropped).Field("kept", diff.kept);
      w.Field("restart_required", restart > 0);
      w.Key("lost").BeginArray();
      for (const std::string& name : diff.lost) w.Value(name);
      w.EndArray();
      w.Key("changes").BeginArray();
      for (const runtime::Change& change : diff.changes) {
        if (change.mark == '=' && !all_) continue;
        w.BeginObject();
        w.Field("mark", std::string_view(&change.mark, 1)).Field("section", change.section);
        w.Field("subject", change.subject).Field("what", change.what).Field("fate", change.fate);
        w.EndObject();
      }
      w.EndArray();
      w.EndObject();
      io.out << out << "\n";
      return;
    }
    io.out << runtime::DiffText(diff, all_);
    if (configured && diff.added + diff.changed + diff.dropped > restart) {
      io.out << "apply exactly this: epp reload --wait --expect " << digest << "\n";
    }
  }

  std::vector<std::string> files_;
  bool live_ = false;
  bool all_ = false;
  std::vector<std::string> set_;
  bool experimental_ = false;

  absl::StatusOr<std::unique_ptr<ServeCommandLine>> line_ = absl::UnknownError("not parsed");
  std::unique_ptr<serve::Platform> platform_;
};

}  // namespace

std::unique_ptr<Command> MakeDiff() { return std::make_unique<Diff>(); }

}  // namespace epp::cli
