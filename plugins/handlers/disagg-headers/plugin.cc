// disagg-headers-handler: writes the headers that say where prefill and encode run.
//
// For pd-profile-handler, which does not; harmless beside disagg-profile-handler, which does.
#include "epp/plugin.hpp"

#include <array>
#include <string>

#include "plugins/common/disagg.hpp"

namespace {

class DisaggHeadersHandler {
 public:
  static constexpr const char* kName = "disagg-headers-handler";
  static constexpr const char* kDoc =
      "Tells model servers in request headers where prefill and encode run.";
  static constexpr const char* kDeprecated = "disagg-profile-handler writes these headers itself";
  static constexpr std::array<const char*, 1> kAliases{"prefill-header-handler"};
  static constexpr std::array kParams{
      epp::String("prefillProfile", "prefill", "Profile that prefills."),
      epp::String("encodeProfile", "encode", "Profile that encodes.")};

  static epp::Result<DisaggHeadersHandler> Create(const epp::Context& ctx) {
    return DisaggHeadersHandler(ctx);
  }

  epp::Status PreRequest(const epp::Call&, const epp::Scheduling& scheduling,
                         const epp::Candidates&, const epp::Editor& edit) const {
    epp::common::WriteStageHeaders(scheduling, prefill_, encode_, edit);
    return {};
  }

 private:
  explicit DisaggHeadersHandler(const epp::Context& ctx)
      : prefill_(ctx.str(0).empty() ? "prefill" : ctx.str(0)),
        encode_(ctx.str(1).empty() ? "encode" : ctx.str(1)) {}

  std::string prefill_;
  std::string encode_;
};

}  // namespace

EPP_LIBRARY("disagg-headers-handler", "0.1.0", DisaggHeadersHandler)
