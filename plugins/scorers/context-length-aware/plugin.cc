// context-length-aware: matches the length of the prompt to the range, "MIN-MAX" tokens, that a
// label of the endpoint names. A scorer, and a filter if told so.
//
//                  score                       stays
//   no label       0.5                         yes
//   no range       0                           no
//   inside         0.3 + 0.7 * raw             yes    raw = 0.7 / (1 + width / 10000)
//   width 0        1                           yes          + 0.3 * (max - length) / width
//   outside        0.3 / (1 + distance / 1000) no
#include "epp/plugin.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "range.h"

namespace {

using epp::context_length::ParseRange;
using epp::context_length::Range;

constexpr epp::Attribute kPrompt = epp::Needs(epp::attr::kTokenizedPrompt);

// Ranges by label value for the length of one call, because few values label many endpoints.
class Ranges {
 public:
  explicit Ranges(epp::Host host) : host_(host) {}

  // symbol is not 0.
  const std::optional<Range>& Of(uint32_t symbol) {
    Known& known = known_[symbol % known_.size()];
    if (known.symbol != symbol) known = {symbol, ParseRange(host_.Text(symbol))};
    return known.range;
  }

 private:
  struct Known {
    uint32_t symbol = 0;
    std::optional<Range> range;
  };
  epp::Host host_;
  std::array<Known, 16> known_;
};

class ContextLengthAware {
 public:
  static constexpr const char* kName = "context-length-aware";
  static constexpr const char* kDoc =
      "Scores, and filters if enabled, endpoints by the context lengths that a label names.";
  static constexpr uint32_t kCategory = EPP_CATEGORY_AFFINITY;
  static constexpr std::array kParams{
      epp::String("label", "llm-d.ai/context-length-range", "Label with the range, \"MIN-MAX\"."),
      epp::Bool("enableFiltering", false, "As a filter, drop endpoints whose range does not fit.")};

  static epp::Result<ContextLengthAware> Create(const epp::Context& ctx) {
    if (ctx.str(0).empty()) return epp::Status::Invalid("label: got \"\", want a label name");
    return std::make_unique<ContextLengthAware>(ctx.host(), ctx.str(0), ctx.flag(1));
  }

  ContextLengthAware(epp::Host host, std::string_view label, bool filters)
      : host_(host), key_("label/" + std::string(label)), filters_(filters) {}

  const std::array<const epp_attr_spec*, 2>& Consumes() const { return consumes_; }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }

  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    const int64_t tokens = Tokens(call);
    const auto label = in.column<uint32_t>(0);
    Ranges ranges(host_);
    for (size_t i = 0; i < out.size(); ++i) {
      if (label[i] == 0) {
        out[i] = 0.5;
      } else {
        const std::optional<Range>& range = ranges.Of(label[i]);
        out[i] = range ? range->Score(tokens) : 0.0;
      }
    }
    return {};
  }

  epp::Status Filter(const epp::Call& call, const epp::Candidates& in, epp::Keep& keep) const {
    if (!filters_) return keep.All(), epp::Status();
    const int64_t tokens = Tokens(call);
    const auto label = in.column<uint32_t>(0);
    Ranges ranges(host_);
    for (size_t i = 0; i < in.size(); ++i) {
      const auto fits = [&](const std::optional<Range>& r) { return r && r->Holds(tokens); };
      keep.SetIf(i, label[i] == 0 || fits(ranges.Of(label[i])));
    }
    return {};
  }

 private:
  // Of all prompts; 0 when they were not tokenized.
  static int64_t Tokens(const epp::Call& call) {
    const auto* const prompt =
        static_cast<const epp_tokenized_prompt*>(call.column<const void*>(0)[0]);
    if (prompt == nullptr || prompt->prompt_count == 0) return 0;
    return static_cast<int64_t>(prompt->offsets[prompt->prompt_count] - prompt->offsets[0]);
  }

  const epp::Host host_;
  const std::string key_;
  const bool filters_;
  const epp::Attribute label_ = epp::Needs({key_.c_str(), EPP_T_SYMBOL});
  const std::array<const epp_attr_spec*, 2> consumes_{&label_.spec, &kPrompt.spec};
};

}  // namespace

EPP_LIBRARY("context-length-aware", "0.1.0", ContextLengthAware)
