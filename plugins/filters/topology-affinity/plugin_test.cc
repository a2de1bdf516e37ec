#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"

namespace {

using epp::test::Instance;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Request;
using epp::test::Selection;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kFilter = "topology-affinity-filter";
constexpr const char* kScorer = "topology-affinity-scorer";

struct Place {
  std::optional<std::string> host, rack, zone, region;
};

// The peer is the last endpoint, and no candidate of the profile.
class Cluster {
 public:
  explicit Cluster(const std::vector<Place>& places) : pool_(places.size()) {
    std::vector<std::optional<std::string>> host, rack, zone, region;
    for (const Place& p : places) {
      host.push_back(p.host);
      rack.push_back(p.rack);
      zone.push_back(p.zone);
      region.push_back(p.region);
    }
    pool_.Set(epp::common::kTopologyHostname, host);
    pool_.Set(epp::common::kTopologyRack, rack);
    pool_.Set(epp::common::kTopologyZone, zone);
    pool_.Set(epp::common::kTopologyRegion, region);
    for (size_t i = 0; i + 1 < places.size(); ++i) rows_.push_back(i);
    SetPeer(static_cast<int64_t>(pool_.endpoint(places.size() - 1).id));
  }

  void SetPeer(int64_t id) { request_.Set(epp::common::kPeerEndpoint, id); }
  const Pool& pool() const { return pool_; }

  std::vector<size_t> Filter(const Params& params) {
    Instance filter = epp::test::Make(kFilter, params);
    filter.Produce(pool_, request_);
    return filter.Filter(Selection(pool_, rows_), request_);
  }
  std::vector<double> Score() {
    Instance scorer = epp::test::Make(kScorer);
    scorer.Produce(pool_, request_);
    return scorer.Score(Selection(pool_, rows_), request_);
  }

 private:
  Pool pool_;
  std::vector<size_t> rows_;
  Request request_;
};

const Place kPeer{"h1", "r1", "z1", "g1"};
// On the peer's host, in its rack, zone, region, and elsewhere.
const std::vector<Place> kSpread{{"h1", "r1", "z1", "g1"}, {"h2", "r1", "z1", "g1"},
                                 {"h3", "r2", "z1", "g1"}, {"h4", "r3", "z2", "g1"},
                                 {"h5", "r4", "z3", "g2"}, kPeer};

TEST(TopologyScorerTest, Case040Levels) {
  EXPECT_THAT(Cluster(kSpread).Score(), ElementsAre(1, 0.20, 0.05, 0.02, 0));
}

TEST(TopologyScorerTest, Case041OnlyTheRackIsKnown) {
  const std::nullopt_t none = std::nullopt;
  EXPECT_THAT(Cluster({{none, "r1", none, none}, kPeer}).Score(), ElementsAre(0.20));
}

TEST(TopologyScorerTest, EmptyTextIsUnknown) {
  EXPECT_THAT(Cluster({{"", "", "", "g1"}, {"", "", "", ""}, {"", "", "", "g1"}}).Score(),
              ElementsAre(0.02, 0));
}

TEST(TopologyScorerTest, NoTopologyOfThePeer) {
  EXPECT_THAT(Cluster({kPeer, {}}).Score(), ElementsAre(0));
}

TEST(TopologyScorerTest, NoPeer) {
  Instance scorer = epp::test::Make(kScorer);
  const Cluster cluster(kSpread);
  Request request;
  scorer.Produce(cluster.pool(), request);
  EXPECT_THAT(scorer.Score(Selection(cluster.pool(), {0, 1}), request), ElementsAre(0, 0));
}

TEST(TopologyScorerTest, UnknownPeer) {
  Cluster cluster(kSpread);
  cluster.SetPeer(-1);
  EXPECT_THAT(cluster.Score(), ElementsAre(0, 0, 0, 0, 0));
}

TEST(TopologyScorerTest, NoProducerOfTopology) {
  Instance scorer = epp::test::Make(kScorer);
  const Pool pool(2);
  Request request;
  request.Set(epp::common::kPeerEndpoint, static_cast<int64_t>(pool.endpoint(1).id));
  scorer.Produce(pool, request);
  EXPECT_THAT(scorer.Score(pool, request), ElementsAre(0, 0));
}

struct Case {
  const char* name;
  Params params;
  std::vector<Place> places;  // the last one is the peer's
  std::vector<size_t> kept;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class TopologyFilterTest : public testing::TestWithParam<Case> {};

TEST_P(TopologyFilterTest, Keeps) {
  EXPECT_EQ(Cluster(GetParam().places).Filter(GetParam().params), GetParam().kept);
}

INSTANTIATE_TEST_SUITE_P(
    Table, TopologyFilterTest,
    testing::Values(Case{"HostByDefault", {}, kSpread, {0}},
                    Case{"Rack", {{"minAffinity", "rack"}}, kSpread, {0, 1}},
                    Case{"Zone", {{"minAffinity", "zone"}}, kSpread, {0, 1, 2}},
                    Case{"Region", {{"minAffinity", "region"}}, kSpread, {0, 1, 2, 3}},
                    Case{"NobodyQualifies",
                         {},
                         {{"h2", "r1", "z1", "g1"}, {"h3", "r1", "z1", "g1"}, kPeer},
                         {0, 1}},
                    Case{"NoTopologyOfThePeer", {}, {kPeer, {}, {}}, {0, 1}},
                    Case{"NoCandidates", {}, {kPeer}, {}}),
    [](const auto& info) { return info.param.name; });

TEST(TopologyFilterTest, NoPeerKeepsEveryone) {
  Instance filter = epp::test::Make(kFilter);
  const Cluster cluster(kSpread);
  Request request;
  filter.Produce(cluster.pool(), request);
  EXPECT_THAT(filter.Filter(Selection(cluster.pool(), {0, 4}), request), ElementsAre(0, 1));
}

TEST(TopologyFilterTest, ProducerByName) {
  Instance filter = epp::test::Make(kFilter, {{"topologyProducerName", "mine"}});
  Pool pool(2);
  pool.Set("Topology.hostname/mine", {"h1", "h2"});
  pool.Set(epp::common::kTopologyHostname, {"h2", "h2"});
  Request request;
  request.Set(epp::common::kPeerEndpoint, static_cast<int64_t>(pool.endpoint(1).id));
  filter.Produce(pool, request);
  EXPECT_THAT(filter.Filter(pool, request), ElementsAre(1));
}

TEST(TopologyTest, Declarations) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), testing::IsEmpty());
  EXPECT_THAT(epp::test::Make(kFilter, {{"minAffinity", "planet"}}).error(), HasSubstr("planet"));
  for (const char* type : {kFilter, kScorer}) {
    const epp_plugin_type* const record = epp::test::Library::Linked().Find(type);
    EXPECT_EQ(record->stability, EPP_STABILITY_ALPHA);
    EXPECT_EQ(record->consumes[0]->flags & EPP_ATTR_OPTIONAL, type == kScorer);
  }
}

}  // namespace
