#include "tests/sim/control.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace epp::sim {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::HasSubstr;

TEST(FaultTest, ReadsAllItsMembers) {
  const auto fault = ParseFault(R"({"kind": "slow_headers", "server": "sim-1", "path": "/v1",
      "rate": 0.5, "count": 3, "status": 500, "delay_ms": 40, "after_events": 0, "bytes": 10,
      "for_ms": 7})");
  ASSERT_TRUE(fault.ok()) << fault.status();
  EXPECT_EQ(fault->kind, FaultKind::kSlowHeaders);
  EXPECT_EQ(fault->server, "sim-1");
  EXPECT_EQ(fault->path, "/v1");
  EXPECT_EQ(fault->rate, 0.5);
  EXPECT_EQ(fault->count, 3u);
  EXPECT_EQ(fault->status, 500);
  EXPECT_EQ(fault->delay, milliseconds(40));
  EXPECT_EQ(fault->after_events, 0u);
  EXPECT_EQ(fault->bytes, 10u);
  EXPECT_EQ(fault->for_time, milliseconds(7));
}

TEST(FaultTest, RefusesWhatItDoesNotKnow) {
  for (const auto& [text, error] : {
           std::pair("", "want a JSON object"),
           {"{}", "kind: got \"\", want one of: none die hang"},
           {R"({"kind": "explode"})", "kind: got \"explode\""},
           {R"({"kind": 3})", "kind: got 3"},
           {R"({"kind": "hang", "rate": 2})", "rate: got 2, want a number in [0, 1]"},
           {R"({"kind": "hang", "count": 0})", "count: got 0"},
           {R"({"kind": "hang", "status": 200})", "status: got 200"},
           {R"({"kind": "hang", "dealy_ms": 2})", "dealy_ms: not known, want one of: kind server"},
       }) {
    const auto fault = ParseFault(text);
    ASSERT_EQ(fault.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(fault.status().message()), HasSubstr(error));
  }
}

TEST(FaultSetTest, RateHitsEvenlyAndCountEnds) {
  FaultSet faults;
  Fault fault;
  fault.kind = FaultKind::kHttpError;
  fault.rate = 0.1;
  fault.count = 3;
  faults.Set(fault);
  std::vector<int> hits;
  for (int i = 1; i <= 100; ++i) {
    if (faults.Hit(FaultKind::kHttpError, "/v1/models")) hits.push_back(i);
  }
  EXPECT_THAT(hits, testing::ElementsAre(10, 20, 30));
}

TEST(FaultSetTest, MatchesPathAndKindAndIsReplaced) {
  FaultSet faults;
  Fault fault;
  fault.kind = FaultKind::kHttpError;
  fault.path = "/v1/";
  faults.Set(fault);
  EXPECT_FALSE(faults.Hit(FaultKind::kHttpError, "/metrics"));
  EXPECT_FALSE(faults.Hit(FaultKind::kHang, "/v1/models"));
  EXPECT_TRUE(faults.Hit(FaultKind::kHttpError, "/v1/models"));
  fault.status = 500;
  faults.Set(fault);
  EXPECT_EQ(faults.Hit(FaultKind::kHttpError, "/v1/models")->status, 500);
  EXPECT_EQ(json::parse(faults.Json())["faults"].size(), 1u);
  faults.Set(Fault());
  EXPECT_FALSE(faults.Hit(FaultKind::kHttpError, "/v1/models"));
}

TEST(PinnedMetricsTest, AbsentMembersAreNotPinned) {
  const auto pinned = ParsePinnedMetrics(R"({"waiting": 3, "kv": 0.5})");
  ASSERT_TRUE(pinned.ok());
  EXPECT_EQ(pinned->waiting, 3);
  EXPECT_EQ(pinned->running, std::nullopt);
  EXPECT_EQ(pinned->kv, 0.5);
  EXPECT_FALSE(ParsePinnedMetrics(R"({"kv": "high"})").ok());
}

TEST(RequestLogTest, KeepsTheLastOnes) {
  RequestLog log(2);
  for (const char* path : {"/a", "/b", "/c"}) {
    LoggedRequest entry;
    entry.path = path;
    entry.headers = {{"X", "\xff"}, {"x", "2"}};
    log.Add(entry);
  }
  EXPECT_EQ(log.Find(0), nullptr);
  EXPECT_EQ(log.Find(1), nullptr);
  ASSERT_NE(log.Find(3), nullptr);
  EXPECT_EQ(log.Find(3)->path, "/c");
  EXPECT_EQ(log.Find(4), nullptr);
  const json all = json::parse(log.Json("sim"));
  EXPECT_EQ(all["total"], 3);
  EXPECT_EQ(all["requests"].size(), 2u);
  EXPECT_EQ(all["requests"][0]["path"], "/b");
  EXPECT_EQ(all["requests"][0]["headers"][1], json::array({"x", "2"}));
  log.Clear();
  EXPECT_EQ(log.Find(3), nullptr);
  EXPECT_EQ(json::parse(log.Json("sim"))["total"], 3);
}

}  // namespace
}  // namespace epp::sim
