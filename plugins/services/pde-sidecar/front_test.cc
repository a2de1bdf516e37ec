// What the front makes of routing headers, of other requests and of hostile ones.
#include <gmock/gmock.h>

#include "rig.h"

namespace sidecar::test {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kPrefill = "x-prefiller-host-port";
constexpr const char* kEncode = "x-encoder-hosts-ports";
constexpr const char* kSource = "x-kv-cache-source-host-port";
constexpr const char* kBody = R"({"model":"m","messages":[{"role":"user","content":[)"
                              R"({"type":"image_url","image_url":{"url":"http://i/1"}}]}]})";

class FrontTest : public ::testing::Test {
 protected:
  FakeWorker decode_{R"({"from":"decode"})"};
  FakeWorker prefill_{R"({"from":"prefill"})"};
  FakeWorker other_{R"({"from":"other"})"};
  FakeWorker encode_{R"({"from":"encode"})"};
  Rig rig_;
};

TEST_F(FrontTest, Case001WithoutAPrefillerDecodeServes) {
  rig_.Start(decode_);
  EXPECT_EQ(Post(rig_.port(), kChat, kBody).body, R"({"from":"decode"})");
  EXPECT_EQ(Post(rig_.port(), kChat, kBody, {{kPrefill, ""}}).body, R"({"from":"decode"})");
  EXPECT_EQ(Post(rig_.port(), kChat, kBody, {{kPrefill, ""}, {kPrefill, ""}}).status, 200);
  EXPECT_EQ(decode_.calls(), 3u);
  EXPECT_EQ(decode_.received()[0].body, kBody) << "byte for byte";
}

TEST_F(FrontTest, Case002TheFirstOfSeveralPrefillersIsTaken) {
  rig_.Start(decode_);
  const std::string one = prefill_.address(), two = other_.address();
  Post(rig_.port(), kChat, kBody, {{kPrefill, one}});
  Post(rig_.port(), kChat, kBody, {{kPrefill, one + "," + two}});
  Post(rig_.port(), kChat, kBody, {{kPrefill, one}, {kPrefill, two}});
  Post(rig_.port(), kChat, kBody, {{kPrefill, " " + one + ", " + two + " "}});
  EXPECT_EQ(prefill_.calls(), 4u);
  EXPECT_EQ(other_.calls(), 0u);
}

TEST_F(FrontTest, Case003SamplingReachesAll) {
  rig_.config.prefiller_sampling = true;
  rig_.Start(decode_);
  const std::string both = prefill_.address() + "," + other_.address();
  for (int i = 0; i < 40; ++i) Post(rig_.port(), kChat, kBody, {{kPrefill, both}});
  EXPECT_GT(prefill_.calls(), 5u);
  EXPECT_GT(other_.calls(), 5u);
}

TEST_F(FrontTest, Case004RoutingHeadersGoNoFurther) {
  rig_.config.ec_connector = "ec-example";
  rig_.Start(decode_);
  Post(rig_.port(), kChat, kBody,
       {{kPrefill, prefill_.address()},
        {kEncode, encode_.address()},
        {kSource, "a:1"},
        {"Authorization", "Bearer x"},
        {"Connection", "x-hop"},
        {"x-hop", "1"}});
  Get(rig_.port(), "/v1/models");
  for (const FakeWorker* worker : {&decode_, &prefill_, &encode_}) {
    ASSERT_GE(worker->calls(), 1u);
    for (const Received& request : worker->received()) {
      for (const char* name : {kPrefill, kEncode, kSource, "x-hop", "connection"}) {
        EXPECT_EQ(request.header(name), "") << name;
      }
    }
  }
  EXPECT_EQ(prefill_.received()[0].header("authorization"), "Bearer x");
  EXPECT_EQ(prefill_.received()[0].header("host"), "client.example");
  EXPECT_EQ(decode_.received()[0].header("x-forwarded-for"), "127.0.0.1");
  EXPECT_EQ(encode_.received()[0].header("authorization"), "");
  EXPECT_EQ(encode_.received()[0].header("host"), encode_.address());
}

TEST_F(FrontTest, Case006And007TheAllowListDropsEncoders) {
  rig_.config.ec_connector = "ec-example";
  std::string bad;
  ASSERT_TRUE(rig_.config.allowed.Add(prefill_.address(), &bad));
  ASSERT_TRUE(rig_.config.allowed.Add(encode_.address(), &bad));
  rig_.Start(decode_);
  EXPECT_EQ(Post(rig_.port(), kChat, kBody, {{kEncode, other_.address()}}).status, 200);
  EXPECT_EQ(prefill_.calls(), 0u);
  Post(rig_.port(), kChat, kBody, {{kEncode, other_.address()}, {kPrefill, prefill_.address()}});
  EXPECT_EQ(prefill_.calls(), 1u);
  Post(rig_.port(), kChat, kBody, {{kEncode, encode_.address() + "," + other_.address()}});
  EXPECT_EQ(encode_.calls(), 1u);
  EXPECT_EQ(other_.calls(), 0u);
}

TEST_F(FrontTest, Case008EncodersWithoutAConnectorAreIgnored) {
  rig_.Start(decode_);
  Post(rig_.port(), kChat, kBody, {{kEncode, encode_.address()}});
  Post(rig_.port(), kChat, kBody, {{kEncode, encode_.address()}, {kPrefill, prefill_.address()}});
  EXPECT_EQ(encode_.calls(), 0u);
  EXPECT_EQ(prefill_.calls(), 1u);
  EXPECT_EQ(decode_.calls(), 2u);
}

TEST_F(FrontTest, Case009APrefillerThatIsNotAllowedIs403) {
  std::string bad;
  ASSERT_TRUE(rig_.config.allowed.Add("127.0.0.1:1", &bad));
  rig_.Start(decode_);
  EXPECT_EQ(Post(rig_.port(), kChat, kBody, {{kPrefill, prefill_.address()}}).status, 403)
      << "the right host on another port";
  EXPECT_EQ(Post(rig_.port(), kChat, kBody, {{kPrefill, "https://127.0.0.1:1"}}).status, 502);
  EXPECT_EQ(Post(rig_.port(), kChat, kBody, {{kPrefill, "a b:1"}}).status, 502);
  EXPECT_EQ(prefill_.calls() + decode_.calls(), 0u);
}

TEST_F(FrontTest, Case010OtherRequestsGoToDecode) {
  rig_.Start(decode_);
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/messages",
                           "/v1/embeddings", "/score", "/healthz", "/metrics?x=1"}) {
    const Response response = Get(rig_.port(), path);
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(decode_.received().back().target, path);
  }
  EXPECT_EQ(Get(rig_.port(), "/v1/models", "HEAD").status, 200);
  EXPECT_EQ(decode_.received().back().method, "HEAD");
  EXPECT_EQ(Post(rig_.port(), "/v1/embeddings", "no json").status, 200);
  EXPECT_EQ(decode_.received().back().body, "no json");
}

