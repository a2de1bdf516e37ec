#include "host/cli/app_text.h"

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"

namespace epp::cli {
namespace {

std::string Names(const CLI::Option& option) {
  std::string out;
  for (const std::string& name : option.get_snames()) {
    StrAppend(&out, out.empty() ? "" : ", ", "-", name);
  }
  for (const std::string& name : option.get_lnames()) {
    StrAppend(&out, out.empty() ? "" : ", ", "--", name);
  }
  return out;
}

// "TEXT:{auto,always,never}" is better without its first half.
std::string ValueName(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return "";
  std::string name = option.get_type_name();
  const size_t choices = name.find(":{");
  return choices == std::string::npos ? name : name.substr(choices + 1);
}

}  // namespace

AppText DescribeApp(const CLI::App& app) {
  AppText out;
  out.name = app.get_name();
  out.summary = app.get_description();
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;  // CLI11 does not show these either
    const bool positional = option->get_positional();
    ArgumentText text;
    text.name = positional ? option->get_name(true, false) : Names(*option);
    if (!positional) text.value = ValueName(*option);
    text.doc = option->get_description();
    text.required = option->get_required();
    (positional ? out.arguments : out.flags).push_back(std::move(text));
  }
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (sub->get_group().empty() || sub->get_name().empty()) continue;
    out.subcommands.push_back(DescribeApp(*sub));
    out.subcommands.back().name = StrCat(out.name, " ", sub->get_name());
  }
  return out;
}

}  // namespace epp::cli
