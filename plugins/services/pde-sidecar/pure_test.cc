// The parts without sockets: editing bodies, framing, addresses, usage, chunks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "body.h"
#include "chunks.h"
#include "config.h"
#include "connectors/connector.h"
#include "connectors/moriio.h"
#include "encode.h"
#include "head.h"
#include "names.h"
#include "splice.h"
#include "target.h"
#include "usage.h"

namespace sidecar {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SpliceTest, WhatIsNotTouchedKeepsEveryByte) {
  for (const char* text : {"{}", " { } ", R"({"a":1})",
                           "\n{ \"b\" : 1.0 ,\t\"a\":9007199254740993,"
                           " \"u\":\"\\u00e9\xc3\xa9<&>\" , \"n\":null } \r\n"}) {
    const auto splice = Splice::Parse(text);
    ASSERT_TRUE(splice) << text;
    EXPECT_EQ(splice->Render(), text);
  }
}

TEST(SpliceTest, Edits) {
  const std::string text = R"({ "a" : 1e3, "b":[1,2] ,"c":"x"})";
  Splice splice = *Splice::Parse(text);
  splice.Set("b", "true");
  splice.Set("new", "\"n\"");
  splice.Remove("a");
  EXPECT_EQ(splice.Render(), R"({ "b":true ,"c":"x","new":"n"})");
  EXPECT_EQ(splice.Get("b"), "true");
  EXPECT_EQ(splice.Get("a"), std::nullopt);
  EXPECT_EQ(splice.Get("c"), "\"x\"");
  splice.Remove("b");
  splice.Remove("c");
  splice.Remove("new");
  EXPECT_EQ(splice.Render(), "{}");
  const std::string empty = "{ }";
  Splice into = *Splice::Parse(empty);
  into.Set("k\"", "1");
  EXPECT_EQ(into.Render(), R"({"k\"":1 })");
}

TEST(SpliceTest, NamesakesAndEscapedKeysAreOneMember) {
  const std::string text = R"({"a":1,"b":2,"\u0061":3})";
  Splice splice = *Splice::Parse(text);
  EXPECT_EQ(splice.Get("a"), "3");
  splice.Set("a", "0");
  EXPECT_EQ(splice.Render(), R"({"a":0,"b":2})");
  splice.Remove("a");
  EXPECT_EQ(splice.Render(), R"({"b":2})");
}

