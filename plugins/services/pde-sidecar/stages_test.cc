// The stages over real sockets: what each worker is asked, and what the client gets.
#include <gmock/gmock.h>

#include <atomic>

#include "rig.h"
#include "splice.h"

namespace sidecar::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kGenerate = "/inference/v1/generate";
constexpr const char* kPrefill = "x-prefiller-host-port";
constexpr const char* kEncode = "x-encoder-hosts-ports";
constexpr const char* kSource = "x-kv-cache-source-host-port";
constexpr const char* kNixlReply =
    R"({"usage":{"prompt_tokens_details":{"cached_tokens":7}},"kv_transfer_params":)"
    R"({"do_remote_prefill":true,"remote_block_ids":[[9007199254740993]],"remote_port":1.0}})";

// The value of a member of a body, "" when it is absent.
std::string In(const std::string& body, std::string_view key) {
  return std::string(Lookup(body, key).value_or(""));
}
std::string Kv(const std::string& body, std::string_view key) {
  return In(In(body, "kv_transfer_params"), key);
}

struct Stages {
  explicit Stages(const std::string& connector, const std::string& prefill_reply = kNixlReply,
                  const std::string& decode_reply = "{}")
      : prefill(prefill_reply), decode(decode_reply) {
    rig.config.kv_connector = connector;
  }
  Response Run(const std::string& body, const std::string& path = kChat,
               std::vector<std::pair<std::string, std::string>> headers = {}) {
    if (!rig.server) rig.Start(decode);
    headers.emplace_back(kPrefill, prefill.address());
    return Post(rig.port(), path, body, headers);
  }
  const std::string P() const { return prefill.received().back().body; }
  const std::string D() const { return decode.received().back().body; }

  FakeWorker prefill;
  FakeWorker decode;
  Rig rig;
};

// ---- nixlv2 ----

TEST(NixlTest, Case014PrefillThenDecode) {
  Stages s("nixlv2");
  const std::string body =
      R"({"model":"m", "max_tokens":50,"stream":true,"stream_options":{},"x":1.0})";
  EXPECT_EQ(s.Run(body).status, 200);
  EXPECT_EQ(s.P(), R"({"model":"m", "max_tokens":1,"stream":false,"x":1.0,"kv_transfer_params":)"
                   R"({"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,)"
                   R"("remote_block_ids":null,"remote_host":null,"remote_port":null},)"
                   R"("max_completion_tokens":1,"min_tokens":1})");
  EXPECT_EQ(s.D(), R"({"model":"m", "max_tokens":50,"stream":true,"stream_options":{},"x":1.0,)"
                   R"("kv_transfer_params":{"do_remote_prefill":true,"remote_block_ids":)"
                   R"([[9007199254740993]],"remote_port":1.0}})");
  EXPECT_EQ(s.decode.calls(), 1u);
  EXPECT_NE(s.prefill.received()[0].header("x-request-id"), "");
  EXPECT_EQ(s.prefill.received()[0].header("x-request-id"),
            s.decode.received()[0].header("x-request-id"));
  // Case 25: no trace of MoRI-IO.
  EXPECT_THAT(s.P() + s.D(), Not(HasSubstr("transfer_id")));
  EXPECT_EQ(s.prefill.received()[0].header("x-data-parallel-rank"), "");
}

TEST(NixlTest, Case015ASchemeInTheHeader) {
  Stages s("nixlv2");
  s.rig.Start(s.decode);
  Post(s.rig.port(), kChat, "{}", {{kPrefill, "http://" + s.prefill.address()}});
  EXPECT_EQ(s.prefill.calls(), 1u);
}

