#include "host/request/splice.h"

#include <gtest/gtest.h>

#include <string>

namespace epp::request {
namespace {

struct SpliceCase {
  const char* name;
  const char* body;
  const char* model_value;  // the text in body that is replaced, null: absent
  uint64_t members;
  const char* to;
  const char* expected;
};

void PrintTo(const SpliceCase& c, std::ostream* os) { *os << c.name; }

class SpliceModelTest : public testing::TestWithParam<SpliceCase> {};

TEST_P(SpliceModelTest, ChangesOnlyTheModel) {
  const SpliceCase& c = GetParam();
  const std::string body = c.body;
  epp_parsed parsed{};
  parsed.member_count = c.members;
  if (c.model_value) {
    parsed.flags = EPP_PARSED_MODEL_PRESENT;
    parsed.model_offset = body.find(c.model_value);
    parsed.model_size = std::string(c.model_value).size();
  } else {
    parsed.model_offset = body.find('{') + 1;
  }
  BlockCache blocks;
  Arena arena(&blocks);
  std::string joined;
  for (const std::string_view piece : SpliceModel(body, parsed, c.to, arena)) joined += piece;
  EXPECT_EQ(joined, c.expected);
}

INSTANTIATE_TEST_SUITE_P(
    Table, SpliceModelTest,
    testing::Values(
        SpliceCase{"Replaces", R"({"model":"a","prompt":"x"})", R"("a")", 2, "b",
                   R"({"model":"b","prompt":"x"})"},
        SpliceCase{"KeepsSpacesAndOrder", "{ \"prompt\" : \"x\",\n \"model\" : \"a\" }", "\"a\"", 2,
                   "b", "{ \"prompt\" : \"x\",\n \"model\" : \"b\" }"},
        SpliceCase{"AddsWithComma", R"({"prompt":"x"})", nullptr, 1, "b",
                   R"({"model":"b","prompt":"x"})"},
        SpliceCase{"AddsToEmpty", R"({})", nullptr, 0, "b", R"({"model":"b"})"},
        SpliceCase{"EscapesTheName", R"({"model":"a"})", R"("a")", 1, "b\"\n",
                   R"({"model":"b\"\n"})"},
        SpliceCase{"C145_KeepsDigits", R"({"seed":9007199254740993,"model":"a"})", R"("a")", 2,
                   "longer-name", R"({"seed":9007199254740993,"model":"longer-name"})"},
        SpliceCase{"ReplacesNull", R"({"model":null})", "null", 1, "b", R"({"model":"b"})"}),
    [](const auto& info) { return info.param.name; });

struct RewriteCase {
  const char* name;
  const char* in;
  const char* expected;  // null: unchanged
};

void PrintTo(const RewriteCase& c, std::ostream* os) { *os << c.name; }

class RewriteResponseModelTest : public testing::TestWithParam<RewriteCase> {};

TEST_P(RewriteResponseModelTest, C033_GivesTheClientItsName) {
  std::string out = "untouched";
  const bool changed = RewriteResponseModel(GetParam().in, "target", "client", &out);
  EXPECT_EQ(changed, GetParam().expected != nullptr);
  EXPECT_EQ(out, changed ? GetParam().expected : "untouched");
}

INSTANTIATE_TEST_SUITE_P(
    Table, RewriteResponseModelTest,
    testing::Values(RewriteCase{"Compact", R"({"model":"target","x":1})",
                                R"({"model":"client","x":1})"},
                    RewriteCase{"OneSpace", R"({"model": "target"})", R"({"model": "client"})"},
                    RewriteCase{"EveryOccurrence", R"("model":"target""model":"target")",
                                R"("model":"client""model":"client")"},
                    RewriteCase{"SseChunk", "data: {\"model\":\"target\"}\n\n",
                                "data: {\"model\":\"client\"}\n\n"},
                    RewriteCase{"CompactWinsOverSpaced", R"("model":"target" "model": "target")",
                                R"("model":"client" "model": "target")"},
                    RewriteCase{"Done", "data: [DONE]\n\n", nullptr},
                    RewriteCase{"OtherModel", R"({"model":"targets"})", nullptr},
                    RewriteCase{"NoModel", R"({"x":1})", nullptr},
                    RewriteCase{"Empty", "", nullptr}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace epp::request
