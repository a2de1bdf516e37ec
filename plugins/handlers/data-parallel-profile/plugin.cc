// data-parallel-profile-handler: runs the one profile there is, and sends requests to one port of
// the endpoint, whichever rank was picked. A header says which rank that was.
#include "epp/plugin.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "plugins/common/disagg.hpp"

namespace {

class DataParallelProfileHandler {
 public:
  static constexpr const char* kName = "data-parallel-profile-handler";
  static constexpr const char* kDoc =
      "Runs the one profile there is; the proxy gets a common port, and a header the rank's.";
  static constexpr const char* kDeprecated =
      "use single-profile-handler and a pool that lists the port of every rank";
  static constexpr std::array kParams{
      epp::Int("primaryPort", 8000, 0, 65535, "Port that the proxy is given for every rank.")};

  static epp::Result<DataParallelProfileHandler> Create(const epp::Context& ctx) {
    return DataParallelProfileHandler(static_cast<uint32_t>(ctx.i64(0)));
  }

  epp::Status Choose(const epp::Call&, const epp::Scheduling& so_far, const epp::Candidates&,
                     std::span<int32_t> decisions) const {
    if (so_far.size() == 1 && so_far.result(0).state == EPP_PROFILE_NOT_RUN) {
      decisions[0] = EPP_DECIDE_RUN;
    }
    return {};
  }

  epp::Status Conclude(const epp::Call&, const epp::Scheduling& done, const epp::Candidates&,
                       uint32_t& primary) const {
    if (done.size() != 1 || !done.ok(0)) {
      return {EPP_RESOURCE_EXHAUSTED, "the scheduling profile gave no endpoint"};
    }
    primary = 0;
    done.SetDestinationPort(primary_port_);
    return {};
  }

  epp::Status PreRequest(const epp::Call&, const epp::Scheduling& scheduling,
                         const epp::Candidates&, const epp::Editor& edit) const {
    epp::common::WriteDataParallelHeader(scheduling, true, edit);
    return {};
  }

 private:
  explicit DataParallelProfileHandler(uint32_t port) : primary_port_(port) {}
  uint32_t primary_port_;
};

}  // namespace

EPP_LIBRARY("data-parallel-profile-handler", "0.1.0", DataParallelProfileHandler)