struct Caps {
  const char* path;
  const char* body;
  const char* prefill;  // a part of the body
  const char* decode;
};
TEST(NixlTest, Case016To020Limits) {
  Stages s("nixlv2");
  for (const Caps& c : {
           Caps{kChat, R"({"max_completion_tokens":100})", R"("max_completion_tokens":1,)",
                R"("max_completion_tokens":100,)"},
           Caps{kChat, R"({"max_tokens":100,"min_tokens":5})", R"("max_tokens":1,"min_tokens":1,)",
                R"("max_tokens":100,"min_tokens":5,)"},
           Caps{kChat, "{}", R"("max_tokens":1,"max_completion_tokens":1,"min_tokens":1)",
                R"({"kv_transfer_params")"},
           Caps{"/v1/messages", R"({"max_tokens":9})", R"("max_tokens":1,)", R"("max_tokens":9,)"},
           Caps{"/v1/responses", R"({"max_output_tokens":100,"stream":true})",
                R"({"max_output_tokens":1,"stream":false,)",
                R"({"max_output_tokens":100,"stream":true,)"},
           Caps{"/v1/responses", "{}", R"("max_output_tokens":1)", R"({"kv_transfer_params")"},
           Caps{kGenerate, R"({"sampling_params":{"max_tokens":100,"min_tokens":5}})",
                R"({"sampling_params":{"max_tokens":1,"min_tokens":1},)",
                R"({"sampling_params":{"max_tokens":100,"min_tokens":5},)"},
           Caps{kGenerate, R"({"sampling_params":{"temperature":0.7}})",
                R"({"temperature":0.7,"max_tokens":1,"min_tokens":1})",
                R"({"sampling_params":{"temperature":0.7},)"},
           Caps{kGenerate, "{}", R"("sampling_params":{"max_tokens":1,"min_tokens":1})",
                R"({"kv_transfer_params")"},
       }) {
    EXPECT_EQ(s.Run(c.body, c.path).status, 200);
    EXPECT_THAT(s.P(), HasSubstr(c.prefill)) << c.body;
    EXPECT_THAT(s.D(), HasSubstr(c.decode)) << c.body;
    EXPECT_EQ(s.prefill.received().back().target, c.path);
  }
}

TEST(NixlTest, Case021CachedTokensAreThoseOfPrefill) {
  Stages s("nixlv2", kNixlReply,
           R"({"usage":{"prompt_tokens_details":{"cached_tokens":49}},"a":1.0})");
  EXPECT_EQ(s.Run("{}").body, R"({"usage":{"prompt_tokens_details":{"cached_tokens":7}},"a":1.0})");
  Stages none("nixlv2", "{}", R"({"usage":{"a":1}})");
  EXPECT_EQ(none.Run("{}").body,
            R"({"usage":{"a":1,"prompt_tokens_details":{"cached_tokens":0}}})");
  EXPECT_EQ(In(none.D(), "kv_transfer_params"), "null");
}

TEST(NixlTest, Case021CachedTokensInAStream) {
  const FakeWorker prefill(kNixlReply);
  const FakeWorker decode([](const Received&, const Writer& write) {
    write(StreamHead() + Chunk("data: {\"d\":1}\n\nda") + Chunk("ta: {\"usage\":{\"prompt_tokens") +
          Chunk("_details\":{\"cached_tokens\":49}}}\n\ndata: [DONE]\n\n") + LastChunk());
  });
  Rig rig;
  rig.Start(decode);
  const Response response = Post(rig.port(), kChat, "{}", {{kPrefill, prefill.address()}});
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(response.body,
            "data: {\"d\":1}\n\ndata: {\"usage\":{\"prompt_tokens_details\":{\"cached_tokens\":7}}}"
            "\n\ndata: [DONE]\n\n");
}

TEST(NixlTest, Case022To024Retries) {
  struct Row {
    uint32_t retries;
    int failures;
    int status;
    size_t calls;
    int seen;
  };
  for (const Row& row : {Row{2, 1, 502, 2, 200}, Row{2, 1, 503, 2, 200}, Row{2, 1, 504, 2, 200},
                         Row{0, 9, 502, 1, 502}, Row{2, 9, 502, 3, 502}, Row{2, 9, 500, 1, 500}}) {
    std::atomic<int> calls{0};
    const FakeWorker prefill([&](const Received&, const Writer& write) {
      write(calls.fetch_add(1) < row.failures
                ? Answer("no", row.status)
                : Answer(R"({"kv_transfer_params":{"n":)" + std::to_string(calls) + "}}"));
    });
    const FakeWorker decode("{}");
    Rig rig;
    rig.config.prefill_retries = row.retries;
    rig.Start(decode);
    const Response response = Post(rig.port(), kChat, "{}", {{kPrefill, prefill.address()}});
    EXPECT_EQ(response.status, row.seen);
    EXPECT_EQ(prefill.calls(), row.calls);
    EXPECT_EQ(decode.calls(), row.seen == 200 ? 1u : 0u);
    if (row.seen == 200) {
      EXPECT_EQ(Kv(decode.received()[0].body, "n"), "2");
    } else {
      EXPECT_EQ(response.body, "no");
    }
  }
}

