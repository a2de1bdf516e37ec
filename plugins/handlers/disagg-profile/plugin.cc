// disagg-profile-handler: gives a request up to three stages, each a scheduling profile: decode,
// which answers, and before it prefill and encode where deciders find them worth it.
//
// decode-first:   decode; encode and prefill if their deciders say so of the decode target
// prefill-first:  prefill; encode if its decider says so; decode near the prefill target
//
// The sidecar of the decode endpoint learns of the other stages from request headers.
#include "epp/plugin.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "plugins/common/attributes.hpp"
#include "plugins/common/disagg.hpp"

namespace {

using epp::common::Stage;

// "PrefillFirst", "prefill-first" and "prefill_first" are one.
std::string Squeezed(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '-' || c == '_') continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

constexpr epp::Param Decider(const char* name, const char* doc) {
  return epp::Plugin(name, nullptr, doc).Implementing(EPP_DECIDER_ID);
}

class DisaggProfileHandler {
 public:
  static constexpr const char* kName = "disagg-profile-handler";
  static constexpr const char* kDoc =
      "Splits requests into encode, prefill and decode on different endpoints where it pays.";

  enum Param : size_t {
    kStageOrder,
    kDecode,
    kPrefill,
    kEncode,
    kPrefillDecider,
    kEncodeDecider,
    kFlatDecode,
    kFlatPrefill,
    kFlatEncode,
    kFlatPrefillDecider,
    kFlatEncodeDecider,
    kFlatDecider,
  };
  static constexpr std::array kParams{
      epp::String("stageOrder", "decode-first", "decode-first or prefill-first."),
      epp::String("profiles.decode", nullptr, "Profile that decodes; decode by default."),
      epp::String("profiles.prefill", nullptr, "Profile that prefills; prefill by default."),
      epp::String("profiles.encode", nullptr, "Profile that encodes; encode by default."),
      Decider("deciders.prefill", "Says whether a prefill stage runs; none means never."),
      Decider("deciders.encode", "Says whether an encode stage runs; none means never."),
      epp::String("decodeProfile", nullptr, "Write profiles.decode.").Deprecated(),
      epp::String("prefillProfile", nullptr, "Write profiles.prefill.").Deprecated(),
      epp::String("encodeProfile", nullptr, "Write profiles.encode.").Deprecated(),
      Decider("prefillDeciderPluginName", "Write deciders.prefill.").Deprecated(),
      Decider("encodeDeciderPluginName", "Write deciders.encode.").Deprecated(),
      Decider("deciderPluginName", "Write deciders.prefill.").Deprecated()};
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kPrefixMatchBlocks),
                                        epp::Needs(epp::attr::kPrefixBlockSize),
                                        epp::Needs(epp::attr::kTokenizedPrompt)};
  static constexpr std::array kProduces{epp::Makes(epp::common::kPeerEndpoint).TypeNamed()};

  static epp::Result<DisaggProfileHandler> Create(const epp::Context& ctx) {
    const auto any = [&](Param first, Param last) -> size_t {
      for (size_t p = first; p <= last; ++p) {
        if (ctx.has(p)) return p;
      }
      return 0;
    };
    const size_t nested = any(kDecode, kEncodeDecider);
    const size_t flat = any(kFlatDecode, kFlatDecider);
    if (nested != 0 && flat != 0) {
      return epp::Status::Invalid(std::string("parameters \"") + kParams[nested].spec.name +
                                  "\" and \"" + kParams[flat].spec.name +
                                  "\": got both forms, want profiles and deciders, or the "
                                  "deprecated names, but not a mixture");
    }
    DisaggProfileHandler made(ctx);
    const std::string order = Squeezed(ctx.str(kStageOrder));
    if (order == "prefill" || order == "prefillfirst") {
      made.prefill_first_ = true;
    } else if (!order.empty() && order != "decode" && order != "decodefirst") {
      return epp::Status::Invalid("parameter \"stageOrder\" is \"" +
                                  std::string(ctx.str(kStageOrder)) +
                                  "\", want decode-first or prefill-first");
    }
    if (made.prefill_first_ && made.prefill_decider_ != 0) {
      return epp::Status::Invalid(std::string("parameter \"") +
                                  kParams[made.prefill_decider_].spec.name +
                                  "\" has no meaning with stageOrder prefill-first: prefill always "
                                  "runs there");
    }
    return made;
  }

  epp::Status Choose(const epp::Call& call, const epp::Scheduling& so_far, const epp::Candidates&,
                     std::span<int32_t> decisions) const {
    const bool done =
        prefill_first_ ? PrefillFirst(so_far, decisions) : DecodeFirst(so_far, decisions);
    if (done) {
      decisions_.Add(call, Stage(so_far, prefill_).ok(so_far), Stage(so_far, encode_).ok(so_far));
    }
    return {};
  }

  epp::Status Conclude(const epp::Call&, const epp::Scheduling& done, const epp::Candidates&,
                       uint32_t& primary) const {
    const Stage decode(done, decode_);
    if (!decode.ok(done)) {
      return {EPP_RESOURCE_EXHAUSTED, "failed to find available decode workers"};
    }
    primary = static_cast<uint32_t>(decode.index);
    return {};
  }

  epp::Status PreRequest(const epp::Call&, const epp::Scheduling& scheduling,
                         const epp::Candidates&, const epp::Editor& edit) const {
    epp::common::WriteStageHeaders(scheduling, prefill_, encode_, edit);
    // The sidecar would obey it, and nobody but a client can have sent it.
    epp::common::WriteDataParallelHeader(scheduling, false, edit);
    return {};
  }

 private:
  explicit DisaggProfileHandler(const epp::Context& ctx)
      : decode_(Name(ctx, kDecode, kFlatDecode, "decode")),
        prefill_(Name(ctx, kPrefill, kFlatPrefill, "prefill")),
        encode_(Name(ctx, kEncode, kFlatEncode, "encode")),
        prefill_decider_(FirstSet(ctx, {kPrefillDecider, kFlatPrefillDecider, kFlatDecider})),
        encode_decider_(FirstSet(ctx, {kEncodeDecider, kFlatEncodeDecider})),
        decisions_(ctx, kName, "disagg_decision_total") {}

  static std::string Name(const epp::Context& ctx, Param nested, Param flat,
                          const char* otherwise) {
    for (const Param p : {nested, flat}) {
      if (!ctx.str(p).empty()) return std::string(ctx.str(p));
    }
    return otherwise;
  }
  // The first that names a plugin, or 0.
  static size_t FirstSet(const epp::Context& ctx, std::initializer_list<Param> params) {
    for (const Param p : params) {
      if (!ctx.str(p).empty()) return p;
    }
    return 0;
  }

  // Both return true when nothing is left to do.
  bool DecodeFirst(const epp::Scheduling& so_far, std::span<int32_t> decisions) const {
    const Stage decode(so_far, decode_);
    if (decode.pending(so_far)) {
      decisions[decode.index] = EPP_DECIDE_RUN;
      return false;
    }
    if (!decode.ok(so_far)) return false;
    const epp_profile_result& target = so_far.result(decode.index);
    if (const Stage encode(so_far, encode_); encode.pending(so_far)) {
      const bool run = encode_decider_ != 0 && so_far.Ask(encode_decider_, target.target_rows[0]);
      decisions[encode.index] = run ? EPP_DECIDE_RUN : EPP_DECIDE_SKIP;
      if (run) return false;
    }
    if (const Stage prefill(so_far, prefill_); prefill.pending(so_far)) {
      const bool run = prefill_decider_ != 0 && so_far.Ask(prefill_decider_, target.target_rows[0]);
      if (run) Publish(so_far, decode);
      decisions[prefill.index] = run ? EPP_DECIDE_RUN : EPP_DECIDE_SKIP;
      if (run) return false;
    }
    return true;
  }

  bool PrefillFirst(const epp::Scheduling& so_far, std::span<int32_t> decisions) const {
    const Stage prefill(so_far, prefill_);
    if (prefill.pending(so_far)) {
      decisions[prefill.index] = EPP_DECIDE_RUN;
      return false;
    }
    if (const Stage encode(so_far, encode_); encode.pending(so_far)) {
      const bool run = encode_decider_ != 0 && so_far.Ask(encode_decider_);
      decisions[encode.index] = run ? EPP_DECIDE_RUN : EPP_DECIDE_SKIP;
      if (run) return false;
    }
    if (const Stage decode(so_far, decode_); decode.pending(so_far)) {
      if (prefill.ok(so_far)) Publish(so_far, prefill);
      decisions[decode.index] = EPP_DECIDE_RUN;
      return false;
    }
    return true;
  }

  // The first target of `stage` is whom the next stage should be near to.
  static void Publish(const epp::Scheduling& so_far, const Stage& stage) {
    so_far.Publish(0, static_cast<int64_t>(so_far.result(stage.index).targets[0]->id));
  }

  std::string decode_;
  std::string prefill_;
  std::string encode_;
  size_t prefill_decider_;  // the parameter that names it; 0: none
  size_t encode_decider_;
  bool prefill_first_ = false;
  epp::common::DecisionCounter decisions_;
};

}  // namespace

EPP_LIBRARY("disagg-profile-handler", "0.1.0", DisaggProfileHandler)
