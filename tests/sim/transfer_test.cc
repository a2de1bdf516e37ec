// Engines that hand KV blocks and encoded media to each other, over sockets.
#include "tests/sim/transfer.h"

#include <array>
#include <chrono>
#include <future>
#include <memory>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/sim/http_client.h"
#include "tests/sim/server.h"

namespace epp::sim {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr char kChat[] = "/v1/chat/completions";
const std::string kStory(400, 's');

json Body(json more = json::object(), const std::string& text = kStory) {
  json body = {{"model", "demo"},
               {"max_tokens", 4},
               {"messages", json::array({{{"role", "user"}, {"content", text}}})}};
  body.update(more);
  return body;
}

json Kv(json params) { return {{"kv_transfer_params", std::move(params)}}; }

json Image(const std::string& url) {
  const json part = {{"type", "image_url"}, {"image_url", {{"url", url}}}};
  return {{"messages", json::array({{{"role", "user"}, {"content", json::array({part})}}})}};
}

// Server 0 prefills, 1 decodes, 2 encodes.
class TransferTest : public testing::Test {
 protected:
  void Start(KvConnector kv, EcConnector ec = EcConnector::kNone, uint32_t wait_ms = 20) {
    std::vector<ServerOptions> servers(3);
    for (size_t i = 0; i < servers.size(); ++i) {
      servers[i].name = "sim-" + std::to_string(i);
      servers[i].speed = 1000;
      servers[i].transfer.kv = kv;
      servers[i].transfer.ec = ec;
      servers[i].transfer.wait_ms = wait_ms;
      servers[i].transfer.p2p_port = static_cast<uint16_t>(7777 + i);
      servers[i].transfer.role = std::array{Role::kPrefill, Role::kDecode, Role::kEncode}[i];
    }
    auto started = Simulator::Start(std::move(servers));
    ASSERT_TRUE(started.ok()) << started.status();
    simulator_ = *std::move(started);
  }

  // The answer; its status must be `status`.
  json Ask(size_t server, const json& body, int status = 200, const HttpClient::Headers& h = {}) {
    const HttpReply reply = Fetch(simulator_->port(server), "POST", kChat, body.dump(), h);
    EXPECT_EQ(reply.status, status) << reply.body;
    return json::parse(reply.body, nullptr, false);
  }
  std::string Refused(size_t server, const json& body, int status = 500,
                      const HttpClient::Headers& h = {}) {
    return Ask(server, body, status, h)["error"]["message"].get<std::string>();
  }
  json State(size_t server) {
    return json::parse(Fetch(simulator_->port(server), "GET", "/sim/state").body);
  }
  json Counts(size_t server) { return State(server)["transfers"]; }
  // Until decode waits for its blocks.
  void WaitForWaiter() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (Counts(1)["waited"] == 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "decode does not wait";
      std::this_thread::yield();
    }
  }
  std::string Host(size_t server) { return simulator_->options(server).address; }

  std::unique_ptr<Simulator> simulator_;
};

const json kNixlPrefill = {{"do_remote_decode", true},    {"do_remote_prefill", false},
                           {"remote_engine_id", nullptr}, {"remote_block_ids", nullptr},
                           {"remote_host", nullptr},      {"remote_port", nullptr}};

TEST_F(TransferTest, NixlDecodesWithWhatPrefillAnswered) {
  Start(KvConnector::kNixl);
  json prefill = Body(Kv(kNixlPrefill));
  prefill["max_tokens"] = 1;
  const json params = Ask(0, prefill)["kv_transfer_params"];
  EXPECT_EQ(params["do_remote_prefill"], true);
  EXPECT_EQ(Counts(0)["pending"], 1);

  json changed = params;
  changed["remote_block_ids"][0][0] = 1;
  EXPECT_THAT(Refused(1, Body(Kv(changed))), HasSubstr("has issued"));
  EXPECT_THAT(Refused(1, Body(Kv(params), "another prompt")), HasSubstr("another prompt"));

  const json answer = Ask(1, Body(Kv(params)));
  EXPECT_EQ(answer["usage"]["prompt_tokens_details"]["cached_tokens"],
            answer["usage"]["prompt_tokens"]);
  EXPECT_EQ(State(1)["computed_tokens"], 1) << "the last token's logits";
  EXPECT_EQ(Counts(1)["received"], 1);
  EXPECT_EQ(Counts(0)["pending"], 0);
  EXPECT_THAT(Refused(1, Body(Kv(params))), HasSubstr("no prefill has issued"));
  EXPECT_EQ(Counts(1)["refused"], 3);

  const json log = json::parse(Fetch(simulator_->port(1), "GET", "/sim/requests").body)["requests"];
  EXPECT_EQ(log[2]["leg"], "decode");
  EXPECT_GT(log[2]["transferred_tokens"], 100);
  EXPECT_THAT(log[3]["error"].get<std::string>(), HasSubstr("no prefill"));
}