TEST(NixlTest, APrefillerThatCannotBeReachedIs502) {
  Stages s("nixlv2");
  s.rig.Start(s.decode);
  EXPECT_EQ(Post(s.rig.port(), kChat, "{}", {{kPrefill, "127.0.0.1:1"}}).status, 502);
  EXPECT_EQ(s.decode.calls(), 0u);
}

TEST(NixlTest, APrefillerThatHangsIs504) {
  const FakeWorker prefill([](const Received&, const Writer& write) {
    while (write("")) {
    }
  });
  const FakeWorker decode("{}");
  Rig rig;
  rig.config.prefill_timeout = Milliseconds(50);
  rig.Start(decode);
  EXPECT_EQ(Post(rig.port(), kChat, "{}", {{kPrefill, prefill.address()}}).status, 504);
  EXPECT_TRUE(prefill.WaitForLeft(1));
}

TEST(NixlTest, AClientThatLeavesEndsPrefill) {
  const FakeWorker prefill([](const Received&, const Writer& write) {
    while (write("")) {
    }
  });
  const FakeWorker decode("{}");
  Rig rig;
  rig.Start(decode);
  Client client(rig.port());
  client.Send(PostText(kChat, "{}", {{kPrefill, prefill.address()}}));
  ASSERT_TRUE(prefill.WaitForCalls(1));
  client.Close();
  EXPECT_TRUE(prefill.WaitForLeft(1));
  EXPECT_TRUE(Eventually([&] { return rig.server->running() == 0; }));
  EXPECT_EQ(decode.calls(), 0u);
}

// ---- MoRI-IO ----

void SetMori(Config& c, int64_t dp, bool parallel) {
  c.mori.write_mode = true;
  c.mori.parallel_dispatch = parallel;
  c.mori.local_host = "10.9.9.9";
  c.mori.dp_size = dp;
}

TEST(MoriStagesTest, Case027And028Serial) {
  Stages s("nixlv2", R"({"kv_transfer_params":{"remote_dp_rank":3}})");
  SetMori(s.rig.config, 8, false);
  EXPECT_EQ(s.Run("{}").status, 200);
  EXPECT_EQ(Kv(s.P(), "remote_host"), "\"10.9.9.9\"");
  EXPECT_EQ(Kv(s.P(), "remote_notify_port"), "61005");
  EXPECT_EQ(Kv(s.P(), "transfer_id"), Kv(s.D(), "transfer_id"));
  EXPECT_EQ(s.prefill.received()[0].header("x-data-parallel-rank"), Kv(s.P(), "remote_dp_rank"));
  EXPECT_EQ(Kv(s.D(), "remote_dp_rank"), "3");
  EXPECT_EQ(s.decode.received()[0].header("x-data-parallel-rank"), "3");
  EXPECT_EQ(Kv(s.D(), "remote_dp_rank_override"), "true");
}

TEST(MoriStagesTest, Case029And030Parallel) {
  Stages s("nixlv2");
  SetMori(s.rig.config, 16, true);
  s.rig.config.mori.dp_size_local = 8;
  s.rig.config.mori.decode_hosts = {"10.0.1.1", "10.0.1.2"};
  s.rig.config.mori.remote_hosts = {"10.0.2.1", "10.0.2.2"};
  EXPECT_EQ(s.Run(R"({"max_tokens":9,"min_tokens":2})").status, 200);
  for (const char* key : {"remote_dp_rank", "transfer_id", "remote_dp_size_local"}) {
    EXPECT_EQ(Kv(s.P(), key), Kv(s.D(), key)) << key;
  }
  EXPECT_EQ(Kv(s.P(), "remote_hosts"), R"(["10.0.1.1","10.0.1.2"])");
  EXPECT_EQ(Kv(s.D(), "remote_hosts"), R"(["10.0.2.1","10.0.2.2"])");
  EXPECT_EQ(Kv(s.P(), "do_remote_decode") + Kv(s.D(), "do_remote_prefill"), "truetrue");
  EXPECT_EQ(In(s.P(), "min_tokens") + In(s.D(), "min_tokens"), "12");
}

