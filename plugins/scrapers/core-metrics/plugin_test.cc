#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "epp/testing.hpp"

namespace {

using epp::test::Cell;
using epp::test::Instance;
using epp::test::Params;
using epp::test::Produced;
using testing::ElementsAre;
using testing::HasSubstr;

// As the servers write them, cut down to what surrounds the wanted lines.
constexpr const char* kVllm =
    R"(# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 12.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 3.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 0.4375
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 0.0
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",enable_prefix_caching="True",engine="0",gpu_memory_utilization="0.9",num_cpu_blocks="None",num_gpu_blocks="27146"} 1.0
# TYPE vllm:lora_requests_info gauge
vllm:lora_requests_info{max_lora="4",running_lora_adapters="",waiting_lora_adapters=""} 1.75e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="sql-lora, tweet-lora",waiting_lora_adapters="food-review,"} 1.7500001e+09
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="meta-llama/Llama-3.1-8B-Instruct"} 0.0
)";

constexpr const char* kVllmDataParallel =
    R"(vllm:num_requests_running{engine="0",model_name="m"} 4.0
vllm:num_requests_running{engine="1",model_name="m"} 8.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:num_requests_waiting{engine="1",model_name="m"} 5.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
)";

constexpr const char* kSglang = R"(# HELP sglang:num_running_reqs The number of running requests.
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="meta-llama/Llama-3.1-8B-Instruct"} 162.0
sglang:token_usage{model_name="meta-llama/Llama-3.1-8B-Instruct"} 0.28
sglang:num_queue_reqs{model_name="meta-llama/Llama-3.1-8B-Instruct"} 2826.0
sglang:cache_config_info{num_pages="2000",page_size="64"} 1.0
)";

constexpr const char* kTrtllmServe = R"(trtllm_num_requests_waiting{model_name="m"} 6
trtllm_num_requests_running{model_name="m"} 9
trtllm_kv_cache_utilization{model_name="m"} 0.5
trtllm_kv_cache_tokens_per_block{model_name="m"} 32
trtllm_kv_cache_max_blocks{model_name="m"} 1234
)";

constexpr const char* kTritonTrtllm = R"(# TYPE nv_trt_llm_request_metrics gauge
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="context",version="1"} 1
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 11
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 512
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"} 12
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 2
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.0625
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="tokens_per",model="tensorrt_llm",version="1"} 64
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="tensorrt_llm",version="1"} 1
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="tensorrt_llm",version="1"} 6239
)";

constexpr const char* kTriton = R"(nv_inference_exec_count{model="m",version="1"} 41
nv_inference_pending_request_count{model="m",version="1"} 4
)";

std::unique_ptr<Instance> Extractor(Params params = {}, epp::test::Host* host = nullptr) {
  return std::make_unique<Instance>(*epp_plugin_entry_v1(EPP_ABI_MAJOR, EPP_ABI_MINOR)->types[0],
                                    params, host);
}

class EngineTest : public testing::Test {
 protected:
  // An endpoint with these labels.
  Produced Scrape(Instance& extractor, std::string_view page,
                  std::vector<std::pair<std::string, std::string>> labels = {}) {
    std::vector<epp_label> views;
    for (const auto& [key, value] : labels) views.push_back({epp::Str(key), epp::Str(value)});
    epp_endpoint endpoint{};
    endpoint.struct_size = sizeof(endpoint);
    endpoint.labels = views.data();
    endpoint.label_count = static_cast<uint32_t>(views.size());
    return extractor.Scrape(page, endpoint);
  }
  Produced Scrape(Instance& extractor, std::string_view page, const std::string& engine) {
    return Scrape(extractor, page, {{"llm-d.ai/engine-type", engine}});
  }
  static int64_t I(const Produced& p, const epp::AttributeKind& kind) {
    return p.value(kind.key).i64();
  }
};

TEST_F(EngineTest, Vllm) {
  auto extractor = Extractor();
  ASSERT_TRUE(extractor->ok()) << extractor->error();
  const Produced p = Scrape(*extractor, kVllm, std::vector<std::pair<std::string, std::string>>{});
  EXPECT_EQ(extractor->status(), EPP_OK);
  EXPECT_EQ(I(p, epp::attr::kWaitingQueueSize), 3);
  EXPECT_EQ(I(p, epp::attr::kRunningRequestsSize), 12);
  EXPECT_EQ(p.value(epp::attr::kKvCacheUsage.key).f64(), 0.4375);
  EXPECT_EQ(I(p, epp::attr::kCacheBlockSize), 16);
  EXPECT_EQ(I(p, epp::attr::kCacheNumBlocks), 27146);
  EXPECT_EQ(I(p, epp::attr::kMaxActiveModels), 4);
  EXPECT_THAT(p.value(epp::attr::kActiveModels.key).texts(), ElementsAre("sql-lora", "tweet-lora"))
      << "the newest series, which has the greatest value";
  EXPECT_THAT(p.value(epp::attr::kWaitingModels.key).texts(), ElementsAre("food-review"));
}