TEST_F(TransferTest, NixlHandsNothingOverWhenTheAnswerEndedByItself) {
  Start(KvConnector::kNixl);
  json prefill = Body(Kv(kNixlPrefill));
  prefill.erase("max_tokens");
  EXPECT_EQ(Ask(0, prefill)["kv_transfer_params"], nullptr);
  EXPECT_EQ(Counts(0)["issued"], 0);
  // Without parameters decode computes everything.
  Ask(1, Body(Kv(nullptr)));
  EXPECT_GT(State(1)["computed_tokens"], 100);
}

TEST_F(TransferTest, ADeadEnginesBlocksAreGone) {
  Start(KvConnector::kNixl);
  json prefill = Body(Kv(kNixlPrefill));
  prefill["max_tokens"] = 1;
  const json params = Ask(0, prefill)["kv_transfer_params"];
  Fault fault;
  fault.kind = FaultKind::kDie;
  ASSERT_TRUE(simulator_->SetFault(0, fault).ok());
  EXPECT_THAT(Refused(1, Body(Kv(params))), HasSubstr("no prefill has issued"));
}

struct Malformed {
  const char* name;
  KvConnector kv;
  json more;
  const char* error;
};
void PrintTo(const Malformed& c, std::ostream* out) { *out << c.name; }

class MalformedTest : public TransferTest, public testing::WithParamInterface<Malformed> {};

