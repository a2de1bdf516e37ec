#include "host/scheduling/gates.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/scheduling/test_rig.h"

namespace epp::scheduling {
namespace {

using telemetry::GateKind;
using test::Rig;
using testing::ElementsAre;
using testing::IsEmpty;

test::Lambda::FilterFn Only(std::vector<uint32_t> rows) {
  return [rows](const Call&, const Candidates& in, epp::Keep& keep) {
    for (size_t i = 0; i < in.size(); ++i) {
      keep.SetIf(i, std::find(rows.begin(), rows.end(), in.row(i)) != rows.end());
    }
    return Status();
  };
}

std::vector<uint32_t> FrameRows(const Rig& rig) {
  const CandidateList& list = *rig.context.candidates;
  const uint32_t* rows = list.frame_rows();
  std::vector<uint32_t> out;
  for (uint32_t i = 0; i < list.size(); ++i) out.push_back(rows ? rows[i] : i);
  return out;
}

TEST(ScreenTest, EveryScreenerSeesAllAndTheResultsAreIntersected) {
  struct Case {
    const char* name;
    std::vector<std::vector<uint32_t>> kept;
    std::vector<uint32_t> left;
  };
  const Case cases[] = {
      {"NoScreener", {}, {0, 1, 2, 3}},
      {"AllStay", {{0, 1, 2, 3}}, {0, 1, 2, 3}},
      {"One", {{1, 3}}, {1, 3}},
      {"Two", {{0, 1, 3}, {1, 2, 3}}, {1, 3}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Rig rig(4);
    std::vector<size_t> seen;
    for (const auto& rows : c.kept) {
      rig.AddScreener("s", [&seen, rows](const Call& call, const Candidates& in, epp::Keep& keep) {
        seen.push_back(in.size());
        return Only(rows)(call, in, keep);
      });
    }
    rig.Begin();
    ASSERT_FALSE(Screen(rig.context));
    EXPECT_EQ(FrameRows(rig), c.left);
    EXPECT_THAT(seen, testing::Each(4u));
  }
}

TEST(ScreenTest, NobodyLeftIsUnavailableAndRecorded) {
  Rig rig(3);
  rig.record.emplace();
  rig.AddScreener("a", Only({0}));
  rig.AddScreener("b", Only({1, 2}));
  rig.AddScreener("c", Only({0, 1, 2}));
  rig.Begin();
  const auto error = Screen(rig.context);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::kServiceUnavailable);
  EXPECT_EQ(error->message, "screeners eliminated all endpoint candidates");
  EXPECT_EQ(error->drop_reason, kRejectedNoEndpoints);
  EXPECT_THAT(rig.watch.called, ElementsAre("a", "b", "c"));
  ASSERT_EQ(rig.record->gate_count, 3);
  EXPECT_EQ(rig.record->gates[1].kind, GateKind::kScreener);
  EXPECT_EQ(rig.record->gates[1].in, 3u);
  EXPECT_EQ(rig.record->gates[1].out, 2u);
}

TEST(ScreenTest, AFailingScreenerKeepsAll) {
  Rig rig(2);
  rig.AddScreener("bad", [](const Call&, const Candidates&, epp::Keep&) {
    return Status(EPP_UNAVAILABLE, "broken");
  });
  rig.Begin();
  ASSERT_FALSE(Screen(rig.context));
  EXPECT_THAT(FrameRows(rig), ElementsAre(0, 1));
  EXPECT_THAT(rig.watch.failed, ElementsAre("bad 14 broken"));
}

TEST(ScreenTest, WhatIsProducedIsAboutTheEndpointsThatAreLeft) {
  Rig rig(4);
  rig.AddProfile("default");
  rig.AddScreener("s", Only({1, 3}));
  const auto* producer = rig.AddProducer(
      "p", EPP_T_I64, EPP_SCOPE_ENDPOINT, {},
      [](const Call&, const Candidates& in, epp::Outputs& out) {
        for (size_t i = 0; i < in.size(); ++i) {
          out.column<int64_t>(0)[i] = in.endpoint(i).name.data[in.endpoint(i).name.size - 1] - '0';
        }
        return Status();
      });
  BoundPlugin* scorer =
      rig.AddScorer(0, 1, [](const Call&, const Candidates& in, std::span<double> out) {
        const auto column = in.column<int64_t>(0);
        for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(column[i]) / 10;
        return Status();
      });
  rig.Read(scorer, producer->outputs[0]);
  rig.Begin();
  ASSERT_FALSE(Screen(rig.context));
  ASSERT_TRUE(Produce(rig.context));
  ASSERT_FALSE(Schedule(rig.context));
  EXPECT_THAT(rig.Totals(), ElementsAre(0.1, 0.3));
  EXPECT_THAT(rig.Targets(), ElementsAre(1u));
}

TEST(ScreenTest, AttributesOfProducersHaveNoValueYet) {
  Rig rig(2);
  rig.AddProducer("p", EPP_T_I64, EPP_SCOPE_ENDPOINT, {},
                  [](const Call&, const Candidates&, epp::Outputs&) { return Status(); });
  rig.AddProducer("q", EPP_T_I64, EPP_SCOPE_REQUEST, {},
                  [](const Call&, const Candidates&, epp::Outputs&) { return Status(); });
  bool any = true;
  BoundPlugin* screener =
      rig.AddScreener("s", [&](const Call& call, const Candidates& in, epp::Keep& keep) {
        any = in.column<int64_t>(0).has(0) || call.column<int64_t>(0).has(0);
        EXPECT_EQ(in.column<int64_t>(0).size(), 2u);
        keep.All();
        return Status();
      });
  rig.Read(screener, 0);
  rig.Read(screener, 1);
  rig.Begin();
  ASSERT_FALSE(Screen(rig.context));
  EXPECT_FALSE(any);
}

TEST(AdmitTest, TheFirstDenialEndsTheRequest) {
  Rig rig(2);
  rig.record.emplace();
  const auto yes = [](const Call&, const Candidates& in) {
    EXPECT_EQ(in.size(), 2u);
    return Status();
  };
  rig.AddAdmitter("yes", yes);
  rig.AddAdmitter("no", [](const Call&, const Candidates&) {
    return Status(EPP_RESOURCE_EXHAUSTED, "too busy");
  });
  rig.AddAdmitter("later", yes);
  rig.Begin();
  const auto error = Admit(rig.context);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(error->message, "request cannot be admitted: too busy");
  EXPECT_THAT(rig.watch.called, ElementsAre("yes", "no"));
  EXPECT_THAT(rig.watch.failed, IsEmpty());
  ASSERT_EQ(rig.record->gate_count, 1);
  EXPECT_EQ(rig.record->gates[0].kind, GateKind::kAdmitter);
  EXPECT_EQ(rig.record->gates[0].plugin, 2);
}

TEST(AdmitTest, AFailureAdmits) {
  for (const epp_status status : {EPP_INTERNAL, EPP_UNKNOWN}) {
    Rig rig(1);
    rig.AddAdmitter("bad",
                    [&](const Call&, const Candidates&) { return Status(status, "broken"); });
    rig.Begin();
    EXPECT_FALSE(Admit(rig.context));
    EXPECT_EQ(rig.watch.failed.size(), 1u);
  }
}

TEST(ReadHeadersTest, AttributesReachProducersAndMayBeMissing) {
  for (const bool present : {true, false}) {
    SCOPED_TRACE(present);
    Rig rig(1);
    const auto* header = rig.AddHeader("h", EPP_T_I64, [&](const Call&, epp::Outputs& out) {
      out.Set<int64_t>(0, 7);
      if (!present) out.ClearRequest(0);
      return Status();
    });
    int64_t read = -1;
    rig.AddProducer("p", EPP_T_I64, EPP_SCOPE_REQUEST, {header->request_outputs[0]},
                    [&](const Call& call, const Candidates&, epp::Outputs&) {
                      read = call.column<int64_t>(0)[0];
                      return Status();
                    });
    rig.Begin();
    ASSERT_FALSE(ReadHeaders(rig.context));
    ASSERT_TRUE(Produce(rig.context));
    // What it needs has no value: it does not run.
    EXPECT_EQ(read, present ? 7 : -1);
  }
}

TEST(ReadHeadersTest, AnErrorEndsTheRequest) {
  Rig rig(1);
  rig.record.emplace();
  const auto refuses = [](const Call&, epp::Outputs&) {
    return Status(EPP_UNAUTHENTICATED, "who are you?");
  };
  rig.AddHeader("h", EPP_T_I64, refuses);
  rig.AddHeader("later", EPP_T_I64, refuses);
  rig.Begin();
  const auto error = ReadHeaders(rig.context);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::kUnauthorized);
  EXPECT_EQ(error->message, "who are you?");
  EXPECT_THAT(rig.watch.called, ElementsAre("h"));
  ASSERT_EQ(rig.record->gate_count, 1);
  EXPECT_EQ(rig.record->gates[0].kind, GateKind::kHeaders);
}

}  // namespace
}  // namespace epp::scheduling
