#include "host/validate/doc.h"

#include <span>

#include "host/base/str_cat.h"
#include "host/cli/type_text.h"

namespace epp::validate {
namespace {

// A text in a cell of a table.
std::string Cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string Range(const epp_param_spec& spec) {
  if ((spec.flags & EPP_PARAM_DEPRECATED) != 0) return "deprecated";
  if ((spec.flags & EPP_PARAM_IGNORED) != 0) return "accepted and ignored";
  return cli::FormatRange(spec);
}

void ParameterTable(const epp_plugin_type& type, std::string& out) {
  out += "### Parameters\n\n";
  if (type.param_count == 0) {
    out += (type.flags & EPP_TYPE_ANY_PARAMS) != 0 ? "None; whatever is given is ignored.\n\n"
                                                   : "None.\n\n";
    return;
  }
  out += "| name | type | default | range | meaning |\n|---|---|---|---|---|\n";
  for (const epp_param_spec* spec : std::span(type.params, type.param_count)) {
    const bool required = (spec->flags & EPP_PARAM_REQUIRED) != 0;
    StrAppend(&out, "| ", spec->name, " | ", cli::ParamTypeName(spec->type), " | ",
              required ? "required" : Cell(cli::FormatValue(spec->default_value)), " | ",
              Cell(Range(*spec)), " | ", Cell(spec->doc), " |\n");
  }
  out += "\n";
}

std::string_view ValueTypeName(int32_t type) {
  switch (type) {
    case EPP_T_I64:
      return "integer";
    case EPP_T_F64:
      return "number";
    case EPP_T_BOOL:
      return "bool";
    case EPP_T_SYMBOL:
      return "name";
    case EPP_T_SYMBOL_LIST:
      return "list of names";
    default:
      return "opaque";
  }
}

void AttributeTable(const epp_plugin_type& type, std::string& out) {
  out += "### Attributes\n\n";
  const std::span consumes(type.consumes, type.consumes_count);
  const std::span produces(type.produces, type.produces_count);
  bool by_parameters = false;
  for (const char* id : std::span(type.interfaces, type.interface_count)) {
    by_parameters |= std::string_view(id) == EPP_ATTRIBUTES_ID;
  }
  if (by_parameters) {
    out += "They depend on the parameters.\n\n";
  } else if (consumes.empty() && produces.empty()) {
    out += "None.\n\n";
  }
  if (consumes.empty() && produces.empty()) return;
  out += "| attribute | direction | type | scope | producer |\n|---|---|---|---|---|\n";
  const auto row = [&](const epp_attr_spec& spec, std::string_view direction,
                       std::string producer) {
    const bool optional = (spec.flags & EPP_ATTR_OPTIONAL) != 0;
    StrAppend(&out, "| ", Cell(spec.key), " | ", direction, optional ? ", optional" : "", " | ",
              ValueTypeName(spec.type));
    if (spec.schema != nullptr) StrAppend(&out, " (", spec.schema, ")");
    StrAppend(&out, " | ", spec.scope == EPP_SCOPE_REQUEST ? "request" : "endpoint", " | ",
              producer, " |\n");
  };
  for (const epp_attr_spec* spec : consumes) {
    std::string producer = spec->default_producer != nullptr ? spec->default_producer : "";
    if (spec->producer_param != nullptr) {
      StrAppend(&producer, producer.empty() ? "" : ", or ", "what ", spec->producer_param,
                " names");
    }
    row(*spec, "consumed", producer);
  }
  for (const epp_attr_spec* spec : produces) {
    row(*spec, "produced",
        (spec->flags & EPP_ATTR_TYPE_NAMED) != 0 ? type.name : "the instance's name");
  }
  out += "\n";
}

void InterfaceList(const epp_plugin_type& type, std::string& out) {
  out += "### Interfaces\n\n";
  bool has_state = false;
  std::string list;
  for (const char* id : std::span(type.interfaces, type.interface_count)) {
    StrAppend(&list, list.empty() ? "" : ", ", "`", id, "`");
    has_state |= std::string_view(id) == EPP_STATE_ID;
  }
  StrAppend(&out, list.empty() ? "none" : list, ".\n");
  if (has_state) out += "\nWhat an instance learned outlives a reload.\n";
}

}  // namespace

absl::StatusOr<std::string> Document(const LibraryFile& file) {
  const absl::StatusOr<std::unique_ptr<Subject>> subject = Subject::Open(file);
  if (!subject.ok()) return subject.status();
  std::string out;
  for (const epp_plugin_type* type : (*subject)->types()) {
    StrAppend(&out, out.empty() ? "" : "\n", "## ", type->name, "\n\n");
    const loader::TypeEntry entry{type, nullptr};
    std::string kinds;
    for (const std::string_view kind : cli::KindsOf(entry)) {
      StrAppend(&kinds, kinds.empty() ? "" : ", ", kind);
    }
    StrAppend(&out, type->doc, "\n\n", kinds.empty() ? "no kind" : kinds, "; ",
              cli::StabilityName(type->stability));
    for (const char* alias : std::span(type->aliases, type->alias_count)) {
      StrAppend(&out, "; old name `", alias, "`");
    }
    if (type->deprecated != nullptr) StrAppend(&out, "; deprecated: ", type->deprecated);
    out += "\n\n";
    ParameterTable(*type, out);
    AttributeTable(*type, out);
    InterfaceList(*type, out);
  }
  return out;
}

}  // namespace epp::validate
