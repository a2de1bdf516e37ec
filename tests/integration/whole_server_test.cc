// The cases of the reference's hermetic suite, over the wire.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/wire.h"

namespace epp::integration {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

constexpr const char* kConfig = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: queue-scorer
  - type: kv-cache-utilization-scorer
  - type: lora-affinity-scorer
  - type: prefix-cache-scorer
schedulingProfiles:
  - name: default
    plugins:
      - {pluginRef: queue-scorer, weight: 2}
      - {pluginRef: kv-cache-utilization-scorer, weight: 1}
      - {pluginRef: lora-affinity-scorer, weight: 3}
      - {pluginRef: prefix-cache-scorer, weight: 3}
)";

const Headers kPost = {{":path", "/v1/completions"}, {"hi", "mom"}, {"x-request-id", "id"}};
const Headers kJson = {{":status", "200"}, {"content-type", "application/json"}};

class WholeServer : public testing::Test {
 protected:
  explicit WholeServer(HarnessOptions options = {.config = kConfig,
                                                 .request = {.emit_endpoint_scores = true,
                                                             .echo_headers = true}})
      : harness(std::move(options)), server(harness) {}
  Harness harness;
  WireServer server;
};

TEST_F(WholeServer, C095AndC108SelectLowerQueueAndKvCache) {
  harness.SetPods({{"pod-0", "192.168.1.1", 3, 0.2},
                   {"pod-1", "192.168.1.2", 0, 0.1},
                   {"pod-2", "192.168.1.3", 10, 0.2}});
  WireStream stream(server);
  Headers headers = {{"hi", "mom"}, {"x-request-id", "id"}};
  headers.emplace_back("x-gateway-model-name-rewrite", "my-model-12345");
  stream.RequestHeaders(headers);
  stream.RequestBody(R"({"max_tokens":100,"model":"my-model","prompt":"test1","temperature":0})",
                     true);
  const pb::ProcessingResponse head = stream.Read();
  const std::string body =
      R"({"max_tokens":100,"model":"my-model-12345","prompt":"test1","temperature":0})";
  EXPECT_THAT(SetHeaders(head),
              ElementsAre("Content-Length: " + std::to_string(body.size()), "hi: mom",
                          "x-gateway-destination-endpoint: 192.168.1.2:8000", "x-request-id: id"));
  EXPECT_TRUE(head.request_headers().response().clear_route_cache());
  const auto& lb = head.dynamic_metadata().fields().at("envoy.lb").struct_value().fields();
  EXPECT_EQ(lb.at("x-gateway-destination-endpoint").string_value(), "192.168.1.2:8000");
  const auto& scores = lb.at("x-gateway-destination-endpoint-scores").struct_value().fields();
  EXPECT_EQ(scores.size(), 3u);
  EXPECT_GT(scores.at("192.168.1.2:8000").number_value(),
            scores.at("192.168.1.1:8000").number_value());
  EXPECT_EQ(BytesOf(stream.Read()), body);
}

TEST_F(WholeServer, C096AdapterBeatsKvCache) {
  harness.SetPods({{"pod-0", "192.168.1.1", 10, 0.2, {"foo", "bar"}, 2},
                   {"pod-1", "192.168.1.2", 10, 0.4, {"foo", "sql-lora-1fdg2"}, 2},
                   {"pod-2", "192.168.1.3", 10, 0.3, {"foo", "bar"}, 2}});
  WireStream stream(server);
  stream.RequestHeaders(kPost);
  stream.RequestBody(R"({"model":"sql-lora-1fdg2","prompt":"test2"})", true);
  EXPECT_EQ(DestinationOf(stream.Read()), "192.168.1.2:8000");
}

TEST_F(WholeServer, C096NothingIsShedByDefault) {
  harness.SetPods({{"pod-0", "192.168.1.1", 100000, 1.0}});
  WireStream stream(server);
  stream.RequestHeaders(kPost);
  stream.RequestBody(R"({"model":"m","prompt":"p"})", true);
  EXPECT_EQ(DestinationOf(stream.Read()), "192.168.1.1:8000");
}

