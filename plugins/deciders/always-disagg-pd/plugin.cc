// always-disagg-pd-decider: every request gets a prefill stage of its own.
#include "epp/plugin.hpp"

namespace {

class AlwaysDisaggPdDecider {
 public:
  static constexpr const char* kName = "always-disagg-pd-decider";
  static constexpr const char* kDoc = "Gives every request a prefill stage.";

  static epp::Result<AlwaysDisaggPdDecider> Create(const epp::Context&) {
    return AlwaysDisaggPdDecider();
  }

  epp::Status Decide(const epp::Call&, const epp::Candidates&, bool& yes) const {
    yes = true;
    return {};
  }
};

}  // namespace

EPP_LIBRARY("always-disagg-pd-decider", "0.1.0", AlwaysDisaggPdDecider)
