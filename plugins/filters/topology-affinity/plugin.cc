// topology-affinity-filter and topology-affinity-scorer: prefer endpoints near the peer, the
// endpoint that an earlier profile of the request chose.
//
//   level[i] = the closest of host, rack, zone, region that i and the peer have and share
//   filter:  keep level[i] at minAffinity or closer; everyone if nobody is
//   scorer:  host 1, rack 0.20, zone 0.05, region 0.02, else 0
//
// The peer need not be a candidate of the profile that asks, so its place is noted beforehand: both
// are producers too, of nothing, because a producer sees all candidates of the request.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "plugins/common/attributes.hpp"

namespace {

constexpr const char* kProducerParam = "topologyProducerName";
constexpr const char* kLevels[] = {"host", "rack", "zone", "region"};
constexpr size_t kLevelCount = std::size(kLevels);
constexpr std::array<double, kLevelCount + 1> kScores{1.0, 0.20, 0.05, 0.02, 0.0};
constexpr std::array kAttributes{epp::common::kTopologyHostname, epp::common::kTopologyRack,
                                 epp::common::kTopologyZone, epp::common::kTopologyRegion};

// Symbols by level, 0 where unknown.
using Place = std::array<uint32_t, kLevelCount>;

struct Located {
  uint64_t id;
  Place place;
};

// All candidates of a request, in its memory.
struct Map {
  const Located* endpoints;
  size_t count;
};

constexpr auto Topology(bool required) {
  std::array<epp::Attribute, kLevelCount + 1> out{};
  for (size_t l = 0; l < kLevelCount; ++l) {
    const epp::Attribute a = epp::Needs(kAttributes[l]).From(kProducerParam);
    out[l] = required ? a : a.Optional();
  }
  out[kLevelCount] = epp::Uses(epp::common::kPeerEndpoint);
  return out;
}

// What the two types share: who is how near to the peer.
class Nearness {
 public:
  // The closest level that candidate i shares with the peer, kLevelCount if none.
  class Levels {
   public:
    Levels(const epp::Candidates& in, const Place& peer)
        : columns_{in.column<uint32_t>(0), in.column<uint32_t>(1), in.column<uint32_t>(2),
                   in.column<uint32_t>(3)},
          peer_(peer) {}
    size_t operator[](size_t i) const {
      for (size_t l = 0; l < kLevelCount; ++l) {
        if (peer_[l] != 0 && columns_[l][i] == peer_[l]) return l;
      }
      return kLevelCount;
    }

   private:
    std::array<epp::Column<uint32_t>, kLevelCount> columns_;
    const Place& peer_;
  };

  epp::Status Produce(const epp::Call& call, const epp::Candidates& in, epp::Outputs&) const {
    if (in.size() == 0 || in.column<uint32_t>(0).empty()) return {};
    auto* const map = call.Alloc<Map>();
    auto* const endpoints = call.Alloc<Located>(in.size());
    if (map == nullptr || endpoints == nullptr) {
      return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    }
    for (size_t i = 0; i < in.size(); ++i) endpoints[i].id = in.endpoint(i).id;
    for (uint32_t l = 0; l < kLevelCount; ++l) {
      const auto column = in.column<uint32_t>(l);
      for (size_t i = 0; i < in.size(); ++i) endpoints[i].place[l] = Known(column[i]);
    }
    *map = {endpoints, in.size()};
    call.state<Map>() = map;
    return {};
  }

 protected:
  explicit Nearness(epp::Host host) : empty_(host.Intern("")) {}

  // All unknown when there is no peer, or it is nowhere.
  Place Peer(const epp::Call& call) const {
    const auto peer = call.column<int64_t>(0);
    const Map* const map = call.state<Map>();
    if (!peer.has(0) || map == nullptr) return {};
    const std::span endpoints(map->endpoints, map->count);
    const auto id = static_cast<uint64_t>(peer[0]);
    const auto found = std::find_if(endpoints.begin(), endpoints.end(),
                                    [&](const Located& e) { return e.id == id; });
    return found == endpoints.end() ? Place{} : found->place;
  }

 private:
  uint32_t Known(uint32_t symbol) const { return symbol == empty_ ? 0 : symbol; }

  uint32_t empty_;  // the symbol of ""
};

class TopologyAffinityFilter : public Nearness {
 public:
  static constexpr const char* kName = "topology-affinity-filter";
  static constexpr const char* kDoc =
      "Keeps endpoints near the one that an earlier profile of the request chose.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr std::array kParams{
      epp::String("minAffinity", "host", "How near is near enough.").OneOf(kLevels),
      epp::Plugin(kProducerParam, nullptr, "Producer of the topology.")};
  static constexpr std::array kConsumes = Topology(true);

  static epp::Result<TopologyAffinityFilter> Create(const epp::Context& ctx) {
    const auto* const level = std::find_if(std::begin(kLevels), std::end(kLevels),
                                           [&](const char* l) { return ctx.str(0) == l; });
    return TopologyAffinityFilter(ctx.host(), static_cast<size_t>(level - std::begin(kLevels)));
  }

  epp::Status Filter(const epp::Call& call, const epp::Candidates& in, epp::Keep& keep) const {
    const Place peer = Peer(call);
    const Levels level(in, peer);
    bool any = false;
    for (size_t i = 0; i < in.size(); ++i) {
      const bool near = level[i] <= furthest_;
      keep.SetIf(i, near);
      any |= near;
    }
    if (!any) keep.All();
    return {};
  }

 private:
  TopologyAffinityFilter(epp::Host host, size_t furthest) : Nearness(host), furthest_(furthest) {}
  size_t furthest_;  // level, below kLevelCount
};

class TopologyAffinityScorer : public Nearness {
 public:
  static constexpr const char* kName = "topology-affinity-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints by how near they are to the one that an earlier profile chose.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr uint32_t kCategory = EPP_CATEGORY_AFFINITY;
  static constexpr std::array kParams{
      epp::Plugin(kProducerParam, nullptr, "Producer of the topology.")};
  static constexpr std::array kConsumes = Topology(false);

  static epp::Result<TopologyAffinityScorer> Create(const epp::Context& ctx) {
    return TopologyAffinityScorer(ctx.host());
  }

  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    const Place peer = Peer(call);
    const Levels level(in, peer);
    for (size_t i = 0; i < out.size(); ++i) out[i] = kScores[level[i]];
    return {};
  }

 private:
  using Nearness::Nearness;
};

}  // namespace

EPP_LIBRARY("topology-affinity", "0.1.0", TopologyAffinityFilter, TopologyAffinityScorer)