TEST_F(FrontTest, Case011ADeadEngineIs503) {
  {
    const FakeWorker gone("");
    rig_.Start(gone);
  }
  const Response response = Post(rig_.port(), kChat, kBody);
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr(R"("type":"ServiceUnavailable","param":"","code":503)"));
  EXPECT_EQ(response.header("content-type"), "application/json");
  EXPECT_EQ(Get(rig_.port(), "/health").status, 200);
  EXPECT_TRUE(Eventually([&] { return Get(rig_.port(), "/sidecar/ready").status == 503; }));
}

TEST_F(FrontTest, Case012BadJsonIs400AndNobodyIsCalled) {
  rig_.Start(decode_);
  for (const char* body : {"", "x", "[]", "null", R"({"a":1)", R"({"a":1}x)"}) {
    EXPECT_EQ(Post(rig_.port(), kChat, body, {{kPrefill, prefill_.address()}}).status, 400) << body;
  }
  EXPECT_EQ(prefill_.calls() + decode_.calls(), 0u);
}

TEST_F(FrontTest, Case013TraceContextGoesEverywhere) {
  rig_.config.ec_connector = "ec-example";
  rig_.Start(decode_);
  Post(rig_.port(), kChat, kBody,
       {{kPrefill, prefill_.address()},
        {kEncode, encode_.address()},
        {"traceparent", "00-abc-def-01"}});
  for (const FakeWorker* worker : {&decode_, &prefill_, &encode_}) {
    EXPECT_EQ(worker->received().at(0).header("traceparent"), "00-abc-def-01");
  }
}

TEST_F(FrontTest, Case062DataParallelRanks) {
  rig_.Start(decode_);
  EXPECT_EQ(Post(rig_.port(), kChat, kBody, {{"x-data-parallel-host-port", "9.9.9.9:1"}}).status,
            400);
  EXPECT_EQ(decode_.calls(), 0u);
}

