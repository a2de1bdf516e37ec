// epp plugins: the types that can be configured here, and one of them in detail.
#include <algorithm>
#include <ostream>
#include <span>

#include "CLI/CLI.hpp"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/base/strings.h"
#include "host/cli/command.h"
#include "host/cli/load.h"
#include "host/cli/table.h"
#include "host/cli/type_text.h"
#include "host/preflight/quarantine.h"
#include "host/serve/load.h"

namespace epp::cli {
namespace {

std::string LibraryName(const loader::TypeEntry& type) {
  return type.library ? type.library->info().name : "epp";
}

std::string LibraryVersion(const loader::TypeEntry& type) {
  if (!type.library) return "";
  const std::string& version = type.library->info().version;
  return version.empty() ? type.library->module().version : version;
}

std::string Join(const std::vector<std::string_view>& words) {
  std::string out;
  for (const std::string_view word : words) StrAppend(&out, out.empty() ? "" : ", ", word);
  return out;
}

// Text in a cell of a Markdown table.
std::string Cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

class Plugins final : public Command {
 public:
  Plugins()
      : Command("plugins", "Plugin types that can be configured here; one of them in detail",
                "  epp plugins --kind scorer\n"
                "  epp plugins approx-prefix-cache-producer\n"
                "  epp plugins --dir ./build/plugins\n") {
    app().add_option("TYPE", type_, "the detail page of this type");
    app()
        .add_option("--kind", kind_, "only this kind: filter, scorer, picker, ...")
        ->check(CLI::IsMember(AllKinds()));
    app()
        .add_option("--dir", dirs_, "plugin directory instead of the configured ones, repeatable")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app().add_option("--settings", settings_, "settings file (TOML)");
    app()
        .add_option("--set", set_, "SECTION.KEY=VALUE: override one setting, repeatable")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app().add_option("--forgive", forgive_,
                     "lift the quarantine of the library with this digest, or its first digits");
    app().add_flag("--markdown", markdown_, "the list as a Markdown table");
    app().add_flag("--no-header", no_header_, "leave the first line out");
    AddJsonFlag();
  }

 private:
  int Run(Io& io) override {
    config::Diagnostics found;
    std::vector<std::string> arguments;
    if (!settings_.empty()) arguments = {"--settings", settings_};
    for (const std::string& set : set_) arguments.insert(arguments.end(), {"--set", set});
    const auto line = LoadServeCommandLine(arguments, found);
    if (!line.ok()) return Fail(io, kUsage, "EPP-CLI-USAGE", View(line.status()));
    if (!found.ok()) {
      io.err << found.Render(io.err_colour);
      return kNo;
    }
    config::Settings settings = (*line)->settings.settings();
    if (!forgive_.empty()) return Forgive(io, settings);
    if (!dirs_.empty()) settings.plugin_dirs = dirs_;
    const loader::Catalog catalog = serve::OpenCatalog(settings);
    if (!json()) ReportRefused(io, catalog);
    if (!type_.empty()) return Detail(io, catalog);
    std::vector<const loader::TypeEntry*> types = catalog.types();
    std::erase_if(types, [&](const loader::TypeEntry* type) {
      const std::vector<std::string_view> kinds = KindsOf(*type);
      return !kind_.empty() && std::find(kinds.begin(), kinds.end(), kind_) == kinds.end();
    });
    if (json()) {
      ListJson(io, catalog, types);
    } else if (markdown_) {
      ListMarkdown(io, std::move(types));
    } else {
      ListText(io, types);
    }
    return kDone;
  }

  int Forgive(Io& io, const config::Settings& settings) const {
    const std::string file = preflight::QuarantineFile(settings.state_dir);
    const absl::StatusOr<size_t> lifted = preflight::Forgive(file, forgive_);
    if (!lifted.ok()) {
      const bool usage = absl::IsInvalidArgument(lifted.status());
      return Fail(io, usage ? kUsage : kNo, "EPP-CLI-USAGE", View(lifted.status()));
    }
    if (*lifted == 0) {
      io.err << "epp plugins: " << file << " holds no library with this digest\n";
      return kNo;
    }
    io.out << "lifted; epp reload loads it again\n";
    return kDone;
  }

  static void ReportRefused(Io& io, const loader::Catalog& catalog) {
    for (const loader::RefusedLibrary& refused : catalog.refused()) {
      io.err << "refused: " << refused.path << ": " << View(refused.why) << "\n";
    }
  }

