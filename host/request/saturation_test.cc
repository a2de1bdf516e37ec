#include "host/request/saturation.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "host/base/clock.h"

namespace epp::request {
namespace {

constexpr uint64_t kStale = 200'000'000;

struct Server {
  int64_t queue = 0;
  double kv = 0;
  bool sampled = true;
};

class SaturationTest : public testing::Test {
 protected:
  double Of(const std::vector<Server>& servers, std::vector<uint32_t> rows = {}, bool all = true,
            uint64_t later_ns = 0) {
    clock_.Advance(1'000'000);
    pool::Pool pool(std::make_shared<pool::AttributeRegistry>(), std::make_shared<Interner>(),
                    &clock_, pool::Pool::Options());
    for (size_t i = 0; i < servers.size(); ++i) {
      pool.Upsert({"default", std::to_string(i), "10.0.0." + std::to_string(i + 1), 80, 0, {}});
    }
    pool.Publish();
    const auto frame = pool.current();
    for (size_t i = 0; i < servers.size(); ++i) {
      if (!servers[i].sampled) continue;
      std::vector<pool::AttributeValue> values(2);
      values[0].id =
          *pool.attributes().Register("WaitingQueueSize", "core-metrics-extractor", EPP_T_I64);
      values[0].i64 = servers[i].queue;
      values[1].id =
          *pool.attributes().Register("KVCacheUsagePercent", "core-metrics-extractor", EPP_T_F64);
      values[1].f64 = servers[i].kv;
      pool.Update(frame->endpoints()[i]->id, values, true);
    }
    pool.Publish();
    return Saturation(pool, *pool.current(), rows, all, clock_.mono_ns() + later_ns, kStale);
  }
  FakeClock clock_;
};

TEST_F(SaturationTest, MeanOfTheLargerShare) {
  EXPECT_DOUBLE_EQ(Of({}), 1);
  EXPECT_DOUBLE_EQ(Of({{0, 0}}), 0);
  EXPECT_DOUBLE_EQ(Of({{5, 0}}), 1);
  EXPECT_DOUBLE_EQ(Of({{0, 0.8}}), 1);
  EXPECT_DOUBLE_EQ(Of({{4, 0.4}}), 0.8);
  EXPECT_DOUBLE_EQ(Of({{20, 0}, {0, 0}}), 2);
  EXPECT_DOUBLE_EQ(Of({{20, 0}, {0, 0.4}}), 2.25);
}

TEST_F(SaturationTest, OfTheRowsAlone) {
  EXPECT_DOUBLE_EQ(Of({{20, 0}, {0, 0}, {5, 0}}, {1, 2}, false), 0.5);
  EXPECT_DOUBLE_EQ(Of({{20, 0}}, {}, false), 1);
}

TEST_F(SaturationTest, UnknownAndOldValuesCountAsFull) {
  EXPECT_DOUBLE_EQ(Of({{0, 0, false}, {0, 0}}), 0.5);
  EXPECT_DOUBLE_EQ(Of({{0, 0}}, {}, true, kStale), 0);
  EXPECT_DOUBLE_EQ(Of({{0, 0}}, {}, true, kStale + 1), 1);
}

}  // namespace
}  // namespace epp::request
