// pd-profile-handler: decode, and prefill before it when the decider says so of the decode target.
//
// The predecessor of disagg-profile-handler, which also writes the headers that this one leaves to
// disagg-headers-handler. What only this one has is primaryPort: one port for all ranks of an
// endpoint, behind which a sidecar finds the rank by a header.
#include "epp/plugin.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "plugins/common/disagg.hpp"

namespace {

using epp::common::Stage;

class PdProfileHandler {
 public:
  static constexpr const char* kName = "pd-profile-handler";
  static constexpr const char* kDoc =
      "Runs decode, and prefill on another endpoint where a decider finds it worth it.";
  static constexpr const char* kDeprecated = "use disagg-profile-handler";

  enum Param : size_t {
    kDecode,
    kPrefill,
    kPrefixType,
    kPrefixName,
    kPrimaryPort,
    kDecider,
    kMatchProducer,
  };
  static constexpr std::array kParams{
      epp::String("decodeProfile", "decode", "Profile that decodes."),
      epp::String("prefillProfile", "prefill", "Profile that prefills."),
      epp::String("prefixPluginType", nullptr, "Without meaning.").Ignored(),
      epp::Plugin("prefixPluginName", nullptr, "Must name a plugin; without further meaning."),
      epp::Int("primaryPort", 0, 0, 65535,
               "Port that the proxy is given in place of the decode target's; 0 leaves it."),
      epp::Plugin("deciderPluginName", "prefix-based-pd-decider",
                  "Says whether a prefill stage runs.")
          .Implementing(EPP_DECIDER_ID),
      epp::Plugin("prefixMatchInfoProducerName", nullptr, "Producer of the match information.")};
  static constexpr const char* kMatchParam = "prefixMatchInfoProducerName";
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kPrefixMatchBlocks).From(kMatchParam),
                                        epp::Needs(epp::attr::kTokenizedPrompt)};

  static epp::Result<PdProfileHandler> Create(const epp::Context& ctx) {
    if (ctx.str(kDecider).empty()) {
      return epp::Status::Invalid("parameter \"deciderPluginName\" is empty, want a decider");
    }
    return PdProfileHandler(ctx);
  }

  epp::Status Choose(const epp::Call& call, const epp::Scheduling& so_far, const epp::Candidates&,
                     std::span<int32_t> decisions) const {
    const Stage decode(so_far, decode_);
    if (decode.pending(so_far)) {
      decisions[decode.index] = EPP_DECIDE_RUN;
      return {};
    }
    if (!decode.ok(so_far)) return {};
    const Stage prefill(so_far, prefill_);
    if (prefill.pending(so_far)) {
      const bool run = so_far.Ask(kDecider, so_far.result(decode.index).target_rows[0]);
      decisions[prefill.index] = run ? EPP_DECIDE_RUN : EPP_DECIDE_SKIP;
      if (run) return {};
    }
    decisions_.Add(call, prefill.ok(so_far), false);
    return {};
  }

  epp::Status Conclude(const epp::Call&, const epp::Scheduling& done, const epp::Candidates&,
                       uint32_t& primary) const {
    const Stage decode(done, decode_);
    if (!decode.ok(done)) {
      return {EPP_RESOURCE_EXHAUSTED, "failed to find available decode workers"};
    }
    primary = static_cast<uint32_t>(decode.index);
    if (primary_port_ != 0) done.SetDestinationPort(primary_port_);
    return {};
  }

  epp::Status PreRequest(const epp::Call&, const epp::Scheduling& scheduling,
                         const epp::Candidates&, const epp::Editor& edit) const {
    epp::common::WriteDataParallelHeader(scheduling, primary_port_ != 0, edit);
    return {};
  }

 private:
  explicit PdProfileHandler(const epp::Context& ctx)
      : decode_(ctx.str(kDecode).empty() ? "decode" : ctx.str(kDecode)),
        prefill_(ctx.str(kPrefill).empty() ? "prefill" : ctx.str(kPrefill)),
        primary_port_(static_cast<uint32_t>(ctx.i64(kPrimaryPort))),
        decisions_(ctx, kName, "pd_decision_total") {}

  std::string decode_;
  std::string prefill_;
  uint32_t primary_port_;  // 0: off
  epp::common::DecisionCounter decisions_;
};

}  // namespace

EPP_LIBRARY("pd-profile-handler", "0.1.0", PdProfileHandler)