  void ListText(Io& io, const std::vector<const loader::TypeEntry*>& types) const {
    Table table;
    if (!no_header_) table.Row({"TYPE", "KIND", "STABILITY", "LIBRARY", "VERSION"});
    for (const loader::TypeEntry* type : types) {
      const std::vector<std::string_view> kinds = KindsOf(*type);
      table.Row({std::string(type->name()), kinds.empty() ? "-" : std::string(kinds[0]),
                 std::string(StabilityName(type->type->stability)), LibraryName(*type),
                 LibraryVersion(*type)});
    }
    io.out << table.Text();
  }

  static void ListMarkdown(Io& io, std::vector<const loader::TypeEntry*> types) {
    const std::vector<std::string> order = AllKinds();
    const auto rank = [&](const loader::TypeEntry* type) {
      const std::vector<std::string_view> kinds = KindsOf(*type);
      return kinds.empty() ? order.end() - order.begin()
                           : std::find(order.begin(), order.end(), kinds[0]) - order.begin();
    };
    std::stable_sort(types.begin(), types.end(),
                     [&](const auto* a, const auto* b) { return rank(a) < rank(b); });
    io.out << "| Type | Kind | Stability | What it does |\n|---|---|---|---|\n";
    for (const loader::TypeEntry* type : types) {
      const std::vector<std::string_view> kinds = KindsOf(*type);
      io.out << "| `" << type->name() << "` | " << (kinds.empty() ? "-" : kinds[0]) << " | "
             << StabilityName(type->type->stability) << " | " << Cell(type->type->doc) << " |\n";
    }
  }

  static void WriteType(JsonWriter& w, const loader::TypeEntry& entry) {
    const epp_plugin_type& type = *entry.type;
    w.BeginObject();
    w.Field("type", entry.name());
    w.Key("kinds").BeginArray();
    for (const std::string_view kind : KindsOf(entry)) w.Value(kind);
    w.EndArray();
    w.Field("stability", StabilityName(type.stability)).Field("doc", type.doc);
    w.Field("library", LibraryName(entry)).Field("version", LibraryVersion(entry));
    if (type.deprecated) w.Field("deprecated", type.deprecated);
    w.Key("aliases").BeginArray();
    for (const char* alias : std::span(type.aliases, type.alias_count)) w.Value(alias);
    w.EndArray();
    w.Key("parameters").BeginArray();
    for (const epp_param_spec* spec : std::span(type.params, type.param_count)) {
      w.BeginObject();
      w.Field("name", spec->name).Field("type", ParamTypeName(spec->type)).Field("doc", spec->doc);
      w.Field("required", (spec->flags & EPP_PARAM_REQUIRED) != 0);
      w.Field("deprecated", (spec->flags & EPP_PARAM_DEPRECATED) != 0);
      w.Field("default", FormatValue(spec->default_value)).Field("range", FormatRange(*spec));
      w.EndObject();
    }
    w.EndArray();
    w.Key("interfaces").BeginArray();
    for (const char* id : std::span(type.interfaces, type.interface_count)) w.Value(id);
    w.EndArray();
    w.Key("consumes").BeginArray();
    for (const std::string& attribute : Consumes(type)) w.Value(attribute);
    w.EndArray();
    w.Key("produces").BeginArray();
    for (const std::string& attribute : Produces(type)) w.Value(attribute);
    w.EndArray();
    w.EndObject();
  }

  static void ListJson(Io& io, const loader::Catalog& catalog,
                       const std::vector<const loader::TypeEntry*>& types) {
    std::string out;
    JsonWriter w(&out);
    w.BeginObject();
    w.Field("schema", "epp.plugin-types/1");
    w.Key("types").BeginArray();
    for (const loader::TypeEntry* type : types) WriteType(w, *type);
    w.EndArray();
    w.Key("refused").BeginArray();
    for (const loader::RefusedLibrary& refused : catalog.refused()) {
      w.BeginObject();
      w.Field("path", refused.path).Field("why", View(refused.why));
      w.EndObject();
    }
    w.EndArray();
    w.EndObject();
    io.out << out << "\n";
  }

  static std::vector<std::string> Consumes(const epp_plugin_type& type) {
    std::vector<std::string> out;
    for (const epp_attr_spec* spec : std::span(type.consumes, type.consumes_count)) {
      out.push_back(FormatAttribute(*spec, spec->default_producer ? spec->default_producer : ""));
    }
    return out;
  }
  static std::vector<std::string> Produces(const epp_plugin_type& type) {
    std::vector<std::string> out;
    for (const epp_attr_spec* spec : std::span(type.produces, type.produces_count)) {
      const bool by_type = (spec->flags & EPP_ATTR_TYPE_NAMED) != 0;
      out.push_back(FormatAttribute(*spec, by_type ? type.name : "NAME-OF-THE-INSTANCE"));
    }
    return out;
  }

