#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "epp/testing.hpp"

namespace {

using Models = std::vector<std::string>;

struct Server {
  Models active;
  Models waiting;
  int64_t max_active;
};

struct Case {
  const char* name;
  std::vector<Server> servers;
  std::vector<double> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class LoraAffinityScorerTest : public testing::TestWithParam<Case> {};

TEST_P(LoraAffinityScorerTest, Scores) {
  auto scorer = epp::test::Make("lora-affinity-scorer");
  std::vector<Models> active, waiting;
  std::vector<int64_t> max_active;
  for (const Server& s : GetParam().servers) {
    active.push_back(s.active);
    waiting.push_back(s.waiting);
    max_active.push_back(s.max_active);
  }
  epp::test::Pool pool(GetParam().servers.size());
  pool.Set(epp::attr::kActiveModels, active);
  pool.Set(epp::attr::kWaitingModels, waiting);
  pool.Set(epp::attr::kMaxActiveModels, max_active);
  epp::test::Request request;
  request.TargetModel("target");
  EXPECT_EQ(scorer.Score(pool, request), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    Table, LoraAffinityScorerTest,
    testing::Values(Case{"Case007", {{{"target"}, {}, 5}}, {1}},
                    Case{"Case008", {{{"a"}, {"target"}, 2}}, {0.6}},
                    Case{"Case009", {{{"a"}, {"b"}, 2}, {{}, {}, 0}}, {0, 0}},
                    Case{"Case010",
                         {{{"target"}, {}, 5},
                          {{"a"}, {"target"}, 5},
                          {{"a"}, {}, 2},
                          {{"a"}, {"target"}, 2},
                          {{"a", "b"}, {}, 2}},
                         {1, 0.8, 0.8, 0.6, 0}},
                    Case{"ActiveWinsWhenFull", {{{"a", "target"}, {}, 2}}, {1}}),
    [](const auto& info) { return info.param.name; });

TEST(LoraAffinityScorerTest, UnknownModelMatchesNothing) {
  auto scorer = epp::test::Make("lora-affinity-scorer");
  epp::test::Pool pool(2);
  pool.SetLists(epp::attr::kActiveModels, {{"a"}, {}});
  pool.SetLists(epp::attr::kWaitingModels, {{}, {}});
  pool.Set(epp::attr::kMaxActiveModels, {1, 1});
  epp::test::Request request;
  request.TargetModel("never seen");
  EXPECT_THAT(scorer.Score(pool, request), testing::ElementsAre(0, 0.8));
  EXPECT_EQ(scorer.host().FindSymbol("never seen"), 0u) << "a client's string was kept";
}

}  // namespace