TEST(MoriStagesTest, Case025And026WithoutWriteMode) {
  for (const int64_t size : {1, 8}) {
    Stages s("nixlv2", R"({"kv_transfer_params":{"a":1}})");
    s.rig.config.mori.dp_size = size;
    EXPECT_EQ(s.Run("{}", kChat, {{"x-request-id", "client-1"}}).status, 200);
    EXPECT_EQ(In(s.D(), "kv_transfer_params"), R"({"a":1})");
    EXPECT_EQ(s.decode.received()[0].header("x-data-parallel-rank"), "");
    EXPECT_EQ(s.prefill.received()[0].header("x-data-parallel-rank") != "", size > 1);
    EXPECT_EQ(s.prefill.received()[0].header("x-request-id"),
              s.decode.received()[0].header("x-request-id"));
    for (const char* key : {"transfer_id", "remote_dp_size", "remote_hosts", "remote_dp_rank"}) {
      EXPECT_EQ(Kv(s.P(), key), "") << key;
    }
  }
}

TEST(MoriStagesTest, Case033DecodeStreamsWhenPrefillHasSucceeded) {
  const FakeWorker prefill("{}");
  const FakeWorker decode([](const Received&, const Writer& write) {
    write(StreamHead() + Chunk("data: 1\n\n"));
    write(Chunk("data: 2\n\n") + Chunk("data: [DONE]\n\n") + LastChunk());
  });
  Rig rig;
  SetMori(rig.config, 1, true);
  rig.Start(decode);
  const Response got =
      Post(rig.port(), kChat, R"({"stream":true})", {{kPrefill, prefill.address()}});
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.header("content-type"), "text/event-stream");
  EXPECT_TRUE(got.complete);
  EXPECT_EQ(got.body, "data: 1\n\ndata: 2\n\ndata: [DONE]\n\n");
}

TEST(MoriStagesTest, Case070HostsAreNumbersForEngines) {
  Stages s("nixlv2");
  SetMori(s.rig.config, 1, true);
  s.rig.config.mori.local_host = "localhost";
  s.rig.config.mori.decode_hosts = {"localhost"};
  s.rig.config.mori.remote_hosts = {"10.1.1.1"};
  EXPECT_EQ(s.Run("{}").status, 200);
  EXPECT_EQ(Kv(s.P(), "remote_host"), "\"127.0.0.1\"");
  EXPECT_EQ(Kv(s.P(), "remote_hosts"), R"(["127.0.0.1"])");
  EXPECT_EQ(Kv(s.D(), "remote_hosts"), R"(["10.1.1.1"])");

  Rig nobody;
  SetMori(nobody.config, 1, true);
  nobody.config.mori.local_host = "nobody..invalid";
  nobody.host.SetCreating(true);
  Server server(nobody.config, epp::Host(nobody.host.raw()));
  nobody.host.SetCreating(false);
  EXPECT_EQ(server.Start().message(), "moriio: host nobody..invalid has no address");
}

TEST(MoriStagesTest, Case031PrefillFailsAndDecodeIsDropped) {
  const FakeWorker prefill("broken", 500);
  const FakeWorker decode(R"({"from":"decode"})");
  Rig rig;
  SetMori(rig.config, 1, true);
  rig.Start(decode);
  const Response response = Post(rig.port(), kChat, "{}", {{kPrefill, prefill.address()}});
  EXPECT_EQ(response.status, 500);
  EXPECT_EQ(response.body, "broken");
}

TEST(MoriStagesTest, Case032BothHang) {
  const auto hang = [](const Received&, const Writer& write) {
    while (write("")) {
    }
  };
  const FakeWorker prefill(hang), decode(hang);
  Rig rig;
  SetMori(rig.config, 1, true);
  rig.config.mori.wait = Milliseconds(300);
  rig.Start(decode);
  const Response response = Post(rig.port(), kChat, "{}", {{kPrefill, prefill.address()}});
  EXPECT_EQ(response.status, 504);
  EXPECT_NE(In(response.body, "error"), "");
  EXPECT_TRUE(prefill.WaitForLeft(1));
  EXPECT_TRUE(decode.WaitForLeft(1));
}