TEST_F(EngineTest, VllmWithSeveralEnginesOnOnePage) {
  auto extractor = Extractor();
  const Produced p = Scrape(*extractor, kVllmDataParallel, "vllm");
  EXPECT_EQ(I(p, epp::attr::kWaitingQueueSize), 5);
  EXPECT_EQ(I(p, epp::attr::kRunningRequestsSize), 12);
  EXPECT_EQ(p.value(epp::attr::kKvCacheUsage.key).f64(), 0.5);
  EXPECT_FALSE(p.has(epp::attr::kActiveModels.key));
}

struct EngineCase {
  const char* engine;
  const char* page;
  int64_t waiting, running;
  double kv;
  int64_t block_size, num_blocks;
};

TEST_F(EngineTest, OtherServers) {
  auto extractor = Extractor();
  for (const EngineCase& c :
       {EngineCase{"sglang", kSglang, 2826, 162, 0.28, 64, 2000},
        EngineCase{"trtllm-serve", kTrtllmServe, 6, 9, 0.5, 32, 1234},
        EngineCase{"triton-tensorrt-llm", kTritonTrtllm, 2, 11, 0.0625, 64, 6239},
        EngineCase{"triton", kTriton, 4, 41, -1, -1, -1}}) {
    const Produced p = Scrape(*extractor, c.page, c.engine);
    EXPECT_EQ(extractor->status(), EPP_OK) << c.engine;
    EXPECT_EQ(I(p, epp::attr::kWaitingQueueSize), c.waiting) << c.engine;
    EXPECT_EQ(I(p, epp::attr::kRunningRequestsSize), c.running) << c.engine;
    EXPECT_EQ(p.has(epp::attr::kKvCacheUsage.key), c.kv >= 0) << c.engine;
    if (c.kv < 0) continue;
    EXPECT_EQ(p.value(epp::attr::kKvCacheUsage.key).f64(), c.kv) << c.engine;
    EXPECT_EQ(I(p, epp::attr::kCacheBlockSize), c.block_size) << c.engine;
    EXPECT_EQ(I(p, epp::attr::kCacheNumBlocks), c.num_blocks) << c.engine;
  }
}

TEST_F(EngineTest, TheEngineIsChosenByLabel) {
  auto extractor = Extractor({{"engineLabelKey", "engine"}, {"defaultEngine", "sglang"}});
  const auto waiting = [&](std::vector<std::pair<std::string, std::string>> labels) {
    const Produced p = Scrape(*extractor, std::string(kVllm) + kSglang, std::move(labels));
    return I(p, epp::attr::kWaitingQueueSize);
  };
  EXPECT_EQ(waiting({}), 2826);
  EXPECT_EQ(waiting({{"engine", "vllm"}}), 3);
  EXPECT_EQ(waiting({{"engine", "unheard-of"}}), 2826);
  EXPECT_EQ(waiting({{"engine", ""}, {"inference.networking.k8s.io/engine-type", "vllm"}}), 3);
}

TEST_F(EngineTest, APageWithoutWantedMetricsIsNoSample) {
  auto extractor = Extractor();
  for (const char* page : {"", "\n", "<html>not found</html>", "go_gc_duration_seconds 1\n",
                           "vllm:num_requests_waiting", "vllm:num_requests_waiting NaN\n"}) {
    const Produced p = Scrape(*extractor, page, "vllm");
    EXPECT_EQ(extractor->status(), EPP_NOT_FOUND) << page;
    EXPECT_THAT(extractor->error(), HasSubstr("engine \"vllm\"")) << page;
    EXPECT_TRUE(p.request.empty()) << page;
  }
}

TEST_F(EngineTest, WhatIsThereCountsThoughOtherThingsAreBroken) {
  epp::test::Host host;
  auto extractor = Extractor({}, &host);
  const Produced p =
      Scrape(*extractor,
             "vllm:num_requests_waiting{ 3\n"
             "vllm:num_requests_running 1e300\n"
             "vllm:kv_cache_usage_perc NaN\n"
             "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1\n"
             "vllm:lora_requests_info{max_lora=\"x\",running_lora_adapters=\"a\"} 1\n",
             "vllm");
  EXPECT_EQ(extractor->status(), EPP_OK);
  EXPECT_FALSE(p.has(epp::attr::kWaitingQueueSize.key));
  EXPECT_EQ(I(p, epp::attr::kRunningRequestsSize), INT64_MAX);
  EXPECT_FALSE(p.has(epp::attr::kKvCacheUsage.key));
  EXPECT_EQ(I(p, epp::attr::kCacheBlockSize), 16);
  EXPECT_FALSE(p.has(epp::attr::kCacheNumBlocks.key));
  EXPECT_FALSE(p.has(epp::attr::kMaxActiveModels.key));
  EXPECT_THAT(p.value(epp::attr::kActiveModels.key).texts(), ElementsAre("a"));
  EXPECT_EQ(host.Metric("epp_core_metrics_problems_total", {{"problem", "malformed-line"}}), 2);
  EXPECT_EQ(host.Metric("epp_core_metrics_problems_total", {{"problem", "bad-label"}}), 2);
}