TEST_F(FrontTest, ClientsMayNotSayWhereBlocksComeFrom) {
  rig_.Start(decode_);
  Post(rig_.port(), kChat,
       R"({"a":1.0, "kv_transfer_params":{"remote_host":"evil"},"b" : 2,"ec_transfer_params":1})");
  EXPECT_EQ(decode_.received()[0].body, R"({"a":1.0,"b" : 2})");
}

TEST_F(FrontTest, ALargeUploadStreamsThroughAndBack) {
  rig_.Start(decode_);
  const std::string body(3'000'000, 'x');
  EXPECT_EQ(Post(rig_.port(), "/v1/files", body).status, 200);
  EXPECT_EQ(decode_.received()[0].body.size(), body.size());
  Client client(rig_.port());
  client.Send("POST /v1/files HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" +
              Chunk("abc") + Chunk("def") + LastChunk());
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_EQ(decode_.received()[1].body, "abcdef");
}

TEST_F(FrontTest, ConnectionsAreKeptOnBothSides) {
  rig_.Start(decode_);
  Client client(rig_.port());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(client.Send(PostText(kChat, kBody)));
    ASSERT_EQ(client.Read().status, 200);
  }
  EXPECT_EQ(decode_.calls(), 5u);
  EXPECT_LE(decode_.accepted(), 3) << "one for the requests, and looks at whether it lives";
  // Two at once.
  client.Send(PostText(kChat, kBody) + PostText(kChat, kBody));
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(FrontTest, LimitsAreAnswered) {
  rig_.config.max_body_bytes = 2000;
  rig_.config.max_header_bytes = 2000;
  rig_.Start(decode_);
  EXPECT_EQ(Post(rig_.port(), kChat, std::string(2001, 'x')).status, 413);
  EXPECT_EQ(Post(rig_.port(), kChat, "{}", {{"x", std::string(2001, 'x')}}).status, 431);
  Client client(rig_.port());
  client.Send(std::string("POST ") + kChat +
              " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" +
              Chunk(std::string(3000, ' ')));
  EXPECT_EQ(client.Read().status, 413);
  EXPECT_EQ(decode_.calls(), 0u);
}