// ---- shared storage ----

TEST(SharedStorageTest, Case041Limits) {
  Stages s("shared-storage", "not even json");
  EXPECT_EQ(s.Run(R"({"max_completion_tokens":100,"stream":true})").status, 200);
  EXPECT_EQ(In(s.P(), "max_completion_tokens") + In(s.P(), "max_tokens"), "11");
  EXPECT_EQ(In(s.D(), "max_completion_tokens"), "100");
  EXPECT_EQ(In(s.D(), "cache_hit_threshold"), "0");
  EXPECT_EQ(In(s.D(), "kv_transfer_params"), "");
}

TEST(SharedStorageTest, Case042And043DecodeIsAskedFirst) {
  for (const bool stream : {false, true}) {
    for (const bool declines : {false, true}) {
      std::atomic<int> calls{0};
      const FakeWorker decode([&](const Received&, const Writer& write) {
        const bool no = calls.fetch_add(1) == 0 && declines;
        const std::string json = std::string(R"({"choices":[{"finish_reason":)") +
                                 (no ? "\"cache_threshold\"" : "\"stop\"") + "}]}";
        if (!stream) {
          write(Answer(json));
        } else {
          write(StreamHead() + Chunk("data: " + json + "\r\n\r\n") + Chunk("data: [DONE]\r\n\r\n") +
                LastChunk());
        }
      });
      const FakeWorker prefill("{}");
      Rig rig;
      rig.config.kv_connector = "shared-storage";
      rig.Start(decode);
      const std::string body =
          std::string(R"({"cache_hit_threshold":0.5)") + (stream ? R"(,"stream":true})" : "}");
      const Response response = Post(rig.port(), kChat, body, {{kPrefill, prefill.address()}});
      EXPECT_EQ(response.status, 200);
      EXPECT_TRUE(response.complete);
      EXPECT_THAT(response.body, HasSubstr("\"stop\""));
      EXPECT_EQ(response.headers.count("content-type"), 1u);
      EXPECT_EQ(prefill.calls(), declines ? 1u : 0u);
      EXPECT_EQ(decode.calls(), declines ? 2u : 1u);
      EXPECT_EQ(decode.received()[0].body, body);
    }
  }
}

// ---- both at once ----

TEST(SglangTest, Case045BothMeetInARoom) {
  Stages s("sglang", "x");
  EXPECT_EQ(s.Run(R"({"bootstrap_host":"evil"})").status, 200);
  ASSERT_TRUE(s.prefill.WaitForCalls(1));
  EXPECT_EQ(s.P(), s.D());
  EXPECT_EQ(In(s.D(), "bootstrap_host"), "\"127.0.0.1\"");
  EXPECT_EQ(In(s.D(), "bootstrap_port"), "8998");
  EXPECT_GT(IntegerOf(In(s.D(), "bootstrap_room")).value_or(0), 0);
}

TEST(SglangTest, Case046PrefillMayTakeLonger) {
  std::atomic<bool> more{false}, finished{false};
  const FakeWorker prefill([&](const Received&, const Writer& write) {
    while (!more.load()) std::this_thread::yield();
    finished.store(write(Answer("{}")));
  });
  const FakeWorker decode(R"({"a":1})");
  Rig rig;
  rig.config.kv_connector = "sglang";
  rig.Start(decode);
  EXPECT_EQ(Post(rig.port(), kChat, "{}", {{kPrefill, prefill.address()}}).body, R"({"a":1})");
  EXPECT_GE(rig.server->running(), 1u) << "a drain waits for it";
  more.store(true);
  EXPECT_TRUE(Eventually([&] { return rig.server->running() == 0; }));
  EXPECT_EQ(prefill.left(), 0);
}