TEST_F(EngineTest, EveryTruncationIsHarmless) {
  auto extractor = Extractor();
  const std::string page = kVllm;
  for (size_t n = 0; n <= page.size(); ++n) {
    Scrape(*extractor, std::string_view(page).substr(0, n), "vllm");
  }
  SUCCEED();
}

TEST_F(EngineTest, ConfiguredEngines) {
  auto extractor = Extractor({{"engineConfigs", R"([
    {"name": "mine", "queuedRequestsSpec": "my_queue{kind=all}", "loraSpec": "",
     "cacheInfoSpec": "my_cache", "cacheBlockSizeLabelName": "bs", "cacheNumBlocksLabelName": "nb",
     "customMetrics": [{"attributeKey": "Temperature", "metricSpec": "my_temp"},
                       {"attributeKey": "Fans", "metricSpec": "my_fans{row=1}"}]},
    {"name": "vllm", "runningRequestsSpec": "other_running",
     "customMetrics": [{"attributeKey": "Temperature", "metricSpec": "vllm_temp"}]}])"}});
  ASSERT_TRUE(extractor->ok()) << extractor->error();
  Produced p = Scrape(*extractor,
                      "my_queue{kind=\"all\"} 4\nmy_cache{bs=\"8\",nb=\"9\"} 1\nmy_temp 36.6\n"
                      "my_fans{row=\"1\"} 2\n",
                      "mine");
  EXPECT_EQ(I(p, epp::attr::kWaitingQueueSize), 4);
  EXPECT_EQ(I(p, epp::attr::kCacheBlockSize), 8);
  EXPECT_EQ(I(p, epp::attr::kCacheNumBlocks), 9);
  EXPECT_EQ(p.value("Temperature").f64(), 36.6);
  EXPECT_EQ(p.value("Fans").f64(), 2);
  p = Scrape(*extractor, std::string(kVllm) + "other_running 77\nvllm_temp 1\n", "vllm");
  EXPECT_EQ(I(p, epp::attr::kRunningRequestsSize), 77);
  EXPECT_EQ(p.value("Temperature").f64(), 1);
  EXPECT_FALSE(p.has(epp::attr::kWaitingQueueSize.key)) << "a built-in is replaced as a whole";
  p = Scrape(*extractor, kSglang, "sglang");
  EXPECT_EQ(I(p, epp::attr::kWaitingQueueSize), 2826) << "the others stay";

  const auto& table = extractor->Table<epp_attributes>(EPP_ATTRIBUTES_ID);
  uint32_t count = 0;
  const epp_attr_spec* const* specs = table.produces(extractor->Self(), &count);
  ASSERT_EQ(count, 10u);
  EXPECT_STREQ(specs[8]->key, "Temperature");
  EXPECT_EQ(specs[8]->type, EPP_T_F64);
  for (uint32_t i = 0; i < count; ++i) EXPECT_TRUE(specs[i]->flags & EPP_ATTR_TYPE_NAMED) << i;
}

struct BadConfig {
  const char* configs;
  const char* error;
};

TEST(Config, Errors) {
  for (const auto& [configs, error] : {
           BadConfig{"{}", "engineConfigs is not a list"},
           BadConfig{"[1]", "engineConfigs[0] is not a mapping"},
           BadConfig{"[{}]", "engineConfigs[0].name is missing"},
           BadConfig{R"([{"name":"default"}])", "engineConfigs[0].name is \"default\""},
           BadConfig{R"([{"name":"a"},{"name":"a"}])", "engineConfigs[1].name is \"a\" for the"},
           BadConfig{R"([{"name":"a","kvUsageSpec":5}])",
                     "engineConfigs[0].kvUsageSpec is not text"},
           BadConfig{R"([{"name":"a","kvUsage":"x"}])", "engineConfigs[0].kvUsage is not known"},
           BadConfig{R"([{"name":"a","kvUsageSpec":"a b"}])", "not a valid metric specification"},
           BadConfig{R"([{"name":"a","customMetrics":[{}]}])",
                     "engineConfigs[0].customMetrics[0].attributeKey is missing"},
           BadConfig{R"([{"name":"a","customMetrics":[{"attributeKey":"K"}]}])",
                     "customMetrics[0].metricSpec is missing"},
           BadConfig{R"([{"name":"a","customMetrics":[{"attributeKey":"K","metricSpec":"9"}]}])",
                     "not a valid metric specification: \"9\""},
           BadConfig{R"([{"name":"a","customMetrics":[{"attributeKey":"ActiveModels",)"
                     R"("metricSpec":"m"}]}])",
                     "is taken by a built-in attribute"},
       }) {
    auto extractor = Extractor({{"engineConfigs", configs}});
    EXPECT_FALSE(extractor->ok()) << configs;
    EXPECT_EQ(extractor->status(), EPP_INVALID_ARGUMENT) << configs;
    EXPECT_THAT(extractor->error(), HasSubstr(error)) << configs;
  }
  auto extractor = Extractor({{"defaultEngine", "vlm"}});
  EXPECT_THAT(extractor->error(), HasSubstr("defaultEngine is \"vlm\", want one of vllm, sglang"));
}

}  // namespace