TEST_F(WholeServer, C097PassthroughForwardsVerbatim) {
  harness.SetPods({{"pod-0", "192.168.1.1"}});
  WireStream stream(server);
  stream.RequestHeaders({{":path", "/any/thing"}});
  const std::string body = "no json\n\x01\xff";
  stream.RequestBody(body, true);
  EXPECT_EQ(DestinationOf(stream.Read()), "192.168.1.1:8000");
  EXPECT_EQ(BytesOf(stream.Read()), body);
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total", "model_name=\"\""), 1);
}

TEST_F(WholeServer, C098InvalidJson) {
  harness.SetPods({{"pod-0", "192.168.1.1"}});
  WireStream stream(server);
  stream.RequestHeaders(kPost);
  stream.RequestBody("no healthy upstream", true);
  EXPECT_THAT(ImmediateOf(stream.Read()),
              StartsWith("400 inference error: BadRequest - error unmarshaling request bodyMap: "));
  EXPECT_EQ(stream.Finish(), "OK");
}

TEST_F(WholeServer, C099BodySplitAcrossChunks) {
  harness.SetPods({{"pod-0", "192.168.1.1"}});
  WireStream stream(server);
  stream.RequestHeaders(kPost);
  stream.RequestBody(R"({"model":"m","pro)", false);
  stream.RequestBody(R"(mpt":"p"})", true);
  EXPECT_EQ(KindOf(stream.Read()), "request_headers");
  const pb::ProcessingResponse body = stream.Read();
  EXPECT_EQ(KindOf(body), "request_body end");
  EXPECT_EQ(BytesOf(body), R"({"model":"m","prompt":"p"})");
}

TEST_F(WholeServer, C100AndC112NoPods) {
  WireStream bodyless(server);
  bodyless.RequestHeaders({{":path", "/v1/models"}, {":method", "GET"}}, true);
  EXPECT_EQ(ImmediateOf(bodyless.Read()),
            "500 inference error: Internal - no pods available in datastore");
  harness.SetPods({{"pod-0", "192.168.1.1"}});
  harness.SetPods({});  // all of them are gone
  WireStream post(server);
  post.RequestHeaders(kPost);
  post.RequestBody(R"({"model":"m","prompt":"p"})", true);
  EXPECT_THAT(ImmediateOf(post.Read()), StartsWith("503 "));
}

TEST_F(WholeServer, C101MissingModel) {
  WireStream stream(server);
  stream.RequestHeaders(kPost);
  stream.RequestBody(R"({"prompt":"hello world"})", true);
  EXPECT_EQ(ImmediateOf(stream.Read()),
            "400 inference error: BadRequest - model not found in request body");
}

TEST_F(WholeServer, C103UnknownModelPasses) {
  harness.SetPods({{"pod-0", "192.168.1.1"}});
  WireStream stream(server);
  stream.RequestHeaders(kPost);
  stream.RequestBody(R"({"model":"never-heard-of","prompt":"p"})", true);
  EXPECT_EQ(KindOf(stream.Read()), "request_headers");
  EXPECT_EQ(BytesOf(stream.Read()), R"({"model":"never-heard-of","prompt":"p"})");
}

TEST_F(WholeServer, C103AnObjectRewritesTheModel) {
  harness.SetPods({{"pod-0", "192.168.1.1"}});
  harness.SetObjects(R"(
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: r}
spec:
  poolRef: {name: pool}
  rules:
    - matches: [{model: {value: client}}]
      targets: [{modelRewrite: target}]
)");
  WireStream stream(server);
  Headers headers = kPost;
  headers.emplace_back("x-llm-d-model-name-rewrite", "of-the-header");
  stream.RequestHeaders(headers);
  stream.RequestBody(R"({"model":"client","prompt":"p"})", true);
  EXPECT_EQ(KindOf(stream.Read()), "request_headers");
  EXPECT_EQ(BytesOf(stream.Read()), R"({"model":"target","prompt":"p"})");
  stream.ResponseHeaders(kJson);
  EXPECT_EQ(KindOf(stream.Read()), "response_headers");
  stream.ResponseBody(R"({"model":"target"})", true);
  EXPECT_EQ(BytesOf(stream.Read()), R"({"model":"client"})");
}

