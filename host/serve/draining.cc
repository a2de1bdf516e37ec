#include "host/serve/draining.h"

#include <algorithm>
#include <string>

#include "host/base/str_cat.h"

namespace epp::serve {
namespace {

constexpr ConditionSpec kStuck{"generation-stuck", 0};

}  // namespace

void Draining::Came(const runtime::Generation* generation, uint64_t now_ns) {
  for (Entry& entry : entries_) {
    if (entry.superseded_ns == 0) entry.superseded_ns = std::max<uint64_t>(now_ns, 1);
  }
  entries_.push_back({generation});
}

void Draining::Gone(const runtime::Generation* generation) {
  std::erase_if(entries_, [&](const Entry& e) { return e.generation == generation; });
}

bool Draining::Uses(const runtime::HeldInstance& held) const {
  return std::ranges::any_of(entries_, [&](const Entry& e) {
    return std::ranges::any_of(e.generation->held(),
                               [&](const auto& h) { return h.get() == &held; });
  });
}

void Draining::Look(uint64_t now_ns) {
  size_t draining = 0;
  std::string stuck;
  for (const Entry& entry : entries_) {
    if (entry.superseded_ns == 0) continue;
    ++draining;
    if (now_ns - entry.superseded_ns < stuck_after_ns_) continue;
    StrAppend(&stuck, stuck.empty() ? "" : ", ", entry.generation->serving().number);
  }
  metrics_->generations_draining.Set(static_cast<double>(draining));
  conditions_->Set(kStuck, !stuck.empty(),
                   StrCat("requests still run on former generations after ",
                          stuck_after_ns_ / 1'000'000'000, " s: ", stuck));
}

}  // namespace epp::serve
