#include "host/serve/documents.h"

#include <utility>

#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/runtime/outline.h"

namespace epp::serve {

std::string VersionDocument() {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.version/1").Field("version", EPP_VERSION);
  w.Field("abi", StrCat(EPP_ABI_MAJOR, ".", EPP_ABI_MINOR)).Field("compiler", __VERSION__);
  w.EndObject();
  return out;
}

std::string ConfigDocument(const runtime::Generation& generation, std::string_view path,
                           std::span<const std::string> plugin_dirs,
                           const config::SettingsBuilder& settings) {
  const config::ResolvedConfig& config = generation.config();
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.config/1").Field("generation", generation.serving().number);
  w.Field("path", path).Field("digest", config.digest.substr(0, 8));
  w.Key("plugin_dirs").BeginArray();
  for (const std::string& dir : plugin_dirs) w.Value(dir);
  w.EndArray();
  w.Key("plugins").BeginArray();
  for (const config::PluginSpec& plugin : config.plugins) {
    w.BeginObject();
    w.Field("name", plugin.name).Field("type", plugin.type->name());
    w.Field("origin", plugin.injected.empty()
                          ? StrCat(plugin.mark.source->name, ":", plugin.mark.line)
                          : StrCat("injected: ", plugin.injected));
    w.EndObject();
  }
  w.EndArray();
  w.Key("profiles").BeginArray();
  for (const config::ProfileSpec& profile : config.profiles) {
    w.BeginObject();
    w.Field("name", profile.name);
    w.Key("plugins").BeginArray();
    for (const config::ProfileEntry& entry : profile.entries) {
      w.BeginObject();
      w.Field("plugin", config.plugins[entry.plugin].name).Field("weight", entry.weight);
      w.EndObject();
    }
    w.EndArray();
    w.EndObject();
  }
  w.EndArray();
  w.Key("settings").BeginArray();
  for (const config::SettingSpec& spec : config::SettingSpecs()) {
    w.BeginObject();
    w.Field("key", spec.key).Field("value", config::FormatSetting(spec, settings.settings()));
    w.Field("origin", settings.origin(spec.key));
    w.EndObject();
  }
  w.EndArray();
  // Effective, without secrets; what `epp diff --live` compares with.
  w.Key("outline").Raw(runtime::ToJson(runtime::OutlineOf(config)));
  w.EndObject();
  return out;
}

std::string PluginsDocument(const runtime::Generation& generation) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.plugins/1");
  w.Key("instances").BeginArray();
  for (const auto& instance : generation.instances()) {
    w.BeginObject();
    w.Field("name", instance->name()).Field("type", instance->type().name());
    const auto& library = instance->type().library;
    w.Field("library", library ? library->info().name : std::string("epp"));
    if (library) w.Field("version", library->info().version);
    epp_error err{sizeof(epp_error), EPP_OK, {}};
    const auto* ready = instance->Get<epp_readiness>(EPP_READINESS_ID);
    const bool ok = !ready || ready->ready(instance->self(), &err) == EPP_OK;
    w.Field("ready", ok);
    if (!ok) w.Field("reason", std::string_view(err.message));
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  return out;
}

admin::GenerationNames NamesOf(const runtime::Generation& generation) {
  admin::GenerationNames names;
  const scheduling::Wiring& wiring = generation.serving().wiring;
  names.number = generation.serving().number;
  for (const scheduling::BoundPlugin& plugin : wiring.plugins) {
    std::string column;
    if (!plugin.columns.empty()) {
      const scheduling::Source& source = plugin.columns[0];
      if (source.kind == scheduling::Source::Kind::kProduced) {
        column = wiring.produced[source.index].key;
      } else if (source.kind == scheduling::Source::Kind::kFrame) {
        column = generation.ColumnKey(source.index);
      }
    }
    names.plugins.push_back({plugin.name(), plugin.type_name(), std::move(column)});
  }
  for (const scheduling::Profile& profile : wiring.profiles) {
    names.profiles.push_back(profile.name);
  }
  return names;
}

}  // namespace epp::serve
