#include "rollout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace epp::rollout {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::Field;
using testing::IsEmpty;

// Adds pods of one revision; their endpoints are numbered on.
void Add(Rollout& rollout, uint64_t& id, const char* revision, int prefill, int decode) {
  for (int i = 0; i < prefill + decode; ++i) {
    ++id;
    rollout.Set(id, "10.0.0." + std::to_string(id), revision, i < prefill ? "p" : "d");
  }
}
auto Is(const char* revision, double share) {
  return testing::AllOf(Field(&Share::revision, revision), Field(&Share::share, DoubleEq(share)));
}

TEST(Rollout, Case105And106Shares) {
  struct Case {
    int prefill1, decode1, prefill2, decode2;
    double sum, max_role;  // of the second
  };
  for (const Case& c :
       {Case{2, 8, 1, 2, 3.0 / 13, 2.0 / 10}, Case{8, 2, 2, 1, 3.0 / 13, 2.0 / 10}}) {
    for (const Mode mode : {Mode::kSum, Mode::kMaxRole}) {
      Rollout rollout(mode, {"p", "d"});
      uint64_t id = 0;
      Add(rollout, id, "v1", c.prefill1, c.decode1);
      Add(rollout, id, "v2", c.prefill2, c.decode2);
      const double second = mode == Mode::kSum ? c.sum : c.max_role;
      EXPECT_THAT(rollout.Shares(), ElementsAre(Is("v1", 1 - second), Is("v2", second)));
      Add(rollout, id, "v3", 100, 0);
      EXPECT_THAT(rollout.Shares(), ElementsAre(Is("v1", 1 - second), Is("v2", second)));
    }
  }
}

TEST(Rollout, RanksOfAPodCountOnce) {
  Rollout rollout(Mode::kSum, {"d"});
  rollout.Set(1, "10.0.0.1", "v1", "d");
  rollout.Set(2, "10.0.0.1", "v1", "d");
  rollout.Set(3, "10.0.0.2", "v2", "d");
  EXPECT_THAT(rollout.Shares(), ElementsAre(Is("v1", 0.5), Is("v2", 0.5)));
  rollout.Remove(1);
  EXPECT_THAT(rollout.Shares(), ElementsAre(Is("v1", 0.5), Is("v2", 0.5)));
  rollout.Remove(2);
  EXPECT_THAT(rollout.Shares(), ElementsAre(Is("v2", 1)));
}

TEST(Rollout, ChangedLabels) {
  Rollout rollout(Mode::kSum, {"d"});
  rollout.Set(1, "10.0.0.1", "v1", "d");
  rollout.Set(1, "10.0.0.1", "v2", "d");
  EXPECT_THAT(rollout.Shares(), ElementsAre(Is("v2", 1)));
  rollout.Set(1, "10.0.0.1", "v2", "");
  EXPECT_THAT(rollout.Shares(), IsEmpty());
  rollout.Remove(1);
  rollout.Remove(99);
}

TEST(Rollout, Case107Draw) {
  const Share a{"v1", 0.75}, b{"v2", 0.25};
  EXPECT_EQ(Draw({&a, &b}, 0), &a);
  EXPECT_EQ(Draw({&a, &b}, 0.9), &b);
  EXPECT_EQ(Draw({&b}, 0.999), &b);
  EXPECT_EQ(Draw({}, 0.5), nullptr);
}

}  // namespace
}  // namespace epp::rollout
