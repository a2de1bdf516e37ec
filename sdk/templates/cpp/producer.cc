// @NAME@: computes the attribute "@CLASS@.freeSlots" of every endpoint, before a request is
// scheduled: how many more requests fit.
#include <algorithm>

#include "epp/plugin.hpp"

namespace {

// What others pass to epp::Needs to read it.
constexpr epp::AttributeKind kFreeSlots{"@CLASS@.freeSlots", EPP_T_I64, EPP_SCOPE_ENDPOINT, "@NAME@"};

class @CLASS@ {
 public:
  static constexpr const char* kName = "@NAME@";
  static constexpr const char* kDoc = "@DOC@";
  static constexpr std::array kParams{
      epp::Int("slots", 32, 1, 1e6, "requests that one endpoint runs at a time")};
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kRunningRequestsSize)};
  static constexpr std::array kProduces{epp::Makes(kFreeSlots)};

  static epp::Result<@CLASS@> Create(const epp::Context& ctx) { return @CLASS@(ctx.i64(0)); }

  epp::Status Produce(const epp::Call&, const epp::Candidates& in, epp::Outputs& out) const {
    const auto running = in.column<int64_t>(0);
    const auto free = out.column<int64_t>(0);
    for (size_t i = 0; i < in.size(); ++i) {
      free[i] = std::max<int64_t>(0, slots_ - running[i]);
      if (!running.has(i)) out.Clear(0, i);
    }
    return {};
  }

 private:
  explicit @CLASS@(int64_t slots) : slots_(slots) {}
  int64_t slots_;
};

}  // namespace

EPP_LIBRARY("@NAME@", "0.1.0", @CLASS@)