TEST(SglangTest, PrefillThatFailsTakesDecodeWithIt) {
  const FakeWorker prefill("full", 503);
  const FakeWorker decode([](const Received&, const Writer& write) {
    while (write("")) {
    }
  });
  Rig rig;
  rig.config.kv_connector = "sglang";
  rig.Start(decode);
  const Response response = Post(rig.port(), kChat, "{}", {{kPrefill, prefill.address()}});
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.body, "full");
  EXPECT_TRUE(decode.WaitForLeft(1));
}

TEST(SglangTest, DecodeThatFailsTakesPrefillWithIt) {
  const FakeWorker prefill([](const Received&, const Writer& write) {
    while (write("")) {
    }
  });
  const FakeWorker decode("no", 422);
  Rig rig;
  rig.config.kv_connector = "sglang";
  rig.Start(decode);
  EXPECT_EQ(Post(rig.port(), kChat, "{}", {{kPrefill, prefill.address()}}).status, 422);
  EXPECT_TRUE(Eventually([&] { return rig.server->running() == 0; }));
}

TEST(MooncakeTest, Case047And048) {
  const FakeWorker bootstrap(R"({"5":{"engine_id":"e5"},"x":{"engine_id":"bad"},"7":{}})");
  Stages s("mooncake");
  s.rig.config.mooncake_port = static_cast<uint16_t>(bootstrap.port());
  EXPECT_EQ(s.Run(R"({"max_tokens":9,"max_completion_tokens":8})").status, 200);
  ASSERT_TRUE(s.prefill.WaitForCalls(1));
  EXPECT_EQ(s.Run("{}").status, 200);
  ASSERT_TRUE(s.prefill.WaitForCalls(2));
  EXPECT_EQ(bootstrap.calls(), 1u) << "then it is known";
  EXPECT_EQ(bootstrap.received()[0].target, "/query");
  const std::string p = s.prefill.received()[0].body, d = s.decode.received()[0].body;
  EXPECT_EQ(Kv(p, "transfer_id"), Kv(d, "transfer_id"));
  EXPECT_THAT(Kv(p, "transfer_id"), HasSubstr("\"xfer-"));
  EXPECT_EQ(In(p, "max_tokens") + In(p, "max_completion_tokens"), "11");
  EXPECT_EQ(In(d, "max_tokens") + In(d, "max_completion_tokens"), "98");
  EXPECT_EQ(s.prefill.received()[0].header("x-data-parallel-rank"), "5");
  EXPECT_EQ(Kv(d, "remote_engine_id"), "\"e5\"");
  EXPECT_EQ(Kv(d, "remote_bootstrap_addr"), "\"http://" + bootstrap.address() + "\"");
}

TEST(MooncakeTest, Case048ABadBootstrapServerIs502) {
  for (const auto& [body, status] :
       {std::pair("{}", 500), std::pair("garbage", 200), std::pair("{}", 200)}) {
    const FakeWorker bootstrap(body, status);
    Stages s("mooncake");
    s.rig.config.mooncake_port = static_cast<uint16_t>(bootstrap.port());
    EXPECT_EQ(s.Run("{}").status, 502);
    EXPECT_EQ(s.prefill.calls() + s.decode.calls(), 0u);
  }
}

TEST(MooncakeTest, ARestartedWorkersEngineIsFound) {
  std::atomic<int> life{1};
  const FakeWorker bootstrap([&](const Received&, const Writer& write) {
    write(Answer(R"({"0":{"engine_id":"e)" + std::to_string(life) + R"("}})"));
  });
  const FakeWorker prefill("{}");
  const FakeWorker decode([&](const Received& request, const Writer& write) {
    const bool right = Kv(request.body, "remote_engine_id") == "\"e" + std::to_string(life) + "\"";
    write(right && request.body.find("broken") == std::string::npos ? Answer("{}")
                                                                    : Answer("no blocks", 500));
  });
  Rig rig;
  rig.config.kv_connector = "mooncake";
  rig.config.mooncake_port = static_cast<uint16_t>(bootstrap.port());
  rig.Start(decode);
  const auto ask = [&](const std::string& body) {
    return Post(rig.port(), kChat, body, {{kPrefill, prefill.address()}});
  };
  EXPECT_EQ(ask("{}").status, 200);
  life = 2;
  EXPECT_EQ(ask("{}").status, 200) << "asked again, and both legs sent again";
  EXPECT_EQ(decode.calls(), 3u);
  const auto received = decode.received();
  EXPECT_NE(Kv(received[1].body, "transfer_id"), Kv(received[2].body, "transfer_id"));
  // Nothing else that decode fails of is repeated.
  const Response failed = ask(R"({"x":"broken"})");
  EXPECT_EQ(failed.status, 500);
  EXPECT_EQ(failed.body, "no blocks");
  EXPECT_EQ(decode.calls(), 4u);
  EXPECT_EQ(bootstrap.calls(), 3u);
}