TEST_P(MalformedTest, IsRefusedWithReason) {
  Start(GetParam().kv);
  EXPECT_THAT(Refused(0, Body(GetParam().more), 400), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Table, MalformedTest,
    testing::Values(
        Malformed{"NixlKeys", KvConnector::kNixl,
                  Kv({{"do_remote_decode", true}, {"do_remote_prefill", false}}),
                  "remote_engine_id: got nothing, want null"},
        Malformed{"NixlMooncake", KvConnector::kNixl,
                  Kv({{"do_remote_prefill", true}, {"transfer_id", "x"}}),
                  "remote_engine_id: got nothing, want a text"},
        Malformed{"MoriioPort", KvConnector::kMoriio,
                  Kv({{"do_remote_decode", true},
                      {"do_remote_prefill", false},
                      {"transfer_id", "tx1"},
                      {"remote_dp_size", 1},
                      {"remote_dp_rank", 0},
                      {"remote_dp_rank_override", true},
                      {"tp_size", 1},
                      {"remote_notify_port", "61005"}}),
                  "remote_notify_port: got \"61005\""},
        Malformed{"MoriioRankHeader", KvConnector::kMoriio,
                  Kv({{"do_remote_decode", true},
                      {"transfer_id", "tx1"},
                      {"remote_dp_size", 8},
                      {"remote_dp_rank", 3},
                      {"remote_dp_rank_override", true},
                      {"tp_size", 1},
                      {"remote_notify_port", 61005}}),
                  "x-data-parallel-rank: got \"\", want \"3\""},
        Malformed{"StorageParams", KvConnector::kSharedStorage, Kv(kNixlPrefill), "has none"},
        Malformed{"StorageThreshold",
                  KvConnector::kSharedStorage,
                  {{"cache_hit_threshold", 2}},
                  "want a number in [0, 1]"},
        Malformed{
            "SglangRoom",
            KvConnector::kSglang,
            {{"bootstrap_host", "127.0.0.1"}, {"bootstrap_port", 8998}, {"bootstrap_room", 1.5}},
            "bootstrap_room: got 1.5"},
        Malformed{
            "SglangOtherWorker",
            KvConnector::kSglang,
            {{"bootstrap_host", "127.0.0.9"}, {"bootstrap_port", 8998}, {"bootstrap_room", 1}},
            "want this worker"},
        Malformed{
            "MooncakeRank", KvConnector::kMooncake,
            Kv({{"do_remote_decode", true}, {"do_remote_prefill", false}, {"transfer_id", "x"}}),
            "x-data-parallel-rank: got \"\""},
        Malformed{"OffloadingKeys", KvConnector::kOffloading,
                  Kv({{"remote_decoder", {{"kv_request_id", "a"}, {"remote_port", 1}}}}),
                  "remote_port: got 1, not expected here"},
        Malformed{"OffloadingRole", KvConnector::kOffloading,
                  Kv({{"remote_prefiller",
                       {{"kv_request_id", "a"}, {"remote_host", "h"}, {"remote_port", 1}}}}),
                  "other role"}),
    [](const auto& info) { return info.param.name; });

// Both legs at once: decode comes first and waits. The two bodies, the header of prefill, and
// decode with something wrong.
struct Concurrent {
  json prefill, decode, wrong;
  HttpClient::Headers prefill_headers;
};

TEST_F(TransferTest, DecodeWaitsForBlocksThatAreToCome) {
  for (const KvConnector kv : {KvConnector::kMoriio, KvConnector::kSglang, KvConnector::kMooncake,
                               KvConnector::kOffloading}) {
    Start(kv, EcConnector::kNone, 30'000);
    Concurrent c;
    if (kv == KvConnector::kMoriio) {
      const json shared = {{"transfer_id", "tx1"},
                           {"remote_dp_size", 1},
                           {"remote_dp_rank", 0},
                           {"remote_dp_rank_override", true},
                           {"tp_size", 1},
                           {"remote_notify_port", 61005},
                           {"remote_handshake_port", 6301},
                           {"remote_host", Host(0)}};
      json prefill = shared, decode = shared;
      prefill.update({{"do_remote_decode", true}, {"do_remote_prefill", false}});
      decode.update({{"do_remote_decode", false},
                     {"do_remote_prefill", true},
                     {"remote_engine_id", Host(0) + ":6301"},
                     {"remote_block_ids", json::array()}});
      json wrong = decode;
      wrong["remote_host"] = "127.0.0.9";
      wrong["remote_engine_id"] = "127.0.0.9:6301";
      c = {Kv(prefill), Kv(decode), Kv(wrong), {}};
    } else if (kv == KvConnector::kSglang) {
      const json both = {{"bootstrap_host", Host(0)},
                         {"bootstrap_port", 8998},
                         {"bootstrap_room", 9007199254740993}};
      c = {both, both, {}, {}};
    } else if (kv == KvConnector::kMooncake) {
      const json engines =
          json::parse(Fetch(simulator_->port(0), "GET", "/query").body, nullptr, false);
      json decode = {{"do_remote_decode", false},
                     {"do_remote_prefill", true},
                     {"transfer_id", "xfer-1"},
                     {"remote_bootstrap_addr",
                      "http://" + Host(0) + ":" + std::to_string(simulator_->port(0))},
                     {"remote_engine_id", engines["0"]["engine_id"]}};
      json wrong = decode;
      wrong["remote_engine_id"] = "stale";
      c = {
          Kv({{"do_remote_decode", true}, {"do_remote_prefill", false}, {"transfer_id", "xfer-1"}}),
          Kv(decode),
          Kv(wrong),
          {{"x-data-parallel-rank", "0"}}};
    } else {
      const auto decode = [&](int port) {
        return Kv({{"remote_prefiller",
                    {{"kv_request_id", "a"}, {"remote_host", Host(0)}, {"remote_port", port}}}});
      };
      c = {Kv({{"remote_decoder", {{"kv_request_id", "a"}}}}), decode(7777), decode(7778), {}};
    }
    auto decoded = std::async(std::launch::async, [&] { return Ask(1, Body(c.decode)); });
    WaitForWaiter();
    Ask(0, Body(c.prefill), 200, c.prefill_headers);
    decoded.get();
    EXPECT_EQ(State(1)["computed_tokens"], 1);
    EXPECT_EQ(Counts(0)["pending"], 0);
    if (c.wrong.is_null()) continue;
    Ask(0, Body(c.prefill), 200, c.prefill_headers);
    EXPECT_THAT(Refused(1, Body(c.wrong)), HasSubstr("told of"));
  }
}

TEST_F(TransferTest, WaitsInVain) {
  Start(KvConnector::kSglang, EcConnector::kNone, 1);
  const json room = {{"bootstrap_host", Host(0)}, {"bootstrap_port", 8998}, {"bootstrap_room", 7}};
  EXPECT_THAT(Refused(1, Body(room)), HasSubstr("no prefill has issued"));
  // A client that leaves first takes its request along.
  Start(KvConnector::kSglang, EcConnector::kNone, 30'000);
  {
    HttpClient client(simulator_->port(1));
    client.Send("POST", kChat, Body(room).dump());
    WaitForWaiter();
  }
  Ask(0, Body(room));
  EXPECT_EQ(Counts(0)["pending"], 1);
}

TEST_F(TransferTest, SharedStorageDeclinesBelowTheThreshold) {
  Start(KvConnector::kSharedStorage);
  const json threshold = {{"cache_hit_threshold", 0.5}};
  json streamed = Body(threshold);
  streamed["stream"] = true;
  EXPECT_EQ(Ask(1, Body(threshold))["choices"][0]["finish_reason"], "cache_threshold");
  const HttpReply stream = Fetch(simulator_->port(1), "POST", kChat, streamed.dump());
  EXPECT_THAT(stream.body, HasSubstr(R"("finish_reason":"cache_threshold")"));
  EXPECT_TRUE(stream.body.ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(State(1)["computed_tokens"], 0);
  Ask(0, Body());
  EXPECT_EQ(Ask(1, Body(threshold))["choices"][0]["finish_reason"], "length");
  EXPECT_LT(State(1)["computed_tokens"], 16) << "less than a block";
  EXPECT_EQ(Counts(1)["declined"], 2);
  EXPECT_GT(Counts(1)["loaded_tokens"], 90);
}

TEST_F(TransferTest, OffloadingPullsCachedPrefixes) {
  Start(KvConnector::kOffloading);
  const auto pull = [&](const std::string& id, int port) {
    return Kv({{"remote_kv_source",
                {{"kv_request_id", id}, {"remote_host", Host(1)}, {"remote_port", port}}}});
  };
  Ask(1, Body());
  const uint64_t computed = State(1)["computed_tokens"];
  Ask(0, Body(pull("a", 7778)));
  EXPECT_GT(Counts(0)["pulled_tokens"], 0);
  EXPECT_LT(State(0)["computed_tokens"], computed);
  EXPECT_THAT(Refused(0, Body(pull("a", 7778))), HasSubstr("used before"));
  EXPECT_THAT(Refused(0, Body(pull("b", 7780))), HasSubstr("no engine is at"));
}

TEST_F(TransferTest, MediaAreEncodedOnce) {
  for (const EcConnector ec : {EcConnector::kNixl, EcConnector::kExample}) {
    Start(KvConnector::kNixl, ec);
    EXPECT_THAT(Refused(2, Body(), 400), HasSubstr("nothing to encode"));
    Ask(0, Body(Image("data:image/png;base64,AAAA")));
    EXPECT_EQ(Counts(0)["media_computed"], 1);
    const json answer = Ask(2, Body(Image("data:image/png;base64,AAAA")));
    json next = Body(Image("data:image/png;base64,AAAA"));
    EXPECT_EQ(answer.contains("ec_transfer_params"), ec == EcConnector::kNixl);
    if (ec == EcConnector::kNixl) {
      next["ec_transfer_params"] = answer["ec_transfer_params"];
      json wrong = next;
      wrong["ec_transfer_params"].begin().value()["peer_port"] = 1;
      EXPECT_THAT(Refused(0, wrong), HasSubstr("nobody has encoded"));
    }
    Ask(0, next);
    EXPECT_EQ(Counts(2)["media_encoded"], 1);
    EXPECT_EQ(Counts(0)["media_received"], 1);
  }
}

TEST_F(TransferTest, DropsConnectionsWithoutAnAnswer) {
  Start(KvConnector::kNixl);
  Fault fault;
  fault.kind = FaultKind::kDrop;
  fault.count = 1;
  ASSERT_TRUE(simulator_->SetFault(0, fault).ok());
  EXPECT_EQ(Fetch(simulator_->port(0), "POST", kChat, Body().dump()).status, 0);
  Ask(0, Body());
}

}  // namespace
}  // namespace epp::sim
