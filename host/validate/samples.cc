// How types are configured when they are checked. See subject.h.
#include <toml++/toml.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "absl/status/status.h"
#include "host/base/str_cat.h"
#include "host/config/params.h"
#include "host/validate/subject.h"

namespace epp::validate {
namespace {

constexpr size_t kMaxLibraryBytes = size_t{256} << 20;

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(StrCat("cannot read ", path));
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) return absl::UnavailableError(StrCat("cannot read ", path));
  return text;
}

absl::StatusOr<config::Node> Parse(std::string name, std::string text) {
  config::Diagnostics found;
  auto source = std::make_shared<config::SourceText>();
  source->name = std::move(name);
  source->text = std::move(text);
  std::optional<config::Node> node = config::ParseDocument(std::move(source), found);
  if (!node || !found.ok()) return absl::InvalidArgumentError(found.Render());
  return *std::move(node);
}

// The [check.TYPE] tables of a plugin.toml.
absl::Status FromManifest(const std::string& path, const std::string& text,
                          std::map<std::string, config::Node, std::less<>>& parameters,
                          std::map<std::string, bool, std::less<>>& start) {
  try {
    const toml::table manifest = toml::parse(text, path);
    const toml::table* const check = manifest["check"].as_table();
    if (check == nullptr) return absl::OkStatus();
    for (const auto& [type, node] : *check) {
      const toml::table* const table = node.as_table();
      if (table == nullptr) {
        return absl::InvalidArgumentError(StrCat(path, ": check.", type.str(), " is no table"));
      }
      if ((*table)["start"].value_or(false)) start[std::string(type.str())] = true;
      const toml::table* const params = (*table)["params"].as_table();
      if (params == nullptr) continue;
      std::ostringstream json;
      json << toml::json_formatter{*params};
      absl::StatusOr<config::Node> parsed = Parse(path, json.str());
      if (!parsed.ok()) return parsed.status();
      parameters[std::string(type.str())] = *std::move(parsed);
    }
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(StrCat(path, ": ", e.what()));
  }
  return absl::OkStatus();
}

// Something that the declaration allows, for a parameter that must be set.
epp_value Plausible(const epp_param_spec& spec) {
  const auto within = [&](double v) { return std::clamp(v, spec.min, spec.max); };
  epp_value value{};
  value.type = spec.type;
  value.present = 1;
  switch (spec.type) {
    case EPP_P_BOOL:
      value.v.i64 = 1;
      break;
    case EPP_P_I64:
      value.v.i64 = static_cast<int64_t>(within(1));
      break;
    case EPP_P_F64:
      value.v.f64 = within(0.5);
      break;
    case EPP_P_DURATION:
      value.v.i64 = static_cast<int64_t>(within(1) * 1e9);
      break;
    case EPP_P_STR_LIST: {
      static constexpr epp_str kItems[] = {{"check", 5}};
      value.v.list = {kItems, 1};
      break;
    }
    case EPP_P_JSON:
      value.v.str = {"{}", 2};
      break;
    default:
      value.v.str = Str(spec.choice_count > 0 ? spec.choices[0] : "check");
      break;
  }
  return value;
}

}  // namespace

absl::StatusOr<Samples> Samples::Read(const std::string& params_file,
                                      const std::string& library_path) {
  Samples samples;
  const std::filesystem::path library(library_path);
  for (const std::filesystem::path& manifest :
       {std::filesystem::path(library).replace_extension(".toml"),
        library.parent_path() / "plugin.toml"}) {
    const absl::StatusOr<std::string> text = ReadWhole(manifest.string());
    if (!text.ok()) continue;
    if (absl::Status s =
            FromManifest(manifest.string(), *text, samples.parameters_, samples.start_);
        !s.ok()) {
      return s;
    }
    break;
  }
  if (params_file.empty()) return samples;
  absl::StatusOr<std::string> text = ReadWhole(params_file);
  if (!text.ok()) return text.status();
  absl::StatusOr<config::Node> all = Parse(params_file, *std::move(text));
  if (!all.ok()) return all.status();
  if (all->kind != config::Node::Kind::kMap) {
    return absl::InvalidArgumentError(StrCat(params_file, ": want a map from type to parameters"));
  }
  for (auto& [type, parameters] : all->members) {
    samples.parameters_[type.text] = std::move(parameters);
  }
  return samples;
}

const config::Node* Samples::Parameters(std::string_view type) const {
  const auto it = parameters_.find(type);
  return it == parameters_.end() ? nullptr : &it->second;
}

absl::StatusOr<LibraryFile> ReadLibraryFile(const std::string& path,
                                            const std::string& params_file) {
  LibraryFile file;
  std::error_code error;
  file.path = std::filesystem::absolute(path, error).string();
  file.name = std::filesystem::path(path).stem().string();
  const auto size = std::filesystem::file_size(file.path, error);
  if (error) return absl::NotFoundError(StrCat("cannot read ", path, ": ", error.message()));
  if (size > kMaxLibraryBytes) {
    return absl::InvalidArgumentError(
        StrCat(path, " has ", size, " bytes, want at most ", kMaxLibraryBytes));
  }
  absl::StatusOr<std::string> bytes = ReadWhole(file.path);
  if (!bytes.ok()) return bytes.status();
  file.bytes = *std::move(bytes);
  file.elf = loader::ReadElf(file.bytes);
  absl::StatusOr<Samples> samples = Samples::Read(params_file, file.path);
  if (!samples.ok()) return samples.status();
  file.samples = *std::move(samples);
  return file;
}

absl::StatusOr<Parameters> ParametersFor(const epp_plugin_type& type, const Samples& samples) {
  Parameters out;
  if (const config::Node* given = samples.Parameters(type.name)) {
    config::Diagnostics found;
    out.decoded =
        config::DecodeParams(type, given, StrCat("the sample of ", type.name), given->mark, found);
    if (!found.ok()) return absl::InvalidArgumentError(found.Render());
    out.values.assign(out.decoded->view().begin(), out.decoded->view().end());
    return out;
  }
  for (const epp_param_spec* spec : std::span(type.params, type.param_count)) {
    epp_value value = spec->default_value;
    value.type = spec->type;
    if ((spec->flags & EPP_PARAM_REQUIRED) != 0) value = Plausible(*spec);
    out.values.push_back(value);
  }
  return out;
}

}  // namespace epp::validate