// ---- offloading and pulls ----

TEST(OffloadingTest, Case049PrefillFirst) {
  Stages s("offloading");
  EXPECT_EQ(s.Run(R"({"max_tokens":9,"kv_transfer_params":{"x":1}})").status, 200);
  EXPECT_EQ(In(s.P(), "max_completion_tokens"), "");
  EXPECT_EQ(In(s.D(), "max_tokens"), "9");
  EXPECT_EQ(In(Kv(s.P(), "remote_decoder"), "kv_request_id"),
            In(Kv(s.D(), "remote_prefiller"), "kv_request_id"));
  EXPECT_EQ(In(Kv(s.D(), "remote_prefiller"), "remote_port"), "7777");
  EXPECT_EQ(Kv(s.D(), "x"), "");
}

TEST(OffloadingTest, Case050To053Sources) {
  Stages s("offloading");
  s.rig.config.pod_ip = "10.1.1.1";
  s.rig.Start(s.decode);
  const auto decode_only = [&](const std::string& source) {
    Post(s.rig.port(), kChat, R"({"kv_transfer_params":{"x":1}})", {{kSource, source}});
    return s.D();
  };
  const std::string first = decode_only("10.2.2.2:8000"), second = decode_only("10.2.2.2:8000");
  EXPECT_EQ(In(Kv(first, "remote_kv_source"), "remote_host"), "\"10.2.2.2\"");
  EXPECT_EQ(Kv(first, "x"), "");
  EXPECT_NE(Kv(first, "remote_kv_source"), Kv(second, "remote_kv_source"));
  for (const char* ignored : {"not-a-host-port", ":8000", "10.1.1.1:0"}) {
    EXPECT_EQ(decode_only(ignored), "{}") << ignored;
  }
  s.Run("{}", kChat, {{kSource, "10.2.2.2:8000"}});
  EXPECT_NE(Kv(s.P(), "remote_kv_source"), "");
  EXPECT_NE(In(Kv(s.P(), "remote_kv_source"), "kv_request_id"),
            In(Kv(s.P(), "remote_decoder"), "kv_request_id"));
  EXPECT_EQ(Kv(s.D(), "remote_kv_source"), "");
  s.Run("{}", kChat, {{kSource, s.prefill.address()}});
  EXPECT_EQ(Kv(s.P(), "remote_kv_source"), "");
}

TEST(OffloadingTest, Case054WhoPulls) {
  for (const auto& [connector, flag, pulls] :
       {std::tuple("nixlv2", false, false), std::tuple("nixlv2", true, true),
        std::tuple("sglang", false, false), std::tuple("shared-storage", false, false)}) {
    Stages s(connector);
    s.rig.config.enable_p2p_pull = flag;
    s.Run("{}", kChat, {{kSource, "10.2.2.2:8000"}});
    ASSERT_TRUE(s.prefill.WaitForCalls(1));
    EXPECT_EQ(Kv(s.P(), "remote_kv_source") != "", pulls) << connector;
    EXPECT_EQ(Kv(s.P(), "do_remote_decode") == "true", connector == std::string("nixlv2"));
  }
}

// ---- encode ----

constexpr const char* kImages =
    R"({"cache_hit_threshold":0.5,"messages":[{"role":"user","content":[)"
    R"({"type":"image_url","image_url":{"url":"a"}},{"type":"image_url","image_url":{"url":"b"}}]}]})";

