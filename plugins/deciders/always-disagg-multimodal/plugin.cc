// always-disagg-multimodal-decider: requests with images, audio or video get an encode stage.
//
// By what the tokenizer found, not by what the body says: when it reports no media, there are none.
#include "epp/plugin.hpp"

#include <array>

namespace {

class AlwaysDisaggMultimodalDecider {
 public:
  static constexpr const char* kName = "always-disagg-multimodal-decider";
  static constexpr const char* kDoc = "Gives requests with images, audio or video an encode stage.";
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kTokenizedPrompt)};

  static epp::Result<AlwaysDisaggMultimodalDecider> Create(const epp::Context&) {
    return AlwaysDisaggMultimodalDecider();
  }

  epp::Status Decide(const epp::Call& call, const epp::Candidates&, bool& yes) const {
    const auto prompt = call.column<const epp_tokenized_prompt*>(0);
    yes = prompt.has(0) && prompt[0] != nullptr && prompt[0]->media_count > 0;
    return {};
  }
};

}  // namespace

EPP_LIBRARY("always-disagg-multimodal-decider", "0.1.0", AlwaysDisaggMultimodalDecider)