  int Detail(Io& io, const loader::Catalog& catalog) const {
    bool via_alias = false;
    const loader::TypeEntry* entry = catalog.Find(type_, &via_alias);
    if (entry == nullptr) {
      std::vector<std::string> names;
      for (const loader::TypeEntry* type : catalog.types()) names.emplace_back(type->name());
      std::string message = StrCat("there is no plugin type \"", type_, "\"");
      const std::string_view meant = Nearest(type_, names, 3);
      if (!meant.empty()) StrAppend(&message, ", did you mean \"", meant, "\"?");
      return Fail(io, kNo, "EPP-CFG-UNKNOWN-TYPE", message);
    }
    if (json()) {
      std::string out;
      JsonWriter w(&out);
      WriteType(w, *entry);
      io.out << out << "\n";
      return kDone;
    }
    if (via_alias) io.err << "\"" << type_ << "\" is an old name of this type\n";
    Page(io, *entry);
    return kDone;
  }

  static void Page(Io& io, const loader::TypeEntry& entry) {
    const epp_plugin_type& type = *entry.type;
    const std::string version = LibraryVersion(entry);
    io.out << Bold(entry.name(), io.out_colour) << (version.empty() ? "" : " ") << version << ", "
           << StabilityName(type.stability) << "; " << Join(KindsOf(entry)) << "\n"
           << type.doc << "\n\n";
    Parameters(io, type);
    const auto row = [&](std::string_view name, const std::string& text) {
      if (!text.empty()) {
        io.out << name << std::string(12 - name.size(), ' ') << text << "\n";
      }
    };
    if (type.deprecated) row("deprecated", type.deprecated);
    for (const char* alias : std::span(type.aliases, type.alias_count)) row("old name", alias);
    for (const std::string& attribute : Consumes(type)) row("consumes", attribute);
    for (const std::string& attribute : Produces(type)) row("produces", attribute);
    std::string interfaces;
    for (const char* id : std::span(type.interfaces, type.interface_count)) {
      StrAppend(&interfaces, interfaces.empty() ? "" : ", ", id);
    }
    row("interfaces", interfaces);
    if (!entry.library) {
      row("library", "part of epp");
      return;
    }
    const loader::LibraryInfo& info = entry.library->info();
    row("library",
        StrCat(info.path, ", ABI ", entry.library->module().abi_major, ".",
               entry.library->module().abi_minor, ", sha256 ", info.digest.substr(0, 12)));
    row("licence", info.license);
    for (const std::string& warning : info.warnings) row("note", warning);
  }

  static void Parameters(Io& io, const epp_plugin_type& type) {
    Table table;
    std::string deprecated;
    std::string ignored;
    table.Row({"PARAMETER", "TYPE", "DEFAULT", "RANGE", "MEANING"});
    size_t shown = 0;
    for (const epp_param_spec* spec : std::span(type.params, type.param_count)) {
      if (spec->flags & EPP_PARAM_DEPRECATED) {
        StrAppend(&deprecated, deprecated.empty() ? "" : ", ", spec->name);
        continue;
      }
      if (spec->flags & EPP_PARAM_IGNORED) {
        StrAppend(&ignored, ignored.empty() ? "" : ", ", spec->name);
        continue;
      }
      const bool required = (spec->flags & EPP_PARAM_REQUIRED) != 0;
      table.Row({spec->name, std::string(ParamTypeName(spec->type)),
                 required ? "(required)" : FormatValue(spec->default_value), FormatRange(*spec),
                 spec->doc});
      ++shown;
    }
    if (shown > 0) {
      io.out << table.Text();
    } else {
      io.out << "no parameters"
             << (type.flags & EPP_TYPE_ANY_PARAMS ? "; whatever is given is ignored\n" : "\n");
    }
    if (!deprecated.empty()) io.out << "deprecated: " << deprecated << "\n";
    if (!ignored.empty()) io.out << "accepted and ignored: " << ignored << "\n";
    io.out << "\n";
  }

  std::string type_;
  std::string kind_;
  std::vector<std::string> dirs_;
  std::string settings_;
  std::vector<std::string> set_;
  std::string forgive_;
  bool markdown_ = false;
  bool no_header_ = false;
};

}  // namespace

std::unique_ptr<Command> MakePlugins() { return std::make_unique<Plugins>(); }

}  // namespace epp::cli