TEST(EncodeStagesTest, Case005And059AndSharedStorage044) {
  const FakeWorker encode([](const Received& request, const Writer& write) {
    EXPECT_EQ(request.target, kChat);
    const bool first = request.body.find(R"("url":"a")") != std::string::npos;
    write(Answer(std::string(R"({"ec_transfer_params":{"h)") + (first ? "a" : "b") + R"(":{}}})"));
  });
  const FakeWorker encode2(R"({"ec_transfer_params":{"z":{}}})");
  Stages s("shared-storage", "{}", R"({"choices":[{"finish_reason":"stop"}]})");
  s.rig.config.ec_connector = "ec-nixl";
  EXPECT_EQ(s.Run(kImages, kChat, {{kEncode, encode.address() + "," + encode2.address()}}).status,
            200);
  EXPECT_EQ(encode.calls() + encode2.calls(), 2u);
  EXPECT_EQ(s.prefill.calls(), 1u) << "no probe after an encode step";
  EXPECT_EQ(s.decode.calls(), 1u);
  EXPECT_EQ(In(s.P(), "ec_transfer_params"), R"({"ha":{},"z":{}})");
  Post(s.rig.port(), kChat, kImages, {{kEncode, encode.address()}});
  EXPECT_EQ(In(s.D(), "ec_transfer_params"), R"({"ha":{},"hb":{}})") << "Case 61";
  EXPECT_EQ(In(s.D(), "cache_hit_threshold"), "0");
}

TEST(EncodeStagesTest, Case060AFailureEndsTheSiblings) {
  const FakeWorker bad("out of memory", 500);
  const FakeWorker slow([](const Received&, const Writer& write) {
    while (write("")) {
    }
  });
  Stages s("nixlv2");
  s.rig.config.ec_connector = "ec-example";
  const Response response =
      s.Run(kImages, kChat, {{kEncode, bad.address() + "," + slow.address()}});
  EXPECT_EQ(response.status, 502);
  EXPECT_THAT(response.body, HasSubstr("out of memory"));
  EXPECT_EQ(s.prefill.calls() + s.decode.calls(), 0u);
}

// ---- chunks ----

std::string Completion(const std::string& text, const std::string& finish, int tokens) {
  return R"({"id":"x","object":"chat.completion","choices":[{"index":0,"finish_reason":")" +
         finish + R"(","message":{"role":"assistant","content":")" + text +
         R"("}}],"usage":{"prompt_tokens":8,"completion_tokens":)" + std::to_string(tokens) + "}}";
}

TEST(ChunkStagesTest, Case063And064) {
  for (const bool stream : {false, true}) {
    std::atomic<int> calls{0};
    const FakeWorker decode([&](const Received&, const Writer& write) {
      write(Answer(calls.fetch_add(1) % 2 == 0 ? Completion("one ", "length", 5)
                                               : Completion("two", "stop", 5)));
    });
    Rig rig;
    rig.config.decode_chunk_tokens = 5;
    rig.Start(decode);
    const Response response =
        Post(rig.port(), kChat,
             std::string(R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":10)") +
                 (stream ? R"(,"stream":true})" : "}"));
    EXPECT_EQ(response.status, 200);
    ASSERT_EQ(decode.calls(), 2u);
    EXPECT_EQ(In(decode.received()[0].body, "max_tokens"), "5");
    EXPECT_THAT(
        decode.received()[1].body,
        HasSubstr(R"([{"role":"user","content":"hi"},{"role":"assistant","content":"one "}])"));
    if (stream) {
      EXPECT_THAT(response.header("content-type"), HasSubstr("text/event-stream"));
      EXPECT_THAT(response.body, HasSubstr(R"("content":"one ")"));
      EXPECT_THAT(response.body, ::testing::EndsWith(R"("total_tokens":18}})"
                                                     "\n\ndata: [DONE]\n\n"));
    } else {
      EXPECT_THAT(response.body, HasSubstr(R"("content":"one two")"));
      EXPECT_THAT(response.body,
                  HasSubstr(R"({"prompt_tokens":8,"completion_tokens":10,"total_tokens":18})"));
    }
  }
  const FakeWorker decode("bad", 502);
  Rig rig;
  rig.config.decode_chunk_tokens = 5;
  rig.Start(decode);
  EXPECT_EQ(Post(rig.port(), kChat, R"({"max_tokens":10})").status, 502);
}

}  // namespace
}  // namespace sidecar::test
