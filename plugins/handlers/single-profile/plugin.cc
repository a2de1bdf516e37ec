// single-profile-handler: runs the one profile of the config.
#include "epp/plugin.hpp"

#include <cstdint>
#include <span>
#include <string>

namespace {

class SingleProfileHandler {
 public:
  static constexpr const char* kName = "single-profile-handler";
  static constexpr const char* kDoc = "Runs the one scheduling profile there is.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;

  static epp::Result<SingleProfileHandler> Create(const epp::Context&) {
    return SingleProfileHandler();
  }

  epp::Status Check(std::span<const epp_str> profiles) const {
    if (profiles.size() == 1) return {};
    return epp::Status::Invalid("profiles: got " + std::to_string(profiles.size()) + ", want 1");
  }

  epp::Status Choose(const epp::Call&, const epp::Scheduling& so_far, const epp::Candidates&,
                     std::span<int32_t> decisions) const {
    for (size_t i = 0; i < so_far.size(); ++i) {
      if (so_far.result(i).state == EPP_PROFILE_NOT_RUN) decisions[i] = EPP_DECIDE_RUN;
    }
    return {};
  }

  epp::Status Conclude(const epp::Call&, const epp::Scheduling& done, const epp::Candidates&,
                       uint32_t& primary) const {
    if (done.size() != 1 || !done.ok(0)) {
      return {EPP_RESOURCE_EXHAUSTED, "the scheduling profile gave no endpoint"};
    }
    primary = 0;
    return {};
  }
};

}  // namespace

EPP_LIBRARY("single-profile-handler", "0.1.0", SingleProfileHandler)