TEST_F(FrontTest, SmugglingIsRefused) {
  rig_.Start(decode_);
  const std::string post = "POST /v1/x HTTP/1.1\r\nHost: h\r\n";
  for (const std::string& request : {
           post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
           post + "Content-Length: 3, 3\r\n\r\nabc",
           post + "Content-Length: +3\r\n\r\nabc",
           post + "Content-Length: 0x3\r\n\r\nabc",
           post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
           post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
           post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
           post + "X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
           post + "X: a\nContent-Length: 0\r\n\r\n",
           post + "X: a\rb\r\n\r\n",
           std::string("GET / HTTP/1.1\nHost: h\n\n"),
           std::string("GET / HTTP/1.1\r\n\r\n"),
           std::string("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
           std::string("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
           std::string("GET http://other/ HTTP/1.1\r\nHost: a\r\n\r\n"),
           std::string("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
           std::string("GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
       }) {
    Client client(rig_.port());
    client.Send(request);
    EXPECT_EQ(client.Read().status, 400) << request;
    EXPECT_TRUE(client.Closed()) << request;
  }
  Client client(rig_.port());
  client.Send(
      "POST /v1/completions HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n");
  EXPECT_EQ(client.Read().status, 400);
  EXPECT_EQ(decode_.calls(), 0u);
}

TEST_F(FrontTest, AClientThatExpectsToBeAskedIs) {
  rig_.Start(decode_);
  Client client(rig_.port());
  client.Send(
      "POST /v1/completions HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
      "Content-Length: 2\r\n\r\n");
  EXPECT_THAT(client.ReadUntil("100 Continue"), HasSubstr("HTTP/1.1 100 Continue\r\n"));
  client.Send("{}");
  EXPECT_EQ(client.Read().status, 200);
}

// What the log says of the requests so far, the newest last.
std::vector<std::string> Records(const Rig& rig) {
  std::vector<std::string> out;
  for (const epp::test::LogLine& line : rig.host.logs()) {
    if (line.text.starts_with("request {")) out.push_back(line.text.substr(8));
  }
  return out;
}

// The record of one request, which may come a moment after its answer.
std::string RecordOf(const Rig& rig, size_t number = 1) {
  EXPECT_TRUE(Eventually([&] { return Records(rig).size() >= number; }));
  const auto all = Records(rig);
  EXPECT_EQ(all.size(), number);
  return all.empty() ? "" : all.back();
}

TEST_F(FrontTest, EveryRequestIsOnRecord) {
  std::string bad;
  rig_.config.allowed.Add("127.0.0.1", &bad);
  rig_.Start(decode_);
  Get(rig_.port(), "/health");
  Get(rig_.port(), "/sidecar/ready");
  Get(rig_.port(), "/v1/models?key=secret");
  EXPECT_THAT(RecordOf(rig_),
              MatchesRegex(R"(\{"method":"GET","path":"/v1/models","api":"other",)"
                           R"("stages":"decode-only","status":200,)"
                           R"("outcome":"answered","ms":[0-9.]+,)"
                           R"("first_byte_ms":[0-9.]+,"sent":[0-9]+,"hops":\[)"
                           R"(\{"stage":"decode","worker":"[0-9.:]+","ms":[0-9.]+,)"
                           R"("status":200,"sent":[0-9]+,"received":[0-9]+\}\]\})"));

  Post(rig_.port(), kChat, kBody, {{kPrefill, prefill_.address()}, {"x-request-id", "a\"\x80"}});
  const std::string both = RecordOf(rig_, 2);
  EXPECT_THAT(both, HasSubstr(R"({"id":"a\"?","method":"POST")"));
  EXPECT_THAT(both, HasSubstr(R"("stages":"prefill-decode")"));
  EXPECT_THAT(both, HasSubstr(R"("fallbacks":["no-kv-params"])"));
  EXPECT_THAT(both, HasSubstr(R"({"stage":"prefill","worker":")" + prefill_.address()));
  EXPECT_THAT(both, HasSubstr(R"({"stage":"decode","worker":")" + decode_.address()));

  Post(rig_.port(), kChat, kBody, {{kEncode, encode_.address()}, {kSource, "a:1"}});
  EXPECT_THAT(RecordOf(rig_, 3), HasSubstr(R"("fallbacks":["encode-off","source-off"])"));

  Post(rig_.port(), kChat, kBody, {{kPrefill, "10.0.0.1:8000"}});
  EXPECT_THAT(RecordOf(rig_, 4), HasSubstr(R"("status":403,"outcome":"refused")"));
  EXPECT_THAT(Records(rig_).back(), HasSubstr(R"("why":"the prefill worker is not allowed")"));

  Post(rig_.port(), kChat, kBody, {{kPrefill, "127.0.0.1:1"}});
  EXPECT_THAT(RecordOf(rig_, 5), HasSubstr(R"("status":502,"outcome":"refused")"));
  EXPECT_THAT(Records(rig_).back(),
              HasSubstr(R"({"stage":"prefill","worker":"127.0.0.1:1","ms":)"));
  EXPECT_THAT(Records(rig_).back(), HasSubstr(R"("error":"refused")"));
  EXPECT_EQ(rig_.host.Metric("llm_d_disagg_sidecar_fallbacks_total", {{"reason", "no-kv-params"}}),
            1);
}

TEST_F(FrontTest, OfPlainRequestsAShareIsOnRecord) {
  rig_.config.record_share = 0;
  rig_.Start(decode_);
  for (int i = 0; i < 5; ++i) Post(rig_.port(), kChat, kBody);
  Post(rig_.port(), kChat, kBody, {{kEncode, encode_.address()}});
  EXPECT_THAT(RecordOf(rig_), HasSubstr("encode-off"));
}

TEST(StreamTest, EventsPassAsTheyCome) {
  std::atomic<bool> more{false};
  const FakeWorker decode([&](const Received&, const Writer& write) {
    write(StreamHead() + Chunk("data: 1\n\n"));
    while (!more.load()) std::this_thread::yield();
    write(Chunk("data: 2\n\n") + LastChunk());
  });
  Rig rig;
  rig.Start(decode);
  Client client(rig.port());
  client.Send(PostText(kChat, kBody));
  EXPECT_THAT(client.ReadUntil("data: 1"), HasSubstr("data: 1"));
  more.store(true);
  const Response response = client.Read();
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(response.body, "data: 1\n\ndata: 2\n\n");
  EXPECT_EQ(response.header("content-type"), "text/event-stream");
}

TEST(StreamTest, AClientThatReadsLateGetsAllOfIt) {
  // More than the sockets hold: small events, then pieces that are not copied.
  static constexpr size_t kSmall = 40'000, kLarge = 200;
  const std::string small(100, 's'), large(20'000, 'l');
  const FakeWorker engine([&](const Received&, const Writer& write) {
    write(StreamHead());
    std::string some;
    for (size_t i = 0; i < kSmall; ++i) {
      some += Chunk(small);
      if (some.size() < 50'000 && i + 1 < kSmall) continue;
      write(some);
      some.clear();
    }
    for (size_t i = 0; i < kLarge; ++i) write(Chunk(large));
    write(LastChunk());
  });
  Rig rig;
  rig.Start(engine);
  Client client(rig.port());
  ASSERT_TRUE(client.Send(PostText(kChat, kBody)));
  ASSERT_TRUE(engine.WaitForCalls(1));
  EXPECT_EQ(Get(rig.port(), "/health").status, 200) << "others are served meanwhile";
  const Response response = client.Read();
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(response.body.size(), kSmall * small.size() + kLarge * large.size());
  EXPECT_EQ(response.body.find_first_not_of('s'), kSmall * small.size());
}

TEST(StreamTest, AnEngineThatFallsSilentIsCutInTime) {
  const FakeWorker engine([](const Received&, const Writer& write) {
    write(StreamHead() + Chunk("data: 1\n\n"));
    Eventually([&] { return !write(""); });
  });
  Rig rig;
  rig.config.stream_timeout = Milliseconds(150);
  rig.Start(engine);
  // The second on a connection whose earlier limits were longer.
  for (int i = 0; i < 2; ++i) {
    const Response response = Post(rig.port(), kChat, kBody);
    EXPECT_EQ(response.status, 200);
    EXPECT_FALSE(response.complete);
  }
  EXPECT_TRUE(engine.WaitForLeft(2));
}

TEST(StreamTest, AnAnswerThatIsCutIsCutForTheClientToo) {
  const FakeWorker prefill("{}");
  const FakeWorker decode([&](const Received&, const Writer& write) {
    write(StreamHead() + Chunk("data: half\n\n") + "zz\r\n");
  });
  Rig rig;
  rig.Start(decode);
  for (const std::string& worker : {std::string(), prefill.address()}) {
    const Response response = Post(rig.port(), kChat, kBody, {{kPrefill, worker}});
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "data: half\n\n");
    EXPECT_FALSE(response.complete);
  }
}

TEST(StreamTest, AClientThatLeavesEndsTheEnginesRequest) {
  const FakeWorker decode([&](const Received&, const Writer& write) {
    while (write("")) {
    }
  });
  Rig rig;
  rig.Start(decode);
  Client client(rig.port());
  client.Send(PostText(kChat, kBody));
  ASSERT_TRUE(decode.WaitForCalls(1));
  client.Close();
  EXPECT_TRUE(decode.WaitForLeft(1));
}

TEST(StreamTest, AKeptConnectionThatTheEngineClosesIsReplaced) {
  std::atomic<int> requests{0};
  const FakeWorker decode([&](const Received&, const Writer& write) {
    // The second request of a connection is dropped with it, as by a server's idle limit.
    if (++requests == 2) {
      write(kHangUp);
    } else {
      write(Answer("{}"));
    }
  });
  Rig rig;
  rig.Start(decode);
  EXPECT_EQ(Post(rig.port(), kChat, kBody).status, 200);
  EXPECT_EQ(Post(rig.port(), kChat, kBody).status, 200);
  EXPECT_EQ(decode.calls(), 3u);
}

TEST(DrainTest, StreamsEndWellAndNothingNewComesIn) {
  std::atomic<bool> more{false};
  const FakeWorker decode([&](const Received&, const Writer& write) {
    write(StreamHead() + Chunk("data: 1\n\n"));
    while (!more.load()) std::this_thread::yield();
    write(Chunk("data: 2\n\n") + LastChunk());
  });
  Rig rig;
  rig.Start(decode);
  Client idle(rig.port());
  Client client(rig.port());
  client.Send(PostText(kChat, kBody));
  client.ReadUntil("data: 1");
  const int port = rig.port();
  rig.server->Drain();
  EXPECT_EQ(rig.server->not_ready(), "draining");
  EXPECT_TRUE(idle.Closed());
  EXPECT_EQ(Get(port, "/health").status, 0);
  EXPECT_TRUE(Eventually([&] { return rig.server->running() == 1; }));
  more.store(true);
  const Response response = client.Read();
  EXPECT_TRUE(response.complete);
  EXPECT_TRUE(client.Closed());
  EXPECT_TRUE(Eventually([&] { return rig.server->running() == 0; }));
}

}  // namespace
}  // namespace sidecar::test
