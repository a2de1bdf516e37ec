// epp-config(5) and epp-endpoints(5).
#include "host/base/str_cat.h"
#include "host/cli/man.h"
#include "host/cli/roff.h"
#include "host/config/endpoint_picker_config.h"

namespace epp::cli {
namespace {

constexpr std::string_view kConfigKeys[][2] = {
    {"plugins",
     "The instances: a list of maps with type (required, see epp-plugins(7)), name (the "
     "type, when there is none) and parameters."},
    {"schedulingProfiles",
     "A list of maps with name and plugins. Each entry of plugins names an instance by pluginRef: "
     "filters run in their order, scorers add their scores, from 0 to 1, times weight (1, when "
     "there is none), and the one picker chooses by the totals. Without a picker it is "
     "max-score-picker; without profiles there is one, of all instances."},
    {"dataLayer.discovery", "Where the endpoints come from: pluginRef names a discovery plugin."},
    {"dataLayer.sources",
     "What is fetched from every endpoint: a list of maps with pluginRef, a source, and "
     "extractors, "
     "which read what it fetches."},
    {"dataLayer.injectDefaults",
     "Adds the source and the extractor of the Prometheus page when nothing else is said; true, "
     "when not given."},
    {"requestHandler.parsers",
     "What reads requests, in order of preference: a list of maps with pluginRef."},
    {"featureGates", "A list of NAME or NAME=false."},
};

constexpr std::string_view kEndpointKeys[][2] = {
    {"name", "Required; together with the namespace it is how the endpoint is known."},
    {"namespace", "default, when not given."},
    {"address", "Required: IPv4, IPv6 or a host name."},
    {"port", "Where the server listens."},
    {"ports",
     "Instead of port: one endpoint each, for the ranks of a data-parallel server. They "
     "are named NAME-rank-0, NAME-rank-1 and so on."},
    {"labels", "A map of texts, for filters that select by label."},
};

void Name(std::string_view roff_name, std::string_view what, Roff* page) {
  page->Section("NAME");
  page->ParagraphRoff(StrCat(roff_name, " \\- ", RoffText(what)));
}

}  // namespace

ManPage ConfigPage() {
  Roff page("epp-config", 5, ManSource());
  Name("epp\\-config", "scheduling config of the endpoint picker", &page);
  page.Section("SYNOPSIS");
  page.ParagraphRoff(
      "\\fB/etc/epp/config.yaml\\fR, or what \\fB\\-\\-config\\-file\\fR or [config] file of "
      "\\fBepp.toml\\fR(5) names");
  page.Section("DESCRIPTION");
  page.Paragraph(
      "An EndpointPickerConfig in YAML or JSON, as llm-d-router reads it: which plugins there are, "
      "and which of them take part in a decision, with what weight. What plugins need and the "
      "config does not name is added; epp check --print shows the result. Unknown keys are "
      "errors.");
  page.Paragraph(
      "The file is followed while epp runs: a change is taken up as a whole or, with errors, not "
      "at "
      "all. Write the new one beside it and rename it into place.");
  page.Section("KEYS");
  page.Term(RoffBold("apiVersion, kind"),
            "llm-d.ai/v1alpha1 and EndpointPickerConfig, both required.");
  for (const auto& [key, doc] : kConfigKeys) page.Term(RoffBold(key), doc);
  page.Section("EXAMPLE");
  page.Paragraph("What runs without a config:");
  page.Verbatim(config::kDefaultConfig);
  page.Section("SEE ALSO");
  page.ParagraphRoff(
      "\\fBepp\\-check\\fR(1), \\fBepp\\-plugins\\fR(7), \\fBepp\\-endpoints\\fR(5)");
  return {"epp-config", 5, page.text()};
}

ManPage EndpointsPage() {
  Roff page("epp-endpoints", 5, ManSource());
  Name("epp\\-endpoints", "list of model servers for the endpoint picker", &page);
  page.Section("SYNOPSIS");
  page.ParagraphRoff(
      "\\fB/etc/epp/endpoints.yaml\\fR, or the path of a file\\-discovery plugin, or what "
      "\\fB\\-\\-endpoints\\-file\\fR names");
  page.Section("DESCRIPTION");
  page.Paragraph(
      "YAML or JSON with one key, endpoints: a list of maps. The file is followed while epp runs: "
      "servers that join are scraped and picked at once, those that leave get no new request. A "
      "bad entry is refused, and what it stood for stays; a file that does not parse changes "
      "nothing.");
  page.Section("KEYS");
  for (const auto& [key, doc] : kEndpointKeys) page.Term(RoffBold(key), doc);
  page.Section("EXAMPLE");
  page.Verbatim(
      "endpoints:\n"
      "  - {name: gpu-0, address: 10.0.0.10, port: 8000}\n"
      "  - {name: gpu-1, address: 10.0.0.11, port: 8000, labels: {llm-d.ai/role: decode}}\n"
      "  - {name: gpu-2, address: \"fd00::12\", ports: [8000, 8001]}\n");
  page.Section("OBJECTIVES AND MODEL REWRITES");
  page.Paragraph(
      "Further documents of the file, and every *.yaml beside it, may hold InferenceObjective and "
      "InferenceModelRewrite objects, written as for a cluster. An objective gives its priority to "
      "requests that name it in the header x-llm-d-inference-objective; a rewrite replaces the "
      "model that a request asks for, by weight. They are followed like endpoints. Without "
      "--pool-name, those of every pool count.");
  page.Verbatim(
      "apiVersion: llm-d.ai/v1alpha2\n"
      "kind: InferenceModelRewrite\n"
      "metadata: {name: canary}\n"
      "spec:\n"
      "  poolRef: {name: my-pool}\n"
      "  rules:\n"
      "    - matches: [{model: {value: chat}}]\n"
      "      targets: [{modelRewrite: chat-v1, weight: 9}, {modelRewrite: chat-v2, weight: 1}]\n");
  page.Section("SEE ALSO");
  page.ParagraphRoff("\\fBepp\\-config\\fR(5), \\fBepp\\-pool\\fR(1)");
  return {"epp-endpoints", 5, page.text()};
}

}  // namespace epp::cli
