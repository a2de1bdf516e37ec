// short-queue-scorer: prefers endpoints where few requests wait.
//
// score[i] = 1 / (1 + excess[i]), where excess is what waits beyond idleBelow. Absolute, not
// relative to the other candidates: a pool that is busy everywhere scores low everywhere.
#include <algorithm>

#include "epp/plugin.hpp"

namespace {

class ShortQueue {
 public:
  static constexpr const char* kName = "short-queue-scorer";
  static constexpr const char* kDoc = "Prefers endpoints where few requests wait.";
  static constexpr std::array kParams{
      epp::Int("idleBelow", 0, 0, 1e6, "this many waiting requests still count as none")};
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kWaitingQueueSize)};

  static epp::Result<ShortQueue> Create(const epp::Context& ctx) { return ShortQueue(ctx.i64(0)); }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto waiting = in.column<int64_t>(0);
    for (size_t i = 0; i < in.size(); ++i) {
      const int64_t excess = std::max<int64_t>(0, waiting[i] - idle_below_);
      out[i] = 1.0 / (1.0 + static_cast<double>(excess));
    }
    return {};
  }

 private:
  explicit ShortQueue(int64_t idle_below) : idle_below_(idle_below) {}
  int64_t idle_below_;
};

}  // namespace

EPP_LIBRARY("example-scorer", "1.0.0", ShortQueue)
