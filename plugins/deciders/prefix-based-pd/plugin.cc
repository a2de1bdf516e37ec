// prefix-based-pd-decider: a request gets a prefill stage of its own when the endpoint that decodes
// would have much to prefill itself.
//
//   yes if tokens - cached blocks * block size >= nonCachedTokens
#include "epp/plugin.hpp"

#include <array>
#include <cstdint>

namespace {

class PrefixBasedPdDecider {
 public:
  static constexpr const char* kName = "prefix-based-pd-decider";
  static constexpr const char* kDoc =
      "Gives a request a prefill stage when the decode endpoint has too little of it cached.";
  static constexpr std::array kParams{
      epp::Int("nonCachedTokens", 0, 0, 0x1p62,
               "Tokens that must be missing in the cache of the decode endpoint; 0 means never."),
      epp::Int("promptTokens", 0, 0, 0x1p62, "Prompts with fewer tokens get no prefill stage.")};
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kPrefixMatchBlocks),
                                        epp::Needs(epp::attr::kPrefixBlockSize),
                                        epp::Needs(epp::attr::kTokenizedPrompt)};
  enum ConsumedOfRequest { kBlockSize, kPrompt };

  static epp::Result<PrefixBasedPdDecider> Create(const epp::Context& ctx) {
    return PrefixBasedPdDecider(ctx.i64(0), ctx.i64(1));
  }

  epp::Status Decide(const epp::Call& call, const epp::Candidates& in, bool& yes) const {
    if (non_cached_tokens_ == 0 || in.size() == 0) return {};
    const auto prompt = call.column<const epp_tokenized_prompt*>(kPrompt);
    const int64_t tokens = prompt.has(0) && prompt[0] != nullptr
                               ? static_cast<int64_t>(prompt[0]->offsets[prompt[0]->prompt_count])
                               : 0;
    if (tokens < prompt_tokens_ || tokens < non_cached_tokens_) return {};
    const auto blocks = in.column<int64_t>(0);
    const auto block_size = call.column<int64_t>(kBlockSize);
    if (!blocks.has(0) || !block_size.has(0)) return {};
    int64_t missing = 0;
    if (__builtin_mul_overflow(blocks[0], block_size[0], &missing) ||
        __builtin_sub_overflow(tokens, missing, &missing)) {
      return {};
    }
    yes = missing >= non_cached_tokens_;
    return {};
  }

 private:
  PrefixBasedPdDecider(int64_t non_cached_tokens, int64_t prompt_tokens)
      : non_cached_tokens_(non_cached_tokens), prompt_tokens_(prompt_tokens) {}

  int64_t non_cached_tokens_;  // 0: never
  int64_t prompt_tokens_;
};

}  // namespace

EPP_LIBRARY("prefix-based-pd-decider", "0.1.0", PrefixBasedPdDecider)
