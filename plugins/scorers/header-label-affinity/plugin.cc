// header-label-affinity-scorer: prefers endpoints whose label equals a header of the request.
//
//   score[i] = 1    the header is not empty and is the value of the label
//            = 0    otherwise
#include "epp/plugin.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace {

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return out;
}

// Immovable: the attribute's key points into it.
class HeaderLabelAffinityScorer {
 public:
  static constexpr const char* kName = "header-label-affinity-scorer";
  static constexpr const char* kDoc =
      "Scores 1 for endpoints whose label has the value of a request header, 0 for the others.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr uint32_t kCategory = EPP_CATEGORY_AFFINITY;
  static constexpr std::array kParams{
      epp::String("headerName", nullptr, "Name of the header, in any case.").Required(),
      epp::String("labelKey", nullptr, "Name of the endpoint's label.").Required()};

  static epp::Result<HeaderLabelAffinityScorer> Create(const epp::Context& ctx) {
    for (const size_t i : {size_t{0}, size_t{1}}) {
      if (ctx.str(i).empty()) {
        return epp::Status::Invalid(std::string(kParams[i].spec.name) + ": got \"\", want a name");
      }
    }
    return std::make_unique<HeaderLabelAffinityScorer>(ctx.host(), Lower(ctx.str(0)), ctx.str(1));
  }

  HeaderLabelAffinityScorer(epp::Host host, std::string header, std::string_view label)
      : host_(host), header_(std::move(header)), key_("label/" + std::string(label)) {}
  HeaderLabelAffinityScorer(const HeaderLabelAffinityScorer&) = delete;
  HeaderLabelAffinityScorer& operator=(const HeaderLabelAffinityScorer&) = delete;

  const std::array<const epp_attr_spec*, 1>& Consumes() const { return consumes_; }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }

  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    const std::string_view value = call.header(header_).value_or("");
    // 0 when no endpoint has a label of that value; an absent label reads as 0, too.
    const uint32_t wanted = value.empty() ? 0 : host_.Find(value);
    if (wanted == 0) return {};
    const auto label = in.column<uint32_t>(0);
    for (size_t i = 0; i < out.size(); ++i) out[i] = label[i] == wanted ? 1.0 : 0.0;
    return {};
  }

 private:
  const epp::Host host_;
  const std::string header_;  // lower case
  const std::string key_;
  const epp::Attribute attribute_ = epp::Needs({key_.c_str(), EPP_T_SYMBOL});
  const std::array<const epp_attr_spec*, 1> consumes_{&attribute_.spec};
};

}  // namespace

EPP_LIBRARY("header-label-affinity-scorer", "0.1.0", HeaderLabelAffinityScorer)
