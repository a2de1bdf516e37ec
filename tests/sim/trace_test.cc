#include "tests/sim/trace.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;

TEST(TraceTest, ReadsMooncakeInOrderOfArrival) {
  const auto trace = ParseMooncakeTrace(
      "{\"timestamp\": 1500, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [0, 7]}\r\n"
      "\n"
      "{\"timestamp\": 1000, \"input_length\": 10, \"output_length\": 0, \"hash_ids\": []}\n"
      "{\"timestamp\": 1500.5, \"input_length\": 1, \"output_length\": 2, \"extra\": null}",
      "t");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->size(), 3u);
  EXPECT_EQ((*trace)[0].arrival, milliseconds(0));
  EXPECT_EQ((*trace)[0].prompt_tokens, 10u);
  EXPECT_EQ((*trace)[1].arrival, milliseconds(500));
  EXPECT_EQ((*trace)[1].output_tokens, 5u);
  EXPECT_THAT((*trace)[1].hash_ids, ElementsAre(0, 7));
  EXPECT_EQ((*trace)[2].arrival, microseconds(500'500));
  EXPECT_THAT((*trace)[2].hash_ids, IsEmpty());
}

TEST(TraceTest, ReadsAzureWithEitherLineEndAndZone) {
  const auto trace = ParseAzureTrace(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
      "2023-12-31 23:59:59.9799600,4808,10\r\n"
      "2024-01-01 00:00:00.0000001+00:00,3180,8\n"
      "2024-01-01 00:00:01,1,0",
      "t");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->size(), 3u);
  EXPECT_EQ((*trace)[0].prompt_tokens, 4808u);
  EXPECT_EQ((*trace)[0].output_tokens, 10u);
  EXPECT_EQ((*trace)[1].arrival, std::chrono::nanoseconds(20'040'100));
  EXPECT_EQ((*trace)[2].arrival, std::chrono::nanoseconds(1'020'040'000));
}

TEST(TraceTest, EmptyTextIsAnEmptyTrace) {
  EXPECT_THAT(*ParseMooncakeTrace("\n \n", "t"), IsEmpty());
  EXPECT_THAT(*ParseAzureTrace("", "t"), IsEmpty());
}

struct BadLine {
  const char* name;
  const char* text;
  const char* error;
};

void PrintTo(const BadLine& c, std::ostream* os) { *os << c.name; }

class BadMooncakeTest : public testing::TestWithParam<BadLine> {};

TEST_P(BadMooncakeTest, NamesLineAndReason) {
  const std::string text =
      std::string("{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1}\n\n") +
      GetParam().text + "\n";
  const auto trace = ParseMooncakeTrace(text, "trace.jsonl");
  ASSERT_EQ(trace.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(trace.status().message()),
              StartsWith(std::string("trace.jsonl:3: ") + GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadMooncakeTest,
    testing::Values(
        BadLine{"NotJson", "{\"timestamp\": 0,", "got \"{"},
        BadLine{"NotAnObject", "[1]", "got \"[1]\", want a JSON object"},
        BadLine{"NoTimestamp", "{\"input_length\": 1, \"output_length\": 1}", "timestamp: missing"},
        BadLine{"NegativeTime", "{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1}",
                "timestamp: got -1"},
        BadLine{"HugeTime", "{\"timestamp\": 1e300, \"input_length\": 1, \"output_length\": 1}",
                "timestamp: got 1e+300"},
        BadLine{"NoInput", "{\"timestamp\": 0, \"output_length\": 1}", "input_length: missing"},
        BadLine{"TextLength", "{\"timestamp\": 0, \"input_length\": \"9\", \"output_length\": 1}",
                "input_length: got \"\"9\"\""},
        BadLine{"HugeLength",
                "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 9999999999999}",
                "output_length: got \"9999999999999\""},
        BadLine{"IdsNotAList",
                "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": 3}",
                "hash_ids: not a list"},
        BadLine{"NegativeId",
                "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, "
                "\"hash_ids\": [1, -2]}",
                "hash_ids[1]: got \"-2\""}),
    [](const auto& info) { return info.param.name; });

class BadAzureTest : public testing::TestWithParam<BadLine> {};

TEST_P(BadAzureTest, NamesLineAndReason) {
  const auto trace = ParseAzureTrace(GetParam().text, "azure.csv");
  ASSERT_EQ(trace.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(trace.status().message()),
              StartsWith(std::string("azure.csv:") + GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadAzureTest,
    testing::Values(
        BadLine{"Header", "a,b,c\n", "1: header: got \"a,b,c\""},
        BadLine{"Fields",
                "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808\n",
                "2: got 2 fields, want 3"},
        BadLine{"Time", "TIMESTAMP,ContextTokens,GeneratedTokens\n\nyesterday,1,2\n",
                "3: TIMESTAMP: got \"yesterday\""},
        BadLine{"Fraction",
                "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97x,1,2\n",
                "2: TIMESTAMP: got"},
        BadLine{"Tokens", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,-1,2\n",
                "2: ContextTokens: got \"-1\""}),
    [](const auto& info) { return info.param.name; });

TEST(TraceTest, ReadTraceTellsTheKindByItsFirstLine) {
  const std::string path = testing::TempDir() + "/sim_trace_test.txt";
  std::ofstream(path) << "{\"timestamp\": 0, \"input_length\": 3, \"output_length\": 1}\n";
  EXPECT_EQ(ReadTrace(path)->front().prompt_tokens, 3u);
  std::ofstream(path) << "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,4,2\n";
  EXPECT_EQ(ReadTrace(path)->front().prompt_tokens, 4u);
  std::filesystem::remove(path);
  EXPECT_EQ(ReadTrace(path).status().code(), absl::StatusCode::kNotFound);
}

// The public traces are read when a directory with them is given.
TEST(TraceTest, ReadsThePublicTraces) {
  const char* directory = std::getenv("EPP_TRACES");
  if (directory == nullptr) GTEST_SKIP() << "EPP_TRACES is not set";
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const auto trace = ReadTrace(entry.path().string());
    ASSERT_TRUE(trace.ok()) << trace.status();
    EXPECT_GT(trace->size(), 1000u) << entry.path();
  }
}

}  // namespace
}  // namespace epp::sim
