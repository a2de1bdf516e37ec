#include "state.h"

#include "plugins/common/bytes.hpp"

namespace epp::inflight {
namespace {

using common::ByteReader;
using common::PutBytes;
using common::PutText;

// Sums cannot overflow.
constexpr int64_t kMaxCount = int64_t{1} << 40;
constexpr size_t kMaxGauges = size_t{1} << 18;

bool GetLoad(ByteReader& in, Load* load) {
  const auto is_count = [](int64_t n) { return n >= 0 && n <= kMaxCount; };
  return in.Get(&load->requests) && in.Get(&load->tokens) && is_count(load->requests) &&
         is_count(load->tokens);
}

}  // namespace

void Save(const std::vector<Counters::Known>& counts, const std::vector<Gauges::Known>& gauges,
          std::string* out) {
  if (counts.empty() && gauges.empty()) return;
  PutBytes(out, static_cast<uint32_t>(counts.size()));
  for (const Counters::Known& known : counts) {
    PutBytes(out, known.slot);
    PutBytes(out, known.id);
    PutBytes(out, known.load.requests);
    PutBytes(out, known.load.tokens);
  }
  for (const Gauges::Known& known : gauges) {
    PutText(out, known.endpoint);
    PutText(out, known.fairness_id);
    PutBytes(out, known.priority);
    PutBytes(out, known.load.requests);
    PutBytes(out, known.load.tokens);
  }
}

bool Parse(std::string_view bytes, std::vector<Counters::Known>* counts,
           std::vector<Gauges::Known>* gauges) {
  if (bytes.empty()) return true;
  ByteReader in(bytes);
  uint32_t count = 0;
  if (!in.Get(&count) || count > Counters::kMaxSlots) return false;
  for (uint32_t i = 0; i < count; ++i) {
    Counters::Known& known = counts->emplace_back();
    if (!in.Get(&known.slot) || !in.Get(&known.id) || !GetLoad(in, &known.load)) return false;
  }
  while (!in.done()) {
    if (gauges->size() == kMaxGauges) return false;
    Gauges::Known& known = gauges->emplace_back();
    std::string_view endpoint;
    std::string_view fairness_id;
    if (!in.GetText(&endpoint) || !in.GetText(&fairness_id) || !in.Get(&known.priority) ||
        !GetLoad(in, &known.load)) {
      return false;
    }
    known.endpoint = endpoint;
    known.fairness_id = fairness_id;
  }
  return true;
}

}  // namespace epp::inflight
