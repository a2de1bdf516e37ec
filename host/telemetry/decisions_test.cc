#include "host/telemetry/decisions.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::telemetry {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

DecisionRecord Record(Outcome outcome = Outcome::kPending) {
  DecisionRecord record{};
  record.outcome = outcome;
  return record;
}

std::vector<uint64_t> Numbers(const DecisionRings& rings) {
  std::vector<uint64_t> numbers;
  rings.Visit([&](const DecisionRecord& r) {
    numbers.push_back(r.number);
    return true;
  });
  return numbers;
}

TEST(FixedTextTest, CutsAtACharacter) {
  FixedText<6> text;
  text.Set("abcd\xC3\xA9");
  EXPECT_EQ(text.view(), "abcd");
  text.Set("abc\xC3\xA9");
  EXPECT_EQ(text.view(), "abc\xC3\xA9");
  text.Set("");
  EXPECT_EQ(text.view(), "");
  text.Set("\x80\x80\x80\x80\x80\x80\x80");
  EXPECT_EQ(text.view(), "");
}

TEST(DecisionRingsTest, NewestFirstOverAllWorkers) {
  DecisionRings rings(2, {.records = 8, .failures = 2});
  for (uint32_t i = 0; i < 5; ++i) {
    DecisionRecord record = Record();
    EXPECT_EQ(rings.Add(i % 2, record).number, i + 1);
    EXPECT_EQ(record.number, i + 1);
  }
  EXPECT_THAT(Numbers(rings), ElementsAre(5u, 4u, 3u, 2u, 1u));
  EXPECT_EQ(rings.total(), 5u);
  std::vector<uint64_t> first;
  rings.Visit([&](const DecisionRecord& r) {
    first.push_back(r.number);
    return first.size() < 2;
  });
  EXPECT_THAT(first, ElementsAre(5u, 4u));
}

TEST(DecisionRingsTest, TheOldestGoFailuresStay) {
  DecisionRings rings(1, {.records = 3, .failures = 2});
  for (const Outcome outcome : {Outcome::kRejected, Outcome::kError, Outcome::kOk, Outcome::kError,
                                Outcome::kOk, Outcome::kPending, Outcome::kAborted, Outcome::kOk}) {
    DecisionRecord record = Record(outcome);
    rings.Add(0, record);
  }
  EXPECT_THAT(Numbers(rings), ElementsAre(8u, 7u, 6u, 4u, 2u));
}

TEST(DecisionRingsTest, OffKeepsNothingButCounts) {
  DecisionRings rings(2, {.records = 0, .failures = 4});
  EXPECT_FALSE(rings.enabled());
  DecisionRecord record = Record(Outcome::kError);
  const DecisionTicket ticket = rings.Add(1, record);
  EXPECT_EQ(ticket.number, 0u);
  EXPECT_EQ(record.number, 1u);
  rings.Amend(ticket, [](DecisionRecord&) { FAIL(); });
  EXPECT_THAT(Numbers(rings), IsEmpty());
  EXPECT_EQ(rings.total(), 1u);
}

TEST(DecisionRingsTest, AmendChangesTheRecordWhileItIsThere) {
  DecisionRings rings(1, {.records = 2, .failures = 1});
  DecisionRecord record = Record();
  const DecisionTicket first = rings.Add(0, record);
  rings.Amend(first, [](DecisionRecord& r) { r.outcome = Outcome::kOk; });
  rings.Visit([](const DecisionRecord& r) {
    EXPECT_EQ(r.outcome, Outcome::kOk);
    return true;
  });
  rings.Add(0, record);
  rings.Add(0, record);  // takes the slot of the first
  rings.Amend(first, [](DecisionRecord&) { FAIL() << "another record's slot"; });
}

TEST(DecisionRingsTest, CopiesTheCellsInUse) {
  DecisionRings rings(1, {.records = 1, .failures = 1});
  DecisionRecord record = Record();
  record.cells_used = 3;
  record.cells[2] = 7;
  record.request_id.Set("id");
  rings.Add(0, record);
  rings.Visit([](const DecisionRecord& r) {
    EXPECT_EQ(r.cells_used, 3);
    EXPECT_EQ(r.cells[2], 7);
    EXPECT_EQ(r.request_id.view(), "id");
    return true;
  });
}

// Readers never see half a record, and amendments arrive although they read all the time.
TEST(DecisionRingsTest, ReadersBesideWriters) {
  constexpr uint32_t kWorkers = 2;
  constexpr int kRecords = 4000;
  DecisionRings rings(kWorkers, {.records = 64, .failures = 16});
  std::atomic<bool> stop{false};
  std::atomic<int> amended{0};
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      DecisionRecord record = Record();
      for (int i = 0; i < kRecords; ++i) {
        record.outcome = i % 3 ? Outcome::kPending : Outcome::kError;
        record.body_bytes = static_cast<uint64_t>(i);
        record.cells_used = static_cast<uint16_t>(1 + i % 600);
        for (size_t c = 0; c < record.cells_used; ++c) record.cells[c] = i;
        const DecisionTicket ticket = rings.Add(w, record);
        rings.Amend(ticket, [&](DecisionRecord& r) {
          r.ttft_ns = r.body_bytes + 1;
          amended.fetch_add(1, std::memory_order_relaxed);
        });
      }
    });
  }
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&] {
      while (!stop.load()) {
        uint64_t last = UINT64_MAX;
        rings.Visit([&](const DecisionRecord& record) {
          EXPECT_LT(record.number, last);
          last = record.number;
          const auto value = static_cast<double>(record.body_bytes);
          for (size_t c = 0; c < record.cells_used; ++c) EXPECT_EQ(record.cells[c], value);
          EXPECT_TRUE(record.ttft_ns == 0 || record.ttft_ns == record.body_bytes + 1 ||
                      record.outcome == Outcome::kError);
          return !testing::Test::HasFailure();
        });
      }
    });
  }
  for (std::thread& t : threads) t.join();
  stop = true;
  for (std::thread& t : readers) t.join();
  EXPECT_EQ(rings.total(), uint64_t{kWorkers} * kRecords);
  // A record may find both of its slots read, or its reader preempted; that must be rare.
  EXPECT_GT(amended.load(), kWorkers * kRecords * 9 / 10);
  EXPECT_GE(Numbers(rings).size(), 64u);
}

}  // namespace
}  // namespace epp::telemetry
