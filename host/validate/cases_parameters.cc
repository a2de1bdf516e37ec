// V06: every parameter at its limits and beyond.
#include <cmath>
#include <limits>
#include <vector>

#include "host/base/str_cat.h"
#include "host/base/utf8.h"
#include "host/config/params.h"
#include "host/validate/case_numbers.h"
#include "host/validate/cases.h"

namespace epp::validate {
namespace {

// One value to try, and what to call it.
struct Trial {
  std::string what;
  epp_value value;
  bool allowed;  // by the declaration
};

epp_value Number(const epp_param_spec& spec, double number) {
  epp_value value{};
  value.type = spec.type;
  value.present = 1;
  if (spec.type == EPP_P_F64) {
    value.v.f64 = number;
    return value;
  }
  if (spec.type == EPP_P_DURATION) number *= 1e9;
  // 2^63 is the first double that no int64 holds.
  value.v.i64 = number >= 0x1p63    ? std::numeric_limits<int64_t>::max()
                : number <= -0x1p63 ? std::numeric_limits<int64_t>::min()
                                    : static_cast<int64_t>(number);
  return value;
}

epp_value Text(const epp_param_spec& spec, std::string_view text) {
  epp_value value{};
  value.type = spec.type;
  value.present = 1;
  value.v.str = Str(text);
  return value;
}

std::vector<Trial> TrialsOf(const epp_param_spec& spec) {
  static const auto& long_text = *new std::string(10'000, 'x');
  std::vector<Trial> trials;
  if (spec.default_value.present != 0) {
    trials.push_back({"at its default", spec.default_value, true});
  }
  epp_value unset{};
  unset.type = spec.type;
  // Beyond what the host accepts a type may fail as it likes, but not crash.
  switch (spec.type) {
    case EPP_P_BOOL:
      for (const double v : {0.0, 1.0}) {
        trials.push_back({StrCat("at ", v), Number(spec, v), true});
      }
      break;
    case EPP_P_I64:
    case EPP_P_F64:
    case EPP_P_DURATION: {
      const double step = spec.type == EPP_P_I64 ? 1 : 0.001;
      if (spec.min > -9e18) {
        trials.push_back({"at its minimum", Number(spec, spec.min), true});
        trials.push_back({"below its minimum", Number(spec, spec.min - step), false});
      }
      if (spec.max < 9e18) {
        trials.push_back({"at its maximum", Number(spec, spec.max), true});
        trials.push_back({"above its maximum", Number(spec, spec.max + step), false});
      }
      break;
    }
    case EPP_P_STR:
      for (const char* choice : std::span(spec.choices, spec.choice_count)) {
        trials.push_back({StrCat("set to \"", choice, "\""), Text(spec, choice), true});
      }
      if (spec.choice_count > 0) {
        trials.push_back({"set to none of its choices", Text(spec, "no-choice"), false});
        break;
      }
      trials.push_back({"set to an empty text", Text(spec, ""), true});
      trials.push_back({"set to a long text", Text(spec, long_text), true});
      break;
    case EPP_P_PLUGIN:
      trials.push_back({"set to a name", Text(spec, "some-plugin"), true});
      break;
    case EPP_P_JSON:
      for (const char* json : {"null", "[]", "{}", "7", "\"x\"", "[1,{\"a\":[null]}]"}) {
        trials.push_back({StrCat("set to ", json), Text(spec, json), true});
      }
      break;
    case EPP_P_STR_LIST: {
      static constexpr epp_str kItems[] = {{"a", 1}, {"b", 1}, {nullptr, 0}};
      for (const uint64_t n : {uint64_t{0}, uint64_t{1}, uint64_t{3}}) {
        Trial trial{StrCat("set to a list of ", n), unset, true};
        trial.value.present = 1;
        trial.value.v.list = {n == 0 ? nullptr : kItems, n};
        trials.push_back(trial);
      }
      break;
    }
    default:
      break;
  }
  trials.push_back({"unset", unset, (spec.flags & EPP_PARAM_REQUIRED) == 0});
  return trials;
}

// What is wrong with the text of a refusal, or nothing.
std::string FaultOf(const Instance& instance, const epp_param_spec& spec, bool allowed) {
  const std::string& text = instance.error();
  if (text.empty()) return "is refused without a message";
  if (text.size() >= sizeof(epp_error::message))
    return "is refused with a message that does not end";
  if (!utf8::Valid(text))
    return StrCat("is refused with a message that is not UTF-8: ", Shown(text));
  // What the declaration allows is refused by a rule of the type's own, so only it can say which.
  std::string_view leaf = spec.name;
  if (const size_t dot = leaf.rfind('.'); dot != leaf.npos) leaf.remove_prefix(dot + 1);
  if (allowed && text.find(leaf) == std::string::npos) {
    return StrCat("is refused with a message that does not name it: \"", Shown(text), "\"");
  }
  return "";
}

// Parameters in the text of a config: {"a":{"b":VALUE}} for "a.b".
std::optional<config::Node> NodeOf(std::string_view name, std::string_view json) {
  std::string text(json);
  for (size_t end = name.size(); end != std::string_view::npos;) {
    const size_t dot = end == 0 ? std::string_view::npos : name.rfind('.', end - 1);
    const size_t begin = dot == std::string_view::npos ? 0 : dot + 1;
    text = StrCat("{\"", name.substr(begin, end - begin), "\":", text, "}");
    end = dot;
  }
  auto source = std::make_shared<config::SourceText>();
  source->name = "check";
  source->text = std::move(text);
  config::Diagnostics found;
  return config::ParseDocument(std::move(source), found);
}

// What the host must refuse before the type sees it.
void CheckHostSide(const TypeRun& type, const epp_param_spec& spec) {
  if ((spec.flags & EPP_PARAM_IGNORED) != 0) return;  // anything goes
  struct Wrong {
    std::string_view what;
    std::string json;
  };
  std::vector<Wrong> wrong;
  if (spec.type != EPP_P_JSON) wrong.push_back({"of a wrong type", "{\"no\":[{}]}"});
  const bool is_number = spec.type == EPP_P_I64 || spec.type == EPP_P_F64;
  if (is_number && spec.min > -9e15) {
    wrong.push_back({"below its minimum", StrCat(static_cast<int64_t>(std::floor(spec.min)) - 1)});
  }
  if (is_number && spec.max < 9e15) {
    wrong.push_back({"above its maximum", StrCat(static_cast<int64_t>(std::ceil(spec.max)) + 1)});
  }
  if (spec.choice_count > 0) wrong.push_back({"of no choice", "\"no-choice\""});
  for (const Wrong& w : wrong) {
    const std::optional<config::Node> node = NodeOf(spec.name, w.json);
    if (!node) continue;
    config::Diagnostics found;
    config::DecodeParams(type.type, &*node, "the instance", {}, found);
    const std::string said = found.Render();
    if (found.ok() || said.find(spec.name) == std::string::npos) {
      type.run.findings.Fail(StrCat("parameter \"", spec.name, "\" of ", type.name(), ", ", w.what,
                                    ": the host does not refuse it by name"));
    }
  }
  if ((spec.flags & EPP_PARAM_REQUIRED) == 0) return;
  config::Diagnostics found;
  config::DecodeParams(type.type, nullptr, "the instance", {}, found);
  if (found.ok() || found.Render().find(spec.name) == std::string::npos) {
    type.run.findings.Fail(StrCat("parameter \"", spec.name, "\" of ", type.name(),
                                  ": required, but the host does not miss it"));
  }
}

}  // namespace

void CheckParameters(CaseRun& run) {
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    run.findings.Tested();
    CheckHost& host = CheckHost::Immortal(run.findings, {});
    CheckHost::StartThread(run.seed);
    const Instance usual(type.type, host, type.parameters.values);
    if (!usual.ok()) {
      run.findings.Skip(StrCat(type.name(), ": create refused: ", Shown(usual.error())), true);
      if (usual.error().empty()) {
        run.findings.Fail(StrCat("create of ", type.name(), " refuses without a message"));
      }
    }
    for (uint32_t i = 0; i < type.type.param_count; ++i) {
      const epp_param_spec& spec = *type.type.params[i];
      CheckHostSide(type, spec);
      for (const Trial& trial : TrialsOf(spec)) {
        std::vector<epp_value> values = type.parameters.values;
        values[i] = trial.value;
        const Instance instance(type.type, host, values);
        // What is refused anyway is refused for another parameter's sake.
        if (instance.ok() || (!usual.ok() && instance.error() == usual.error())) continue;
        const std::string fault = FaultOf(instance, spec, trial.allowed);
        if (fault.empty()) continue;
        run.findings.Fail(StrCat("parameter \"", spec.name, "\" of ", type.name(), ", ", trial.what,
                                 ", ", fault));
      }
    }
  });
}

}  // namespace epp::validate
