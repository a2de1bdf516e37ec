// @NAME@: keeps endpoints where at most maxWaiting requests wait.
#include "epp/plugin.hpp"

namespace {

class @CLASS@ {
 public:
  static constexpr const char* kName = "@NAME@";
  static constexpr const char* kDoc = "@DOC@";
  static constexpr std::array kParams{
      epp::Int("maxWaiting", 8, 0, 1e6, "longest waiting queue that is kept, in requests")};
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kWaitingQueueSize)};

  static epp::Result<@CLASS@> Create(const epp::Context& ctx) { return @CLASS@(ctx.i64(0)); }

  epp::Status Filter(const epp::Call&, const epp::Candidates& in, epp::Keep& keep) const {
    const auto waiting = in.column<int64_t>(0);
    for (size_t i = 0; i < in.size(); ++i) keep.SetIf(i, waiting[i] <= max_waiting_);
    return {};
  }

 private:
  explicit @CLASS@(int64_t max_waiting) : max_waiting_(max_waiting) {}
  int64_t max_waiting_;
};

}  // namespace

EPP_LIBRARY("@NAME@", "0.1.0", @CLASS@)
