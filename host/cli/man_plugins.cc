#include "host/cli/man_plugins.h"

#include <algorithm>
#include <span>

#include "host/base/str_cat.h"
#include "host/cli/load.h"
#include "host/cli/roff.h"
#include "host/cli/type_text.h"
#include "host/serve/load.h"

namespace epp::cli {
namespace {

std::string Facts(const epp_param_spec& spec) {
  std::string out(ParamTypeName(spec.type));
  if (const std::string range = FormatRange(spec); !range.empty()) StrAppend(&out, ", ", range);
  const std::string value = FormatValue(spec.default_value);
  if (spec.flags & EPP_PARAM_REQUIRED) {
    out += ", required";
  } else if (!value.empty()) {
    StrAppend(&out, ", default ", value);
  }
  return out;
}

void Attributes(std::string_view verb, std::span<const epp_attr_spec* const> specs, Roff* page) {
  std::string list;
  for (const epp_attr_spec* spec : specs) {
    StrAppend(&list, list.empty() ? "" : ", ", FormatAttribute(*spec, ""));
  }
  if (!list.empty()) page->Paragraph(StrCat(verb, " ", list, "."));
}

void Type(const loader::TypeEntry& entry, Roff* page) {
  const epp_plugin_type& type = *entry.type;
  page->Subsection(entry.name());
  std::string kinds;
  for (const std::string_view kind : KindsOf(entry)) {
    StrAppend(&kinds, kinds.empty() ? "" : ", ", kind);
  }
  page->Paragraph(StrCat(type.doc, " (", kinds, "; ", StabilityName(type.stability), ")"));
  for (const epp_param_spec* spec : std::span(type.params, type.param_count)) {
    if (spec->flags & (EPP_PARAM_DEPRECATED | EPP_PARAM_IGNORED)) continue;
    page->Term(RoffBold(spec->name), StrCat(spec->doc, " (", Facts(*spec), ")"));
  }
  Attributes("Reads", std::span(type.consumes, type.consumes_count), page);
  Attributes("Writes", std::span(type.produces, type.produces_count), page);
}

}  // namespace

absl::StatusOr<ManPage> PluginsPage() {
  const config::SettingsBuilder defaults;
  const loader::Catalog catalog = serve::OpenCatalog(defaults.settings());
  for (const loader::RefusedLibrary& refused : catalog.refused()) {
    return absl::FailedPreconditionError(StrCat(refused.path, ": ", View(refused.why)));
  }
  std::vector<const loader::TypeEntry*> types = catalog.types();
  const std::vector<std::string> order = AllKinds();
  const auto rank = [&](const loader::TypeEntry* type) {
    const std::vector<std::string_view> kinds = KindsOf(*type);
    return kinds.empty() ? order.end() : std::find(order.begin(), order.end(), kinds[0]);
  };
  std::stable_sort(types.begin(), types.end(),
                   [&](const auto* a, const auto* b) { return rank(a) < rank(b); });

  Roff page("epp-plugins", 7, ManSource());
  page.Section("NAME");
  page.ParagraphRoff("epp\\-plugins \\- plugin types that come with the endpoint picker");
  page.Section("DESCRIPTION");
  page.Paragraph(
      "What plugins: and schedulingProfiles: of a config can name, with the parameters of each. "
      "epp plugins lists what is there on a machine, plugins of other makers included; epp plugins "
      "TYPE shows one of them in full.");
  page.Section("TYPES");
  for (const loader::TypeEntry* type : types) Type(*type, &page);
  page.Section("SEE ALSO");
  page.ParagraphRoff("\\fBepp\\-plugins\\fR(1), \\fBepp\\-config\\fR(5)");
  return ManPage{"epp-plugins", 7, page.text()};
}

}  // namespace epp::cli
