#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::View;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(ModelsDataSource, Plan) {
  auto source = epp::test::Make("models-data-source", {{"interval", "10s"}});
  const auto plan = source.Plan();
  ASSERT_TRUE(plan);
  EXPECT_EQ(View(plan->path), "/v1/models");
  EXPECT_EQ(View(plan->payload), "openai-models");
  EXPECT_EQ(plan->interval_ns, 10'000'000'000u);
}

TEST(ModelsDataExtractor, ReadsTheIds) {
  auto extractor = epp::test::Make("models-data-extractor", {});
  const auto p = extractor.Scrape(R"({"object":"list","data":[
    {"id":"meta-llama/Llama-3.1-8B-Instruct","object":"model","created":1,"owned_by":"vllm","parent":null},
    {"id":"sql-lora","object":"model","parent":"meta-llama/Llama-3.1-8B-Instruct"},
    {"id":"caf\u00e9"}]})");
  EXPECT_EQ(extractor.status(), EPP_OK) << extractor.error();
  EXPECT_THAT(p.value("/v1/models").texts(),
              ElementsAre("meta-llama/Llama-3.1-8B-Instruct", "sql-lora", "caf\xc3\xa9"));
}

TEST(ModelsDataExtractor, EntriesWithoutIdAreLeftOut) {
  auto extractor = epp::test::Make("models-data-extractor", {});
  const auto p = extractor.Scrape(R"({"data":[{"id":""},{"id":7},{},5,null,{"id":"a"}]})");
  EXPECT_THAT(p.value("/v1/models").texts(), ElementsAre("a"));
  EXPECT_TRUE(extractor.Scrape(R"({"data":[]})").has("/v1/models")) << "none is an answer";
}

TEST(ModelsDataExtractor, OtherPagesAreErrors) {
  auto extractor = epp::test::Make("models-data-extractor", {});
  for (const char* page : {"", "{", "[]", "null", "{}", "{\"data\":{}}", "{\"data\":[}", "<html>",
                           "{\"data\":[{\"id\":\"a\"}", "\xff\xfe"}) {
    const auto p = extractor.Scrape(page);
    EXPECT_EQ(extractor.status(), EPP_INVALID_ARGUMENT) << page;
    EXPECT_THAT(p.request, IsEmpty()) << page;
  }
}

TEST(ModelsDataExtractor, DeepNestingIsAnError) {
  auto extractor = epp::test::Make("models-data-extractor", {});
  extractor.Scrape("{\"data\":" + std::string(1 << 20, '['));
  EXPECT_EQ(extractor.status(), EPP_INVALID_ARGUMENT);
}

}  // namespace
