#include "host/runtime/outline.h"

#include <algorithm>
#include <array>
#include <span>

#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/loader/sha256.h"
#include "nlohmann/json.hpp"

namespace epp::runtime {
namespace {

using Json = nlohmann::json;

constexpr std::array kLearnFrom = {EPP_PRE_REQUEST_ID, EPP_RESPONSE_ID, EPP_POOL_EVENTS_ID,
                                   EPP_DUMP_STATE_ID, EPP_STATE_ID};

// A plugin of several kinds takes the part that says most about the order.
std::string RoleOf(const loader::TypeEntry& type) {
  if (type.Implements(EPP_FILTER_ID)) return "filter";
  return type.Implements(EPP_PICKER_ID) ? "picker" : "scorer";
}

std::vector<std::pair<std::string, std::string>> ValuesOf(const config::PluginSpec& spec) {
  std::vector<std::pair<std::string, std::string>> out;
  const Json values = Json::parse(spec.params->Canonical(), nullptr, false);
  const epp_plugin_type& type = *spec.type->type;
  if (!values.is_array()) return out;
  for (uint32_t i = 0; i < type.param_count && i < values.size(); ++i) {
    const epp_param_spec& param = *type.params[i];
    if (values[i].is_null() || (param.flags & (EPP_PARAM_SECRET | EPP_PARAM_IGNORED))) continue;
    out.emplace_back(param.name, values[i].dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  return out;
}

// Values that are missing or of another type read as nothing; Valid says so.
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object) {}
  std::string Text(const char* key) { return Get<std::string>(key, &Json::is_string); }
  double Number(const char* key) { return Get<double>(key, &Json::is_number); }
  bool Flag(const char* key) { return Get<bool>(key, &Json::is_boolean); }
  const Json& Array(const char* key) {
    static const Json& none = *new Json(Json::array());
    const auto it = object_.is_object() ? object_.find(key) : object_.end();
    valid_ = valid_ && object_.is_object() && it != object_.end() && it->is_array();
    return valid_ ? *it : none;
  }
  std::vector<std::string> Texts(const char* key) {
    std::vector<std::string> out;
    for (const Json& item : Array(key)) {
      valid_ = valid_ && item.is_string();
      if (valid_) out.push_back(item.get<std::string>());
    }
    return out;
  }
  void Merge(const Reader& part) { valid_ = valid_ && part.valid_; }
  bool valid() const { return valid_; }

 private:
  template <class T>
  T Get(const char* key, bool (Json::*is)() const noexcept) {
    const auto it = object_.is_object() ? object_.find(key) : object_.end();
    valid_ = valid_ && object_.is_object() && it != object_.end() && ((*it).*is)();
    return valid_ ? it->get<T>() : T();
  }

  const Json& object_;
  bool valid_ = true;
};

void Write(const Outline::Instance& instance, JsonWriter& w) {
  w.BeginObject();
  w.Field("name", instance.identity.name).Field("type", instance.identity.type);
  w.Field("code", instance.identity.code).Field("parameters", instance.identity.parameters);
  w.Field("library", instance.library).Field("version", instance.version);
  w.Field("learns", instance.learns).Field("carries", instance.carries);
  w.Key("values").BeginArray();
  for (const auto& [name, value] : instance.values) {
    w.BeginObject();
    w.Field("name", name).Field("value", value);
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
}

Outline::Instance ReadInstance(const Json& json, Reader& all) {
  Reader r(json);
  Outline::Instance instance;
  instance.identity = {r.Text("name"), r.Text("type"), r.Text("code"), r.Text("parameters")};
  instance.library = r.Text("library");
  instance.version = r.Text("version");
  instance.learns = r.Flag("learns");
  instance.carries = r.Flag("carries");
  for (const Json& value : r.Array("values")) {
    Reader v(value);
    std::string name = v.Text("name");
    instance.values.emplace_back(std::move(name), v.Text("value"));
    r.Merge(v);
  }
  all.Merge(r);
  return instance;
}

Outline::Profile ReadProfile(const Json& json, Reader& all) {
  Reader r(json);
  Outline::Profile profile{r.Text("name"), {}};
  for (const Json& entry : r.Array("plugins")) {
    Reader e(entry);
    std::string plugin = e.Text("plugin");
    std::string role = e.Text("role");
    profile.entries.push_back({std::move(plugin), std::move(role), e.Number("weight")});
    r.Merge(e);
  }
  all.Merge(r);
  return profile;
}

void WriteTexts(const std::vector<std::string>& texts, JsonWriter& w) {
  w.BeginArray();
  for (const std::string& text : texts) w.Value(text);
  w.EndArray();
}

}  // namespace

InstanceIdentity IdentityOf(const config::PluginSpec& spec) {
  const auto& library = spec.type->library;
  return {spec.name, std::string(spec.type->name()), library ? library->info().digest : "",
          loader::Sha256Hex(spec.params->Canonical())};
}

Outline OutlineOf(const config::ResolvedConfig& config) {
  Outline outline;
  outline.digest = config.digest;
  for (const config::PluginSpec& spec : config.plugins) {
    Outline::Instance& instance = outline.instances.emplace_back();
    instance.identity = IdentityOf(spec);
    if (spec.type->library) {
      instance.library = spec.type->library->info().name;
      instance.version = spec.type->library->info().version;
    }
    instance.values = ValuesOf(spec);
    instance.learns =
        std::ranges::any_of(kLearnFrom, [&](const char* id) { return spec.type->Implements(id); });
    instance.carries = spec.type->Implements(EPP_STATE_ID);
  }
  const auto name = [&](size_t plugin) { return config.plugins[plugin].name; };
  for (const config::ProfileSpec& spec : config.profiles) {
    Outline::Profile& profile = outline.profiles.emplace_back();
    profile.name = spec.name;
    for (const config::ProfileEntry& entry : spec.entries) {
      profile.entries.push_back(
          {name(entry.plugin), RoleOf(*config.plugins[entry.plugin].type), entry.weight});
    }
  }
  outline.handler = name(config.profile_handler);
  for (const size_t parser : config.parsers) outline.parsers.push_back(name(parser));
  for (const config::DataSourceSpec& spec : config.sources) {
    Outline::Source& source = outline.sources.emplace_back();
    source.plugin = name(spec.source);
    for (const size_t extractor : spec.extractors) source.extractors.push_back(name(extractor));
  }
  if (config.discovery) outline.discovery = name(*config.discovery);
  return outline;
}

std::string ToJson(const Outline& outline) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("digest", outline.digest);
  w.Key("instances").BeginArray();
  for (const Outline::Instance& instance : outline.instances) Write(instance, w);
  w.EndArray();
  w.Key("profiles").BeginArray();
  for (const Outline::Profile& profile : outline.profiles) {
    w.BeginObject();
    w.Field("name", profile.name);
    w.Key("plugins").BeginArray();
    for (const Outline::Entry& entry : profile.entries) {
      w.BeginObject();
      w.Field("plugin", entry.plugin).Field("role", entry.role).Field("weight", entry.weight);
      w.EndObject();
    }
    w.EndArray();
    w.EndObject();
  }
  w.EndArray();
  w.Field("handler", outline.handler).Field("discovery", outline.discovery);
  w.Key("parsers");
  WriteTexts(outline.parsers, w);
  w.Key("sources").BeginArray();
  for (const Outline::Source& source : outline.sources) {
    w.BeginObject();
    w.Field("plugin", source.plugin);
    w.Key("extractors");
    WriteTexts(source.extractors, w);
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  return out;
}

absl::StatusOr<Outline> OutlineFromJson(std::string_view json) {
  const Json document = Json::parse(json, nullptr, false);
  Reader r(document);
  Outline outline;
  outline.digest = r.Text("digest");
  for (const Json& instance : r.Array("instances")) {
    outline.instances.push_back(ReadInstance(instance, r));
  }
  for (const Json& profile : r.Array("profiles")) {
    outline.profiles.push_back(ReadProfile(profile, r));
  }
  outline.handler = r.Text("handler");
  outline.discovery = r.Text("discovery");
  outline.parsers = r.Texts("parsers");
  for (const Json& source : r.Array("sources")) {
    Reader s(source);
    std::string plugin = s.Text("plugin");
    outline.sources.push_back({std::move(plugin), s.Texts("extractors")});
    r.Merge(s);
  }
  if (!r.valid()) return absl::InvalidArgumentError("not the outline of a configuration");
  return outline;
}

}  // namespace epp::runtime
