// @NAME@: prefers endpoints where few requests wait.
//
// score[i] = halfAt / (halfAt + waiting[i]): 1 without a queue, 1/2 at halfAt requests.
#include "epp/plugin.hpp"

namespace {

class @CLASS@ {
 public:
  static constexpr const char* kName = "@NAME@";
  static constexpr const char* kDoc = "@DOC@";
  static constexpr std::array kParams{
      epp::Int("halfAt", 4, 1, 1e6, "waiting requests that halve the score")};
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kWaitingQueueSize)};

  static epp::Result<@CLASS@> Create(const epp::Context& ctx) {
    return @CLASS@(static_cast<double>(ctx.i64(0)));
  }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto waiting = in.column<int64_t>(0);
    for (size_t i = 0; i < in.size(); ++i) {
      out[i] = half_at_ / (half_at_ + std::max(0.0, static_cast<double>(waiting[i])));
    }
    return {};
  }

 private:
  explicit @CLASS@(double half_at) : half_at_(half_at) {}
  double half_at_;
};

}  // namespace

EPP_LIBRARY("@NAME@", "0.1.0", @CLASS@)