TEST_F(WholeServer, C096PriorityOfTheObjective) {
  harness.SetPods({{"pod-0", "192.168.1.1"}});
  harness.SetObjects(R"(
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceObjective
metadata: {name: sheddable}
spec: {priority: -1, poolRef: {name: pool}}
)");
  WireStream stream(server);
  Headers headers = kPost;
  headers.emplace_back("x-gateway-inference-objective", "sheddable");
  stream.RequestHeaders(headers);
  stream.RequestBody(R"({"model":"m","prompt":"p"})", true);
  EXPECT_EQ(KindOf(stream.Read()), "request_headers");  // not shed
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total", R"(priority="-1")"), 1);
}

TEST_F(WholeServer, C104BufferedResponse) {
  harness.SetPods({{"pod-0", "192.168.1.1"}});
  for (const bool empty_end : {false, true}) {
    WireStream stream(server);
    Headers headers = kPost;
    headers.emplace_back("x-llm-d-model-name-rewrite", "target");
    stream.RequestHeaders(headers);
    stream.RequestBody(R"({"model":"client","prompt":"p"})", true);
    EXPECT_EQ(KindOf(stream.Read()), "request_headers");
    EXPECT_EQ(KindOf(stream.Read()), "request_body end");
    stream.ResponseHeaders(kJson);
    EXPECT_EQ(KindOf(stream.Read()), "response_headers");
    stream.ResponseBody(R"({"max_tokens":100,"mod)", false);
    stream.ResponseBody(R"(el":"target"})", !empty_end);
    if (empty_end) stream.ResponseBody("", true);
    const pb::ProcessingResponse body = stream.Read();
    EXPECT_EQ(KindOf(body), "response_body end");
    EXPECT_EQ(BytesOf(body), R"({"max_tokens":100,"model":"client"})");
  }
}

class ObservingServer : public WholeServer {
 protected:
  ObservingServer() : WholeServer({.config = kConfig, .request = {.observe_responses = true}}) {}
};

TEST_F(ObservingServer, C105SseTokensAreCounted) {
  harness.SetPods({{"pod-0", "192.168.1.1"}});
  WireStream stream(server);
  stream.RequestHeaders(kPost);
  stream.RequestBody(R"({"model":"m","prompt":"p","stream":true})", true);
  EXPECT_EQ(KindOf(stream.Read()), "request_headers");
  EXPECT_EQ(KindOf(stream.Read()), "request_body end");
  stream.ResponseHeaders({{":status", "200"}, {"content-type", "text/event-stream"}});
  EXPECT_EQ(KindOf(stream.Read()), "response_headers");
  const std::vector<std::string> chunks = {
      "data: {\"choices\":[{\"text\":\"a\"}],\"usage\":null}\n\n",
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"total_tokens\":17,"
      "\"completion_tokens\":10}}\n\ndata: [DONE]\n\n",
      ""};
  for (size_t i = 0; i < chunks.size(); ++i) {
    stream.ResponseBody(chunks[i], i + 1 == chunks.size());
    const pb::ProcessingResponse response = stream.Read();
    EXPECT_EQ(BytesOf(response), chunks[i]);
    EXPECT_EQ(KindOf(response), i + 1 == chunks.size() ? "response_body end" : "response_body");
  }
  stream.HalfClose();
  EXPECT_EQ(stream.Finish(), "OK");
  ASSERT_TRUE(server.Idle());
  EXPECT_EQ(harness.Metric("llm_d_epp_request_input_tokens_sum"), 7);
  EXPECT_EQ(harness.Metric("llm_d_epp_request_output_tokens_sum"), 10);
}

}  // namespace
}  // namespace epp::integration
