// Everything at once: requests on four workers, metrics, endpoints that come and go, readers of
// metrics, decisions and plugin state. Bounded work; meant for the thread sanitizer.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/test_plugins.h"
#include "tests/integration/wire.h"

namespace epp::integration {
namespace {

constexpr const char* kConfig = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: queue-scorer
  - type: kv-cache-utilization-scorer
  - type: prefix-cache-scorer
  - type: load-aware-scorer
  - type: inflight-load-producer
  - type: test-scorer
  - {name: hook, type: test-hook}
  - type: test-end
schedulingProfiles:
  - name: default
    plugins:
      - {pluginRef: queue-scorer}
      - {pluginRef: kv-cache-utilization-scorer}
      - {pluginRef: prefix-cache-scorer}
      - {pluginRef: load-aware-scorer}
      - {pluginRef: test-scorer}
)";

constexpr int kClients = 6;
constexpr int kRequests = 60;  // a client

std::vector<Pod> Pods(int round) {
  std::vector<Pod> pods;
  for (int i = 0; i < 12; ++i) {
    if (i > 2 && (i + round) % 5 == 0) continue;  // some are away
    Pod pod{"pod-" + std::to_string(i), "10.0.0." + std::to_string(i + 1)};
    pod.queue = (i * 7 + round) % 11;
    pod.kv = ((i + round) % 10) / 10.0;
    pod.labels = {{"score", std::to_string((i + round) % 3 * 0.3)}};
    pods.push_back(pod);
  }
  return pods;
}

// One request over the wire; whether it was forwarded.
bool RunOne(const WireServer& server, int client, int i) {
  WireStream stream(server);
  Headers headers = {{":path", "/v1/completions"}};
  const int kind = (client + i) % 6;
  if (kind == 4) headers.emplace_back("x-test", "hook.pre=throw");
  if (kind == 5) headers.emplace_back("x-test", "scorer=throw");
  stream.RequestHeaders(headers);
  std::string prompt;
  for (int w = 0; w < 100; ++w) prompt += "word" + std::to_string(w + i % 4) + " ";
  stream.RequestBody(R"({"model":"m","stream":true,"prompt":")" + prompt + R"("})", true);
  const pb::ProcessingResponse first = stream.Read();
  if (KindOf(first) != "request_headers") {
    EXPECT_EQ(kind, 4) << ImmediateOf(first);
    return false;
  }
  EXPECT_EQ(KindOf(stream.Read()), "request_body end");
  if (kind == 1) return true;  // gone before the response
  stream.ResponseHeaders({{":status", "200"}, {"content-type", "text/event-stream"}});
  EXPECT_EQ(KindOf(stream.Read()), "response_headers");
  for (int c = 0; c < 5; ++c) {
    stream.ResponseBody("data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n",
                        c == 4);
    EXPECT_EQ(KindOf(stream.Read()), c == 4 ? "response_body end" : "response_body");
    if (kind == 2 && c == 2) return true;  // gone in the middle
  }
  stream.HalfClose();
  EXPECT_EQ(stream.Finish(), "OK");
  return true;
}

TEST(Concurrency, RequestsPoolChangesAndReaders) {
  Harness harness({.config = kConfig, .request = {.emit_endpoint_scores = true}, .workers = 4});
  harness.SetPods(Pods(0));
  TakeTrace();
  std::atomic<bool> done{false};
  std::atomic<int> forwarded{0};
  std::atomic<int> hooked{0};
  {
    WireServer server(harness);
    std::vector<std::thread> background;
    background.emplace_back([&] {
      for (int round = 1; !done.load(); ++round) {
        if (round % 4 == 0) {
          harness.SetPods(Pods(round));
        } else {
          for (const Pod& pod : Pods(round)) harness.Update(pod);
        }
        std::this_thread::yield();
      }
    });
    background.emplace_back([&] {
      while (!done.load()) {
        EXPECT_FALSE(harness.MetricsText().empty());
        (void)harness.PluginDumps();
        size_t bytes = 0;
        harness.decisions().Visit([&](const telemetry::DecisionRecord& record) {
          bytes += record.model.view().size() + record.cells_used;
          (void)harness.names().Endpoint(record.served);
          return true;
        });
      }
    });
    std::vector<std::thread> clients;
    for (int client = 0; client < kClients; ++client) {
      clients.emplace_back([&, client] {
        for (int i = 0; i < kRequests; ++i) {
          forwarded += RunOne(server, client, i);
          ++hooked;
        }
      });
    }
    for (std::thread& thread : clients) thread.join();
    done.store(true);
    for (std::thread& thread : background) thread.join();
    EXPECT_TRUE(server.Idle());
  }
  int ends = 0;
  for (const std::string& line : TakeTrace()) ends += line.starts_with("end ");
  EXPECT_EQ(ends, hooked.load());
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total"), forwarded.load());
  EXPECT_EQ(harness.Metric("llm_d_epp_request_running"), 0);
}

TEST(Concurrency, WorkersShareOneGeneration) {
  Harness harness({.config = kConfig, .workers = 4});
  harness.SetPods(Pods(0));
  TakeTrace();
  constexpr int kEach = 200;
  std::vector<std::thread> workers;
  for (uint32_t worker = 0; worker < 4; ++worker) {
    workers.emplace_back([&, worker] {
      for (int i = 0; i < kEach; ++i) {
        Flow flow(harness, worker);
        EXPECT_TRUE(Forwards(flow.Post(kCompletions, R"({"model":"m","prompt":"p"})")));
        if (i % 3) flow.Answer("{}");
      }
    });
  }
  for (std::thread& thread : workers) thread.join();
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total"), 4 * kEach);
  EXPECT_EQ(harness.Metric("llm_d_epp_request_running"), 0);
}

}  // namespace
}  // namespace epp::integration