TEST(SpliceTest, WhatIsNoObjectIsRefused) {
  for (const char* text : {"", "[]", "null", "1", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{}{}",
                           "{\"a\":01}", "{\"a\":\"\x01\"}", "{'a':1}"}) {
    std::string why;
    EXPECT_FALSE(Splice::Parse(text, &why)) << text;
    EXPECT_THAT(why, HasSubstr("the body is not"));
  }
  EXPECT_FALSE(Splice::Parse("{\"a\":" + std::string(100'000, '[')));
}

TEST(SpliceTest, Numbers) {
  EXPECT_EQ(IntegerOf("3"), 3);
  EXPECT_EQ(IntegerOf("3.0"), 3);
  EXPECT_EQ(IntegerOf("-1"), -1);
  for (const char* text : {"3.5", "\"3\"", "null", "", "1e400"}) {
    EXPECT_EQ(IntegerOf(text), std::nullopt) << text;
  }
}

std::string Decode(const Framing& framing, std::string_view bytes, size_t step, bool* done,
                   bool* bad) {
  BodyDecoder decoder(framing);
  std::string out, in;
  for (size_t at = 0; at < bytes.size(); at += step) {
    in += bytes.substr(at, step);
    std::string_view rest = in;
    for (std::string_view piece; !(piece = decoder.Take(rest)).empty();) out += piece;
    in.erase(0, in.size() - rest.size());
  }
  *done = decoder.done();
  *bad = decoder.bad();
  return out;
}

TEST(BodyTest, ChunksInAnyPieces) {
  const Framing chunked{Framing::Kind::kChunked, 0};
  for (const size_t step : {1, 2, 3, 7, 100}) {
    bool done, bad;
    EXPECT_EQ(Decode(chunked, "3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nT: 1\r\n\r\n", step,
                     &done, &bad),
              "abc0123456789");
    EXPECT_TRUE(done && !bad);
  }
  for (const char* text : {"\r\n", "x\r\n", "3\nabc", "3\r\nabcd", "3\r\nabc\n", "-1\r\n",
                           "fffffffffffffffff\r\n", "3 \r\nabc", "0\r\nT: 1\n\r\n", "3;\nabc"}) {
    bool done, bad;
    Decode(chunked, text, 1, &done, &bad);
    EXPECT_TRUE(bad) << text;
  }
}

TEST(TargetTest, Case056Addresses) {
  struct Row {
    const char* text;
    const char* canonical;  // null: refused
  };
  for (const Row& row :
       {Row{"10.0.0.1:8000", "10.0.0.1:8000"}, Row{"http://Pod-1:8000/", "pod-1:8000"},
        Row{"https://a:1", "a:1"}, Row{"[::1]:8000", "[::1]:8000"},
        Row{"[2001:DB8:0:0::1]:1", "[2001:db8::1]:1"}, Row{"[::ffff:10.0.0.1]:1", "10.0.0.1:1"},
        Row{"a", nullptr}, Row{":8000", nullptr}, Row{"a:", nullptr}, Row{"a:0", nullptr},
        Row{"a:65536", nullptr}, Row{"a:http", nullptr}, Row{"a:1:2", nullptr},
        Row{"u@h:1", nullptr}, Row{"a/b:1", nullptr}, Row{"[::1:1", nullptr},
        Row{"a\r\nb:1", nullptr}, Row{"", nullptr}}) {
    const auto target = ParseTarget(row.text);
    EXPECT_EQ(target ? target->text() : "", row.canonical ? row.canonical : "") << row.text;
  }
  EXPECT_EQ(ParseTarget("a", 80)->text(), "a:80");
  EXPECT_EQ(ParseTarget("2001:db8::1", 80)->text(), "[2001:db8::1]:80");
}

TEST(TargetTest, Case072AllowList) {
  AllowList all;
  EXPECT_TRUE(all.Allows(*ParseTarget("any:1")));
  AllowList list;
  std::string bad;
  for (const char* rule :
       {"a:1", "b", "c:*", "10.1.0.0/16:8000", "*:9", "[2001:db8::]/32", "[::5]:7"}) {
    ASSERT_TRUE(list.Add(rule, &bad)) << rule;
  }
  for (const char* yes : {"a:1", "A:1", "b:77", "c:3", "10.1.2.3:8000", "x:9", "[2001:db8::9]:1",
                          "[::5]:7", "[::ffff:10.1.2.3]:8000"}) {
    EXPECT_TRUE(list.Allows(*ParseTarget(yes))) << yes;
  }
  for (const char* no : {"a:2", "d:1", "10.1.2.3:8001", "10.2.0.0:8000", "[::5]:8"}) {
    EXPECT_FALSE(list.Allows(*ParseTarget(no))) << no;
  }
  for (const char* rule : {"", ":1", "a:x", "10.0.0.0/33", "x/8", "*:", "a b", "[::1]/8x"}) {
    EXPECT_FALSE(list.Add(rule, &bad)) << rule;
    EXPECT_EQ(bad, rule);
  }
}

constexpr const char* kUsage =
    R"({"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":49}}})";

TEST(UsageTest, Case037Whole) {
  EXPECT_EQ(WithCachedTokens(kUsage, 7),
            R"({"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":7}}})");
  EXPECT_EQ(WithCachedTokens(R"({"usage":{"a":1},"b":2})", 7),
            R"({"usage":{"a":1,"prompt_tokens_details":{"cached_tokens":7}},"b":2})");
  for (const char* text : {R"({"b":"usage"})", "no json \"usage\"", R"({"usage":null})", ""}) {
    EXPECT_EQ(WithCachedTokens(text, 7), text);
  }
  EXPECT_EQ(CachedTokensOf(kUsage), 49);
  EXPECT_EQ(CachedTokensOf("{}"), 0);
}

TEST(UsageTest, Case038To040Streams) {
  const std::string in = "event: ping\n\ndata: x \"usage\"\n\ndata: {\"choices\":[ ]}\n\ndata: " +
                         std::string(kUsage) + "\r\n\r\ndata: [DONE]";
  std::string want = in;
  want.replace(want.find("49"), 2, "7");
  for (size_t step = 1; step <= in.size(); ++step) {
    UsageStream stream(7);
    std::string out;
    for (size_t at = 0; at < in.size(); at += step) out += stream.Feed(in.substr(at, step));
    out += stream.Finish();
    EXPECT_EQ(out, want) << step;
  }
  UsageStream stream(7);
  EXPECT_EQ(stream.Feed("da"), "");
  EXPECT_EQ(stream.Feed("ta: {\"usage\":"), "");
  EXPECT_EQ(stream.Feed("{}}\n"),
            "data: {\"usage\":{\"prompt_tokens_details\":{\"cached_tokens\":7}}}\n");
}

TEST(MoriTest, Case035Ranks) {
  EXPECT_EQ(MoriRank("abc", 8), 2);
  EXPECT_EQ(MoriRank("cmpl-foo-0", 8), 5);
  EXPECT_EQ(MoriRank("00000000-0000-0000-0000-000000000000", 8), 6);
  EXPECT_EQ(MoriRank("req-9f8a-2026-1p1d", 8), 2);
  EXPECT_EQ(MoriRank("cmpl-deadbeef-cafe-1234", 8), 4);
  EXPECT_EQ(MoriRank("abc", 2), 0);
  EXPECT_EQ(MoriRank("abc", 4), 2);
  EXPECT_EQ(MoriRank("abc", 16), 2);
  EXPECT_EQ(MoriRank("abc", 1), 0);
  std::vector<int> buckets(8);
  for (int i = 0; i < 10'000; ++i) ++buckets[MoriRank("id-" + std::to_string(i), 8)];
  for (const int count : buckets) EXPECT_NEAR(count, 1250, 312);
}

TEST(MoriTest, Case036DecodeRanks) {
  const auto rank = [](const std::string& text, int64_t size) {
    return MoriDecodeRank(*Splice::Parse(text), "abc", size);
  };
  EXPECT_EQ(rank(R"({"remote_dp_rank":3})", 8), 3);
  for (const char* text :
       {"{}", R"({"remote_dp_rank":null})", R"({"remote_dp_rank":"3"})",
        R"({"remote_dp_rank":3.5})", R"({"remote_dp_rank":8})", R"({"remote_dp_rank":-1})"}) {
    EXPECT_EQ(rank(text, 8), 2) << text;
  }
  EXPECT_EQ(rank(R"({"remote_dp_rank":3})", 1), 0);
}

TEST(NamesTest, Case071LookedUpAgainAndKept) {
  using Addresses = std::vector<asio::ip::address>;
  const auto address = [](const char* text) { return asio::ip::make_address(text); };
  asio::io_context io;
  Names names({"10.1.1.1", "fd00::1", "pod", "pod", ""});
  // What the resolver says, one after the other; then nothing.
  std::vector<Addresses> says = {{address("fd00::2"), address("10.0.0.1")},
                                 {address("10.0.0.1")},
                                 {address("10.0.0.2")},
                                 {},
                                 {address("fd00::3")}};
  std::vector<std::string> asked;
  const Names::Lookup lookup = [&](std::string name) -> Task<Addresses> {
    asked.push_back(name);
    const Addresses out = asked.size() <= says.size() ? says[asked.size() - 1] : Addresses();
    co_return out;
  };
  std::string missing = "not asked";
  const auto first = [&]() -> Task<void> { missing = co_await names.First(lookup); };
  EXPECT_EQ(names.Of("pod"), "pod");
  Spawn(io, first());
  io.run();
  EXPECT_EQ(missing, "");
  EXPECT_EQ(names.Of("pod"), "10.0.0.1") << "IPv4 is preferred";
  EXPECT_EQ(names.Of("10.1.1.1") + names.Of("fd00::1") + names.Of("other"), "10.1.1.1fd00::1other");

  std::vector<std::pair<Names::News, std::string>> news;
  io.restart();
  Spawn(io, names.Follow(io, Milliseconds(1), lookup, [&](Names::News told) {
    news.emplace_back(told, names.Of("pod"));
    if (news.size() == 5) io.stop();
  }));
  io.run();
  using enum Names::News;
  const std::vector<std::pair<Names::News, std::string>> want = {{kSame, "10.0.0.1"},
                                                                 {kChanged, "10.0.0.2"},
                                                                 {kFailed, "10.0.0.2"},
                                                                 {kChanged, "fd00::3"},
                                                                 {kFailed, "fd00::3"}};
  EXPECT_EQ(news, want);
  EXPECT_EQ(asked, std::vector<std::string>(6, "pod")) << "one lookup a time, of names only";
}

TEST(NamesTest, Case071NobodyWaitsLongerThanTheLimit) {
  asio::io_context io;
  std::string missing;
  Names names({"nobody..invalid"});
  const auto first = [&]() -> Task<void> {
    missing = co_await names.First(Names::System(io, Milliseconds(1)));
  };
  Spawn(io, first());
  io.run();
  EXPECT_EQ(missing, "nobody..invalid");
  EXPECT_EQ(names.Of("nobody..invalid"), "nobody..invalid");
}

TEST(OffloadingTest, Case055P2pPorts) {
  Config config;
  EXPECT_EQ(P2pPort(config, *ParseTarget("h:8002")), 7777);
  config.data_parallel_size = 4;
  for (const auto& [worker, offset] :
       {std::pair("h:8000", 0), std::pair("h:8002", 2), std::pair("h:8003", 3),
        std::pair("h:7999", 0), std::pair("h:8004", 0)}) {
    EXPECT_EQ(P2pPort(config, *ParseTarget(worker)), 7777 + offset) << worker;
  }
  EXPECT_EQ(P2pPort(config, *ParseTarget("h", 80)), 7777) << "none";
  EXPECT_FALSE(ParseTarget("h:http", 80)) << "is no address here";
}

TEST(EncodeTest, Case057Items) {
  const auto count = [](const std::string& content) {
    const std::string body = R"({"messages":[{"content":)" + content + "}]}";
    return EncodeBodies(*Splice::Parse(body)).size();
  };
  EXPECT_EQ(count(R"("text")"), 0u);
  EXPECT_EQ(count(R"([{"type":"text","text":"x"}])"), 0u);
  const std::string a = R"({"type":"image_url","image_url":{"url":"a"}})";
  const std::string b = R"({"type":"video_url","video_url":{"url":"b"}})";
  const std::string sound = R"({"type":"input_audio","input_audio":{"data":"x"}})";
  EXPECT_EQ(count("[" + a + "," + b + "]"), 2u);
  EXPECT_EQ(count("[" + a + "," + a + "," + b + "," + b + "]"), 2u);
  EXPECT_EQ(count("[" + sound + "," + sound + "]"), 2u);
}

TEST(EncodeTest, Case058Body) {
  const std::string body =
      R"({"model":"m","stream":true,"max_completion_tokens":9,"messages":[{"content":)"
      R"([{"type":"text"},{"type":"image_url","image_url":{"url":"a"}}]}]})";
  EXPECT_THAT(EncodeBodies(*Splice::Parse(body)),
              ElementsAre(R"({"model":"m","stream":false,"max_completion_tokens":1,"messages":)"
                          R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":)"
                          R"("a"}}]}],"max_tokens":1})"));
  // Neither must an encode worker answer at length, nor decline to.
  const std::string limits = R"({"min_tokens":5,"cache_hit_threshold":0.8,"messages":[)"
                             R"({"content":[{"type":"input_audio"}]}]})";
  EXPECT_THAT(EncodeBodies(*Splice::Parse(limits)),
              ElementsAre(HasSubstr(R"({"min_tokens":1,"cache_hit_threshold":0,)")));
}

TEST(EncodeTest, Case059Merge) {
  EncodeMerge merge;
  EXPECT_TRUE(merge.Add(R"({"ec_transfer_params":{"h1":{"p":1}}})"));
  EXPECT_TRUE(merge.Add(R"({"ec_transfer_params":{"h2":2,"h1":{"p":3}}})"));
  EXPECT_TRUE(merge.Add("{}"));
  EXPECT_TRUE(merge.Add(R"({"ec_transfer_params":null})"));
  EXPECT_EQ(merge.Result(), R"({"h1":{"p":3},"h2":2})");
  EXPECT_FALSE(merge.Add("x"));
  EXPECT_EQ(EncodeMerge().Result(), std::nullopt);
}

TEST(ChunksTest, Case065Limit) {
  const auto one = [](const std::string& body) {
    return Chunks(*Splice::Parse(body), 5).one_piece();
  };
  EXPECT_TRUE(one(R"({"max_tokens":5})"));
  EXPECT_FALSE(one(R"({"max_tokens":5,"max_completion_tokens":6})"));
  EXPECT_FALSE(one("{}"));
}

TEST(ConfigTest, Case067To070WhatDoesNotFitIsRefused) {
  EXPECT_EQ(Check(Config()), "");
  const auto wrong = [](auto&& change) {
    Config config;
    change(config);
    return Check(config);
  };
  EXPECT_THAT(wrong([](Config& c) { c.port = 65535, c.data_parallel_size = 2; }),
              HasSubstr("port 65535"));
  EXPECT_THAT(wrong([](Config& c) { c.engine_port = 65535, c.data_parallel_size = 2; }),
              HasSubstr("modelServerPort"));
  EXPECT_THAT(wrong([](Config& c) { c.p2p_port = 65535, c.data_parallel_size = 2; }),
              HasSubstr("p2pConnectorPort"));
  EXPECT_THAT(wrong([](Config& c) { c.enable_p2p_pull = true, c.kv_connector = "sglang"; }),
              HasSubstr("enableP2PPull"));
  EXPECT_THAT(wrong([](Config& c) { c.mori.write_mode = true; }), HasSubstr("POD_IP"));
  EXPECT_THAT(wrong([](Config& c) { c.mori.parallel_dispatch = true; }), HasSubstr("writeMode"));
  EXPECT_THAT(wrong([](Config& c) { c.mori.remote_hosts = {"a", "b"}; }), HasSubstr("dpSizeLocal"));
  EXPECT_THAT(wrong([](Config& c) {
                c.mori.remote_hosts = {"a", "b"}, c.mori.dp_size = 16, c.mori.dp_size_local = 5;
              }),
              HasSubstr("does not divide"));
  EXPECT_THAT(wrong([](Config& c) {
                c.mori.decode_hosts = {"a", "b"}, c.mori.dp_size = 16, c.mori.dp_size_local = 4;
              }),
              HasSubstr("want 4"));
}

}  // namespace
}  // namespace sidecar
