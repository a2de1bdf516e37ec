// no-hit-lru-scorer: spreads prompts that nobody has cached, so that caches grow evenly.
//
//   score[i] = 0.5                           somebody has a part of the prompt
//            = 1 - rank[i] / (n - 1)         cold: nobody has; one candidate: 1
//
// rank 0 is who waited longest for a cold request: first those that never got one, in the order in
// which they joined the pool, then the others, least recent first.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cold_list.h"
#include "plugins/common/bytes.hpp"
#include "plugins/common/json.hpp"

namespace {

using epp::nohit::ColdList;
using epp::nohit::Turn;

constexpr const char* kProducerParam = "prefixMatchInfoProducerName";
constexpr int64_t kDefaultCapacity = 1024;
constexpr size_t kMaxDumped = 100;
constexpr double kNotCold = 0.5;

// The candidates of one cold call. In the request's memory, one for each profile.
struct ColdCall {
  const uint32_t* rows;  // [count], among the candidates of the request
  size_t count;
  const ColdCall* next;

  bool Has(uint32_t row) const { return std::find(rows, rows + count, row) != rows + count; }
};

class NoHitLruScorer {
 public:
  static constexpr const char* kName = "no-hit-lru-scorer";
  static constexpr const char* kDoc =
      "Spreads prompts that no candidate has cached: who waited longest for one scores best.";
  static constexpr uint32_t kCategory = EPP_CATEGORY_DISTRIBUTION;
  static constexpr std::array kParams{
      epp::Int("lruSize", kDefaultCapacity, -0x1p63, 0x1p63,
               "Endpoints to remember; 0 or less means the default."),
      epp::Plugin(kProducerParam, nullptr, "Producer of the match information."),
      epp::String("prefixPluginType", nullptr, "Has no effect any more.").Ignored().Deprecated(),
      epp::String("prefixPluginName", nullptr, "Has no effect any more.").Ignored().Deprecated()};
  static constexpr std::array kConsumes{
      epp::Needs(epp::attr::kPrefixMatchBlocks).From(kProducerParam)};
  static constexpr uint32_t kStateVersion = 1;

  static epp::Result<NoHitLruScorer> Create(const epp::Context& ctx) {
    const int64_t wanted = ctx.i64(0) > 0 ? ctx.i64(0) : kDefaultCapacity;
    return std::make_unique<NoHitLruScorer>(
        ctx.host(), static_cast<uint32_t>(std::min<int64_t>(wanted, ColdList::kMaxSlots)));
  }

  NoHitLruScorer(epp::Host host, uint32_t capacity) : host_(host), list_(capacity) {}

  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    const size_t n = out.size();
    if (n == 0) return {};
    const std::span<const int64_t> match = in.column<int64_t>(0).values();
    if (std::any_of(match.begin(), match.end(), [](int64_t blocks) { return blocks > 0; })) {
      std::fill(out.begin(), out.end(), kNotCold);
      return {};
    }
    ColdCall* const cold = call.Alloc<ColdCall>();
    uint32_t* const rows = call.Alloc<uint32_t>(n);
    Turn* const turns = call.Alloc<Turn>(n);
    if (cold == nullptr || rows == nullptr || turns == nullptr) {
      return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    }
    std::copy_n(in.raw().rows, n, rows);
    *cold = {rows, n, call.state<ColdCall>()};
    call.state<ColdCall>() = cold;
    if (n == 1) {
      out[0] = 1.0;
      return {};
    }
    for (size_t i = 0; i < n; ++i) turns[i] = {0, in.endpoint(i).id, static_cast<uint32_t>(i)};
    list_.Read({in.raw().slots, n}, {turns, n});
    std::sort(turns, turns + n, [](const Turn& a, const Turn& b) {
      return a.time != b.time ? a.time < b.time : a.id < b.id;
    });
    for (size_t rank = 0; rank < n; ++rank) {
      out[turns[rank].candidate] = 1.0 - static_cast<double>(rank) / static_cast<double>(n - 1);
    }
    return {};
  }

  // Every profile's target counts, if this scorer called the profile's candidates cold.
  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling& scheduling,
                         const epp::Candidates&, epp::Editor&) {
    const ColdCall* const cold = call.state<ColdCall>();
    if (cold == nullptr) return {};
    const size_t primary = scheduling.primary();
    if (primary < scheduling.size()) Touch(scheduling, primary, cold);
    for (size_t i = 0; i < scheduling.size(); ++i) {
      if (i != primary) Touch(scheduling, i, cold);
    }
    return {};
  }

  void Upserted(const epp_endpoint& endpoint) {
    if (!list_.Register(endpoint.slot, endpoint.id, epp::View(endpoint.name))) {
      host_.Log(EPP_LOG_WARN, "too many endpoints, one always counts as never used");
    }
  }

  void Removed(const epp_endpoint& endpoint) { list_.Unregister(endpoint.slot, endpoint.id); }

  // How many, and their ids, oldest first.
  epp::Status SaveState(std::string& out) const {
    const std::vector<uint64_t> ids = list_.Ids();
    if (ids.empty()) return {};
    epp::common::PutBytes(&out, static_cast<uint32_t>(ids.size()));
    for (const uint64_t id : ids) epp::common::PutBytes(&out, id);
    return {};
  }

  epp::Status LoadState(uint32_t version, std::string_view bytes) {
    if (version != kStateVersion) {
      return epp::Status::Invalid("the list has version " + std::to_string(version) + ", want " +
                                  std::to_string(kStateVersion));
    }
    if (bytes.empty()) return {};
    epp::common::ByteReader in(bytes);
    uint32_t count = 0;
    if (!in.Get(&count) || count > ColdList::kMaxSlots ||
        bytes.size() != sizeof(count) + count * sizeof(uint64_t)) {
      return epp::Status::Invalid("the list is malformed");
    }
    std::vector<uint64_t> ids(count);
    for (uint64_t& id : ids) static_cast<void>(in.Get(&id));
    list_.Load(ids);
    return {};
  }

  // {"endpoints":["ns/a","ns/b"],"total":2,"truncated":false}, oldest first
  epp::Status Dump(std::string& out) const {
    const std::vector<std::string> names = list_.Names(kMaxDumped);
    const size_t total = std::max(list_.size(), names.size());
    out = "{\"endpoints\":[";
    for (size_t i = 0; i < names.size(); ++i) {
      if (i > 0) out += ',';
      epp::common::AppendJsonString(&out, names[i]);
    }
    out += "],\"total\":" + std::to_string(total) +
           ",\"truncated\":" + (names.size() < total ? "true" : "false") + "}";
    return {};
  }

 private:
  void Touch(const epp::Scheduling& scheduling, size_t profile, const ColdCall* cold) {
    if (!scheduling.ok(profile)) return;
    const epp_profile_result& result = scheduling.result(profile);
    while (cold != nullptr && !cold->Has(result.target_rows[0])) cold = cold->next;
    if (cold != nullptr) list_.Touch(result.targets[0]->slot, result.targets[0]->id);
  }

  const epp::Host host_;
  ColdList list_;  // thread-safe
};

}  // namespace

EPP_LIBRARY("no-hit-lru-scorer", "0.1.0", NoHitLruScorer)
