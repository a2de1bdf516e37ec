#include "tests/sim/server.h"

#include <chrono>
#include <functional>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/sim/http_client.h"

namespace epp::sim {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::HasSubstr;

// A thousand times as fast as life, so that tests are short.
ServerOptions Fast(std::string name = "sim-0") {
  ServerOptions options;
  options.name = std::move(name);
  options.speed = 1000;
  return options;
}

// So slow that nothing finishes by itself while a test looks at it.
ServerOptions Slow() {
  ServerOptions options = Fast();
  options.speed = 0.001;
  options.engine.prefill_tokens_per_s = 1e9;
  return options;
}

std::unique_ptr<Simulator> Start(std::vector<ServerOptions> servers) {
  auto simulator = Simulator::Start(std::move(servers));
  EXPECT_TRUE(simulator.ok()) << simulator.status();
  return *std::move(simulator);
}

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

std::string Chat(const std::string& text, int max_tokens, bool stream = false) {
  return json{{"model", "demo"},
              {"max_tokens", max_tokens},
              {"stream", stream},
              {"stream_options", {{"include_usage", true}}},
              {"messages", json::array({{{"role", "user"}, {"content", text}}})}}
      .dump();
}

constexpr char kChat[] = "/v1/chat/completions";

TEST(ServerTest, RendersPromptsAsTokens) {
  const auto simulator = Start({Fast()});
  const HttpReply list = Fetch(simulator->port(0), "POST", "/v1/completions/render",
                               R"({"model":"demo","prompt":["abcd","efgh"]})");
  EXPECT_EQ(list.status, 200) << list.body;
  EXPECT_EQ(json::parse(list.body),
            json::parse(R"([{"token_ids":[1684234849]},{"token_ids":[1751606885]}])"));
  const HttpReply chat =
      Fetch(simulator->port(0), "POST", "/v1/chat/completions/render", Chat("hello", 5));
  EXPECT_EQ(chat.status, 200) << chat.body;
  EXPECT_FALSE(json::parse(chat.body)["token_ids"].empty());
}

TEST(ServerTest, AnswersPlainRequestsAndSaysWho) {
  const auto simulator = Start({Fast("alpha-3")});
  const HttpReply reply = Fetch(simulator->port(0), "POST", kChat, Chat("hello", 5));
  EXPECT_EQ(reply.status, 200);
  EXPECT_TRUE(reply.complete);
  EXPECT_EQ(reply.Header("x-sim-server"), "alpha-3");
  EXPECT_EQ(reply.Header("content-type"), "application/json");
  const json body = json::parse(reply.body);
  EXPECT_THAT(body["id"].get<std::string>(), HasSubstr("alpha-3"));
  EXPECT_EQ(body["system_fingerprint"], "alpha-3");
  EXPECT_EQ(body["usage"]["completion_tokens"], 5);
  EXPECT_EQ(body["choices"][0]["message"]["content"].get<std::string>().size(), 20u);
}

TEST(ServerTest, StreamsTokenByToken) {
  ServerOptions options = Fast();
  options.speed = 1;
  options.engine.decode_per_token = milliseconds(1);
  const auto simulator = Start({options});
  HttpClient client(simulator->port(0));
  ASSERT_TRUE(client.Send("POST", kChat, Chat("hello", 20, true)));
  HttpReply reply = client.ReadHead();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.Header("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(reply.Header("x-sim-server"), "sim-0");
  int reads = 0;
  while (client.ReadMore(&reply)) ++reads;
  EXPECT_GT(reads, 10);
  EXPECT_TRUE(reply.complete);
  EXPECT_TRUE(reply.body.ends_with("data: [DONE]\n\n"));
  EXPECT_THAT(reply.body, HasSubstr(R"("total_tokens":27,"completion_tokens":20)"));
}

TEST(ServerTest, ServesOneConnectionManyTimesAlsoPipelined) {
  const auto simulator = Start({Fast()});
  HttpClient client(simulator->port(0));
  ASSERT_TRUE(client.Send("POST", kChat, Chat("one", 1)));
  ASSERT_TRUE(client.Send("POST", kChat, Chat("two", 2, true)));
  ASSERT_TRUE(client.Send("GET", "/health"));
  ASSERT_TRUE(client.Send("GET", "/v1/models"));
  EXPECT_EQ(json::parse(client.ReadReply().body)["usage"]["completion_tokens"], 1);
  EXPECT_TRUE(client.ReadReply().body.ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(client.ReadReply().status, 200);
  EXPECT_EQ(json::parse(client.ReadReply().body)["data"][0]["id"], "demo");
}

TEST(ServerTest, SecondRequestWithThePrefixFindsItCached) {
  const auto simulator = Start({Fast("sim-0"), Fast("sim-1")});
  const std::string text(4000, 'x');
  const auto cached = [&](size_t server, const std::string& question) {
    const HttpReply reply = Fetch(simulator->port(server), "POST", kChat, Chat(question, 1));
    return json::parse(reply.body)["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>();
  };
  EXPECT_EQ(cached(0, text + "one"), 0);
  EXPECT_EQ(cached(0, text + "two"), 992);  // 62 of 63 blocks
  EXPECT_EQ(cached(1, text + "one"), 0);    // another server, another cache
  EXPECT_EQ(simulator->stats(0).cached_tokens, 992u);
}

TEST(ServerTest, AdaptersAndSaltsDoNotShareBlocks) {
  ServerOptions options = Fast();
  options.loras = {"style"};
  const auto simulator = Start({options});
  const auto cached = [&](const char* model, const char* salt) {
    const json body = {{"model", model},
                       {"prompt", std::string(400, 'x')},
                       {"cache_salt", salt},
                       {"max_tokens", 1}};
    const HttpReply reply = Fetch(simulator->port(0), "POST", "/v1/completions", body.dump());
    return json::parse(reply.body)["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>();
  };
  EXPECT_EQ(cached("demo", ""), 0);
  EXPECT_EQ(cached("style", ""), 0);
  EXPECT_EQ(cached("demo", "tenant"), 0);
  EXPECT_EQ(cached("demo", ""), 96);
  EXPECT_EQ(cached("style", ""), 96);
}

TEST(ServerTest, AllEndpointsAnswer) {
  const auto simulator = Start({Fast()});
  const uint16_t port = simulator->port(0);
  const json message = {{"max_tokens", 3},
                        {"messages", json::array({{{"role", "user"}, {"content", "hi"}}})}};
  EXPECT_EQ(json::parse(Fetch(port, "POST", "/v1/messages", message.dump()).body)["type"],
            "message");
  EXPECT_EQ(
      json::parse(Fetch(port, "POST", "/v1/embeddings", R"({"input": ["a", "b"]})").body)["data"]
          .size(),
      2u);
  EXPECT_EQ(json::parse(Fetch(port, "POST", "/inference/v1/generate",
                              R"({"token_ids": [1, 2], "sampling_params": {"max_tokens": 4}})")
                            .body)["choices"][0]["token_ids"]
                .size(),
            4u);
  EXPECT_EQ(json::parse(
                Fetch(port, "POST", "/v1/completions", R"({"prompt": ["a", "b"]})").body)["choices"]
                .size(),
            2u);
  EXPECT_EQ(Fetch(port, "GET", "/health").status, 200);
  EXPECT_EQ(Fetch(port, "GET", "/version").status, 200);
  EXPECT_EQ(Fetch(port, "GET", "/nowhere").status, 404);
  EXPECT_EQ(Fetch(port, "GET", "/v1/completions").status, 405);
}

TEST(ServerTest, AnswersEndByThemselvesUnlessToldOtherwise) {
  ServerOptions options = Fast();
  options.output_tokens = 10;
  options.engine.kv_blocks = 10;
  const auto simulator = Start({options});
  const auto run = [&](const char* extra) {
    return json::parse(Fetch(simulator->port(0), "POST", "/v1/completions",
                             std::string(R"({"prompt": "hi")") + extra + "}")
                           .body);
  };
  const json natural = run("");
  EXPECT_EQ(natural["usage"]["completion_tokens"], 10);
  EXPECT_EQ(natural["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(run(R"(, "max_tokens": 4)")["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(run(R"(, "max_tokens": 40)")["usage"]["completion_tokens"], 10);
  EXPECT_EQ(run(R"(, "max_tokens": 40, "ignore_eos": true)")["usage"]["completion_tokens"], 40);
  EXPECT_EQ(run(R"(, "max_tokens": 40, "min_tokens": 20)")["usage"]["completion_tokens"], 20);
  const json refused = run(R"(, "max_tokens": 160, "ignore_eos": true)")["error"];
  EXPECT_EQ(refused["code"], 400);
  EXPECT_THAT(refused["message"].get<std::string>(), HasSubstr("maximum context length is 160"));
}

TEST(ServerTest, ErrorsAreOpenAis) {
  ServerOptions strict = Fast();
  strict.strict_models = true;
  strict.loras = {"style"};
  const auto simulator = Start({strict, Fast("sim-1")});
  const std::string other = R"({"model": "other", "prompt": "a", "max_tokens": 1})";
  const HttpReply unknown = Fetch(simulator->port(0), "POST", "/v1/completions", other);
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(json::parse(unknown.body)["error"]["type"], "NotFoundError");
  EXPECT_EQ(Fetch(simulator->port(1), "POST", "/v1/completions", other).status, 200);
  const std::string adapter = R"({"model": "style", "prompt": "a", "max_tokens": 1})";
  EXPECT_EQ(Fetch(simulator->port(0), "POST", "/v1/completions", adapter).status, 200);
  const HttpReply bad = Fetch(simulator->port(0), "POST", "/v1/completions", "{\"prompt");
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(json::parse(bad.body)["error"]["type"], "BadRequestError");
}

TEST(ServerTest, RefusesWhatIsNotHttp) {
  const auto simulator = Start({Fast()});
  HttpClient client(simulator->port(0));
  ASSERT_TRUE(client.SendRaw("\x16\x03\x01 not http\r\n\r\n"));
  EXPECT_EQ(client.ReadReply().status, 400);
  EXPECT_TRUE(client.WaitForClose());
}

TEST(ServerTest, AsksForBodiesThatWaitForIt) {
  const auto simulator = Start({Fast()});
  HttpClient client(simulator->port(0));
  ASSERT_TRUE(
      client.SendRaw("POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
                     "content-length: 31\r\n\r\n"));
  EXPECT_EQ(client.ReadHead().status, 100);
  ASSERT_TRUE(client.SendRaw(R"({"prompt": "a", "max_tokens":1})"));
  EXPECT_EQ(client.ReadReply().status, 200);
}

TEST(ServerTest, MetricsShowQueueBatchAndAdapters) {
  ServerOptions options = Slow();
  options.engine.max_running = 1;
  options.loras = {"style", "tone"};
  const auto simulator = Start({options});
  const auto body = [](const char* model) {
    return json{{"model", model}, {"prompt", std::string(640, 'x')}, {"max_tokens", 50}}.dump();
  };
  HttpClient first(simulator->port(0)), second(simulator->port(0));
  ASSERT_TRUE(first.Send("POST", "/v1/completions", body("style")));
  ASSERT_TRUE(Eventually([&] { return simulator->stats(0).running == 1; }));
  ASSERT_TRUE(second.Send("POST", "/v1/completions", body("tone")));
  ASSERT_TRUE(Eventually([&] { return simulator->stats(0).waiting == 1; }));
  const HttpReply page = Fetch(simulator->port(0), "GET", "/metrics");
  EXPECT_EQ(page.Header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_THAT(page.body,
              HasSubstr("\nvllm:num_requests_running{engine=\"0\",model_name=\"demo\"} 1.0\n"));
  EXPECT_THAT(page.body,
              HasSubstr("\nvllm:num_requests_waiting{engine=\"0\",model_name=\"demo\"} 1.0\n"));
  EXPECT_THAT(page.body,
              HasSubstr("running_lora_adapters=\"style\",waiting_lora_adapters=\"tone\""));
  const json state = json::parse(Fetch(simulator->port(0), "GET", "/sim/state").body);
  EXPECT_EQ(state["running"], 1);
  EXPECT_EQ(state["scrapes"], 1);
}

TEST(ServerTest, MetricsLieWhenPinned) {
  const auto simulator = Start({Fast()});
  const uint16_t port = simulator->port(0);
  const char* labels = "{engine=\"0\",model_name=\"demo\"} ";
  EXPECT_EQ(Fetch(port, "POST", "/sim/metrics", R"({"waiting": 12, "kv": 0.75})").status, 200);
  const std::string page = Fetch(port, "GET", "/metrics").body;
  EXPECT_THAT(page, HasSubstr(std::string("\nvllm:num_requests_waiting") + labels + "12.0\n"));
  EXPECT_THAT(page, HasSubstr(std::string("\nvllm:kv_cache_usage_perc") + labels + "0.75\n"));
  EXPECT_THAT(page, HasSubstr(std::string("\nvllm:num_requests_running") + labels + "0.0\n"));
  EXPECT_EQ(Fetch(port, "DELETE", "/sim/metrics").status, 200);
  EXPECT_THAT(Fetch(port, "GET", "/metrics").body,
              HasSubstr(std::string("\nvllm:num_requests_waiting") + labels + "0.0\n"));
  EXPECT_EQ(Fetch(port, "POST", "/sim/metrics", R"({"queue": 1})").status, 400);
}

TEST(ServerTest, AClientThatLeavesFreesItsPlace) {
  const auto simulator = Start({Slow()});
  HttpClient client(simulator->port(0));
  ASSERT_TRUE(client.Send("POST", kChat, Chat("hello", 50, true)));
  HttpReply reply = client.ReadHead();
  ASSERT_TRUE(Eventually([&] { return simulator->stats(0).running == 1; }));
  client.Close();
  EXPECT_TRUE(Eventually([&] { return simulator->stats(0).running == 0; }));
  EXPECT_EQ(simulator->stats(0).blocks_used, 0u);
}

TEST(ServerTest, LogsWhatArrived) {
  ServerOptions options = Fast();
  options.log_requests = 2;
  const auto simulator = Start({options});
  const uint16_t port = simulator->port(0);
  for (const char* id : {"a", "b", "c"}) {
    (void)Fetch(port, "POST", kChat, Chat(std::string(400, 'x'), 2), {{"X-Request-Id", id}});
  }
  (void)Fetch(port, "GET", "/metrics");
  const json log = json::parse(Fetch(port, "GET", "/sim/requests").body);
  EXPECT_EQ(log["server"], "sim-0");
  EXPECT_EQ(log["total"], 3);
  ASSERT_EQ(log["requests"].size(), 2u);
  const json& last = log["requests"][1];
  EXPECT_EQ(last["path"], kChat);
  EXPECT_EQ(last["model"], "demo");
  EXPECT_EQ(last["status"], 200);
  EXPECT_EQ(last["cached_tokens"], 96);
  EXPECT_EQ(last["output_tokens"], 2);
  EXPECT_EQ(last["body_bytes"], Chat(std::string(400, 'x'), 2).size());
  EXPECT_THAT(last["headers"], testing::Contains(json::array({"X-Request-Id", "c"})));
  EXPECT_EQ(json::parse(Fetch(port, "DELETE", "/sim/requests").body)["requests"].size(), 0u);
}

TEST(ServerTest, RefusesOptionsThatCannotWork) {
  EXPECT_FALSE(Simulator::Start({Fast("a"), Fast("a")}).ok());
  ServerOptions options = Fast();
  options.address = "localhost.example";
  EXPECT_EQ(Simulator::Start({options}).status().code(), absl::StatusCode::kInvalidArgument);
  options = Fast();
  options.speed = 0;
  EXPECT_EQ(Simulator::Start({options}).status().code(), absl::StatusCode::kInvalidArgument);
  const auto simulator = Start({Fast()});
  options = Fast("sim-1");
  options.port = simulator->port(0);
  EXPECT_EQ(Simulator::Start({options}).status().code(), absl::StatusCode::kUnavailable);
}

class ServerFaultTest : public testing::Test {
 protected:
  void Serve(ServerOptions options = Fast()) { simulator_ = Start({options, Fast("sim-1")}); }
  uint16_t port() const { return simulator_->port(0); }
  void Fault(const std::string& json) {
    const HttpReply reply = Fetch(port(), "POST", "/sim/fault", json);
    ASSERT_EQ(reply.status, 200) << reply.body;
  }

  std::unique_ptr<Simulator> simulator_;
};

TEST_F(ServerFaultTest, DiesWithAllConnectionsAndComesBackEmpty) {
  Serve(Slow());
  HttpClient idle(port()), busy(port());
  ASSERT_TRUE(idle.Send("GET", "/health"));
  ASSERT_EQ(idle.ReadReply().status, 200);
  ASSERT_TRUE(busy.Send("POST", kChat, Chat(std::string(400, 'x'), 50, true)));
  HttpReply stream = busy.ReadHead();
  ASSERT_TRUE(Eventually([&] { return simulator_->stats(0).blocks_used > 0; }));
  Fault(R"({"kind": "die"})");
  EXPECT_TRUE(idle.WaitForClose());
  while (busy.ReadMore(&stream)) {
  }
  EXPECT_FALSE(stream.complete);
  EXPECT_TRUE(Eventually([&] { return !HttpClient(port()).connected(); }));
  EXPECT_EQ(Fetch(simulator_->port(1), "GET", "/health").status, 200);

  // A sibling revives it.
  EXPECT_EQ(Fetch(simulator_->port(1), "POST", "/sim/fault", R"({"kind":"none","server":"sim-0"})")
                .status,
            200);
  EXPECT_EQ(Fetch(port(), "GET", "/health").status, 200);
  EXPECT_EQ(simulator_->stats(0).blocks_used + simulator_->stats(0).blocks_idle, 0u);
}

TEST_F(ServerFaultTest, DiesForAWhile) {
  Serve();
  Fault(R"({"kind": "die", "for_ms": 20})");
  EXPECT_TRUE(Eventually([&] { return Fetch(port(), "GET", "/health").status == 200; }));
}

TEST_F(ServerFaultTest, HangsUntilTheClientLeaves) {
  Serve();
  Fault(R"({"kind": "hang", "path": "/v1/"})");
  HttpClient client(port());
  ASSERT_TRUE(client.Send("POST", kChat, Chat("hello", 1)));
  EXPECT_EQ(Fetch(port(), "GET", "/health").status, 200);
  // It has arrived, and is not answered.
  ASSERT_TRUE(Eventually(
      [&] { return json::parse(Fetch(port(), "GET", "/sim/requests").body)["total"] == 1; }));
  const json log = json::parse(Fetch(port(), "GET", "/sim/requests").body);
  EXPECT_EQ(log["requests"][0]["status"], 0);
  Fault(R"({"kind": "none"})");
  EXPECT_EQ(Fetch(port(), "POST", kChat, Chat("hello", 1)).status, 200);
}

TEST_F(ServerFaultTest, DelaysHeaders) {
  Serve();
  Fault(R"({"kind": "slow_headers", "delay_ms": 50, "count": 2})");
  HttpClient leaves(port());
  ASSERT_TRUE(leaves.Send("POST", kChat, Chat("hello", 1)));
  leaves.Close();
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(Eventually(
      [&] { return json::parse(Fetch(port(), "GET", "/sim/requests").body)["total"] == 1; }));
  EXPECT_EQ(Fetch(port(), "POST", kChat, Chat("hello", 1)).status, 200);
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(50));
}

TEST_F(ServerFaultTest, FailsAtARate) {
  Serve();
  Fault(R"({"kind": "http_error", "path": "/v1/", "rate": 0.25, "status": 500})");
  std::vector<int> statuses;
  for (int i = 0; i < 8; ++i) statuses.push_back(Fetch(port(), "GET", "/v1/models").status);
  EXPECT_THAT(statuses, testing::ElementsAre(200, 200, 200, 500, 200, 200, 200, 500));
}

TEST_F(ServerFaultTest, TruncatesStreamsAndBodies) {
  Serve();
  Fault(R"({"kind": "truncate", "path": "/v1/", "after_events": 3})");
  HttpReply reply = Fetch(port(), "POST", kChat, Chat("hello", 10, true));
  EXPECT_EQ(reply.status, 200);
  EXPECT_FALSE(reply.complete);
  EXPECT_THAT(reply.body, testing::Not(HasSubstr("[DONE]")));
  size_t tokens = 0;
  for (size_t at = 0; (at = reply.body.find("\"delta\":{\"content\"", at)) != std::string::npos;) {
    ++tokens;
    ++at;
  }
  EXPECT_EQ(tokens, 3u);
  reply = Fetch(port(), "POST", kChat, Chat("hello", 2, true));  // shorter than three tokens
  EXPECT_FALSE(reply.complete);
  reply = Fetch(port(), "POST", kChat, Chat("hello", 10));
  EXPECT_EQ(reply.status, 200);
  EXPECT_FALSE(reply.complete);
  EXPECT_FALSE(reply.body.empty());
  Fault(R"({"kind": "truncate", "after_events": 0})");
  EXPECT_FALSE(Fetch(port(), "POST", kChat, Chat("hello", 10, true)).complete);
  EXPECT_TRUE(Eventually([&] { return simulator_->stats(0).running == 0; }));
}

TEST_F(ServerFaultTest, LiesAboutTheContentType) {
  Serve();
  Fault(R"({"kind": "wrong_content_type"})");
  EXPECT_EQ(Fetch(port(), "GET", "/metrics").Header("content-type"), "text/html");
  EXPECT_EQ(Fetch(port(), "POST", kChat, Chat("x", 1)).Header("content-type"), "text/html");
  EXPECT_EQ(Fetch(port(), "POST", kChat, Chat("x", 1, true)).Header("content-type"), "text/html");
}

TEST_F(ServerFaultTest, BreaksTheMetricsPage) {
  Serve();
  Fault(R"({"kind": "garbage_metrics", "count": 1})");
  EXPECT_THAT(Fetch(port(), "GET", "/metrics").body, HasSubstr("12abc"));
  EXPECT_THAT(Fetch(port(), "GET", "/metrics").body, testing::Not(HasSubstr("12abc")));
  Fault(R"({"kind": "huge_metrics", "bytes": 3000000})");
  const HttpReply huge = Fetch(port(), "GET", "/metrics");
  EXPECT_TRUE(huge.complete);
  EXPECT_GT(huge.body.size(), 3'000'000u);
  // A scraper that gives up in the middle does no harm.
  HttpClient impatient(port());
  ASSERT_TRUE(impatient.Send("GET", "/metrics"));
  HttpReply part = impatient.ReadHead();
  ASSERT_TRUE(impatient.ReadMore(&part));
  impatient.Close();
  EXPECT_EQ(Fetch(port(), "GET", "/health").status, 200);
}

TEST_F(ServerFaultTest, ListsClearsAndRefusesFaults) {
  Serve();
  Fault(R"({"kind": "hang", "path": "/nowhere"})");
  EXPECT_THAT(Fetch(port(), "GET", "/sim/fault").body, HasSubstr("\"hang\""));
  EXPECT_EQ(Fetch(port(), "DELETE", "/sim/fault").status, 200);
  EXPECT_EQ(Fetch(port(), "GET", "/sim/fault").body, R"({"faults":[]})");
  EXPECT_EQ(Fetch(port(), "POST", "/sim/fault", R"({"kind": "x"})").status, 400);
  EXPECT_EQ(Fetch(port(), "POST", "/sim/fault", R"({"kind": "die", "server": "x"})").status, 404);
  EXPECT_EQ(Fetch(port(), "GET", "/sim/nothing").status, 404);
}

TEST_F(ServerFaultTest, CanBeSetFromTheProcess) {
  Serve();
  epp::sim::Fault fault;
  fault.kind = FaultKind::kDie;
  ASSERT_TRUE(simulator_->SetFault(0, fault).ok());
  EXPECT_FALSE(HttpClient(port()).connected());
  ASSERT_TRUE(simulator_->SetFault(0, epp::sim::Fault()).ok());
  simulator_->PinMetrics(0, {.waiting = 5, .running = {}, .kv = {}});
  EXPECT_THAT(Fetch(port(), "GET", "/metrics").body, HasSubstr("model_name=\"demo\"} 5.0\n"));
}

}  // namespace
}  // namespace epp::sim
