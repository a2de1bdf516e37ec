#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"

namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "topology-extractor";

TEST(TopologyExtractor, HandsTheLabelsOn) {
  epp::test::Pool pool(2);
  pool.Label(0, "kubernetes.io/hostname", "h").Label(0, "topology.kubernetes.io/rack", "r");
  pool.Label(0, "topology.kubernetes.io/zone", "z").Label(1, "topology.kubernetes.io/region", "g");
  auto extractor = epp::test::Make(kType);
  ASSERT_TRUE(extractor.ok()) << extractor.error();
  epp::test::Request request;
  const auto made = extractor.Produce(pool, request);
  EXPECT_THAT(made.column(epp::common::kTopologyHostname), ElementsAre("h", std::nullopt));
  EXPECT_THAT(made.column(epp::common::kTopologyRack), ElementsAre("r", std::nullopt));
  EXPECT_THAT(made.column(epp::common::kTopologyZone), ElementsAre("z", std::nullopt));
  EXPECT_THAT(made.column(epp::common::kTopologyRegion), ElementsAre(std::nullopt, "g"));
}

TEST(TopologyExtractor, OtherLabels) {
  epp::test::Pool pool(1);
  pool.Label(0, "kubernetes.io/hostname", "h").Label(0, "node", "n");
  auto extractor = epp::test::Make(kType, {{"hostnameLabel", "node"}});
  epp::test::Request request;
  EXPECT_THAT(extractor.Produce(pool, request).column(epp::common::kTopologyHostname),
              ElementsAre("n"));
  auto wrong = epp::test::Make(kType, {{"rackLabel", ""}});
  EXPECT_FALSE(wrong.ok());
  EXPECT_THAT(wrong.error(), HasSubstr("rackLabel"));
}

TEST(TopologyExtractor, Declarations) {
  EXPECT_TRUE(epp::test::Lint(epp::test::Library::Linked().module()).empty());
}

}  // namespace
