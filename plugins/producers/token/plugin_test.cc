#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;
using epp::test::Pool;
using epp::test::Request;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t kEscaped = EPP_SEGMENT_ESCAPED;

// The attribute that the plugin produced, or null.
const epp_tokenized_prompt* Tokenize(epp::test::Instance& producer, Request& request) {
  const Pool pool(1);
  const auto out = producer.Produce(pool, request);
  if (producer.status() != EPP_OK) return nullptr;
  return static_cast<const epp_tokenized_prompt*>(out.value(epp::attr::kTokenizedPrompt).opaque());
}

// The bytes that the pseudo-tokens of prompt p stand for, padding included.
std::string Bytes(const epp_tokenized_prompt& t, uint32_t p = 0) {
  std::string out((t.offsets[p + 1] - t.offsets[p]) * 4, '\0');
  std::memcpy(out.data(), t.tokens + t.offsets[p], out.size());
  return out;
}

std::string Padded(std::string s) {
  s.resize((s.size() + 3) / 4 * 4, '\0');
  return s;
}

std::string BytesOf(Request& request) {
  auto producer = epp::test::Make("token-producer");
  const auto* t = Tokenize(producer, request);
  return t ? Bytes(*t) : "none";
}

// ---- text ----

TEST(Estimate, Completion) {
  Request request;
  request.Api(EPP_API_COMPLETIONS).Prompt("hello").CacheSalt("salt");
  auto producer = epp::test::Make("token-producer");
  const auto* t = Tokenize(producer, request);
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(t->prompt_count, 1u);
  EXPECT_EQ(t->estimated, 1u);
  EXPECT_EQ(t->media_count, 0u);
  EXPECT_EQ(epp::View(t->cache_salt), "salt");
  EXPECT_THAT(std::vector(t->tokens, t->tokens + t->offsets[1]), ElementsAre(0x6c6c6568u, 0x6fu));
}

TEST(Estimate, EscapesAreDecodedOnTheWay) {
  Request request;
  request.Api(EPP_API_COMPLETIONS).Segment(EPP_SEGMENT_TEXT, R"(a\n\u00e9\"b)", kEscaped);
  EXPECT_EQ(BytesOf(request), Padded("a\n\xc3\xa9\"b"));
}

TEST(Estimate, SeveralPromptsStayApart) {
  Request request;
  request.Api(EPP_API_COMPLETIONS).Prompt("hello", 0).Prompt("", 1).Prompt("abcd", 2);
  auto producer = epp::test::Make("token-producer");
  const auto* t = Tokenize(producer, request);
  ASSERT_NE(t, nullptr);
  EXPECT_THAT(std::vector(t->offsets, t->offsets + 4), ElementsAre(0u, 2u, 2u, 3u));
  EXPECT_EQ(Bytes(*t, 2), "abcd");
}

TEST(Estimate, Chat) {
  Request request;
  request.Api(EPP_API_CHAT)
      .Segment(EPP_SEGMENT_JSON, R"([ {"b":"<", "a":1.0} ])")
      .Segment(EPP_SEGMENT_ROLE, "user")
      .Segment(EPP_SEGMENT_TEXT, "hi");
  EXPECT_EQ(BytesOf(request), Padded(R"([{"a":1,"b":"\u003c"}]userhi)"));
}

TEST(Estimate, MessagesKeepToolInputAsItIs) {
  Request request;
  request.Api(EPP_API_MESSAGES)
      .Segment(EPP_SEGMENT_TEXT, "system")
      .Segment(EPP_SEGMENT_ROLE, "user")
      .Segment(EPP_SEGMENT_TEXT, "id")
      .Segment(EPP_SEGMENT_TEXT, "name")
      .Segment(EPP_SEGMENT_JSON, R"({ "z":1, "a":2})");
  EXPECT_EQ(BytesOf(request), Padded(R"(systemuseridname{ "z":1, "a":2})"));
}

TEST(Estimate, Responses) {
  Request request;
  request.Api(EPP_API_RESPONSES)
      .Segment(EPP_SEGMENT_JSON, R"("be nice")", 0, 0, 0)
      .Segment(EPP_SEGMENT_JSON, R"([ ])", 0, 0, 1)
      .Segment(EPP_SEGMENT_JSON, R"([{"b":1,"a":2}])", 0, 0, 2);
  EXPECT_EQ(BytesOf(request),
            Padded(R"([{"instructions":"be nice"},{"tools":[]},{"input":[{"a":2,"b":1}]}])"));
}

TEST(Estimate, EmbeddingsAndConversations) {
  Request text;
  text.Api(EPP_API_EMBEDDINGS).Segment(EPP_SEGMENT_JSON, R"("a&b")");
  EXPECT_EQ(BytesOf(text), Padded(R"("a\u0026b")"));
  Request items;
  items.Api(EPP_API_CONVERSATIONS).Segment(EPP_SEGMENT_JSON, R"([ {"role":"u"} ])");
  EXPECT_EQ(BytesOf(items), Padded(R"([{"role":"u"}])"));
}

TEST(Estimate, NothingToSayIsNoValue) {
  auto producer = epp::test::Make("token-producer");
  Request empty;
  empty.Api(EPP_API_CHAT).Segment(EPP_SEGMENT_ROLE, "");
  EXPECT_EQ(Tokenize(producer, empty), nullptr);
  EXPECT_EQ(producer.status(), EPP_OK);
  Request bodyless;
  bodyless.Bodyless();
  EXPECT_EQ(Tokenize(producer, bodyless), nullptr);
  EXPECT_EQ(producer.status(), EPP_OK);
  for (const int32_t api : {EPP_API_NONE, EPP_API_IMAGES}) {
    Request other;
    other.Api(api);
    EXPECT_EQ(Tokenize(producer, other), nullptr);
    EXPECT_EQ(producer.status(), EPP_OK);
  }
}

TEST(Estimate, MoreThanTheArenaHasIsAnError) {
  auto producer = epp::test::Make("token-producer");
  Request request;
  request.Api(EPP_API_COMPLETIONS).Prompt(std::string(17 << 20, 'x'));
  EXPECT_EQ(Tokenize(producer, request), nullptr);
  EXPECT_EQ(producer.status(), EPP_RESOURCE_EXHAUSTED);
}

// ---- ids ----

TEST(Ids, PassThrough) {
  auto producer = epp::test::Make("token-producer");
  Request request;
  request.Api(EPP_API_COMPLETIONS).Segment(EPP_SEGMENT_TOKEN_IDS, "[1, 2.0,4294967295]");
  const auto* t = Tokenize(producer, request);
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(t->estimated, 0u);
  EXPECT_THAT(std::vector(t->tokens, t->tokens + t->offsets[1]), ElementsAre(1u, 2u, 4294967295u));
}

TEST(Ids, GenerateFeatures) {
  auto producer = epp::test::Make("token-producer");
  Request request;
  request.Api(EPP_API_GENERATE)
      .Segment(EPP_SEGMENT_TOKEN_IDS, "[7]")
      .Segment(EPP_SEGMENT_JSON,
               R"({"mm_placeholders":{"video":[{"offset":5,"length":2},{"offset":1,"length":3}],
                   "image":[{"offset":2,"length":1}],"smell":[{"offset":0,"length":9}]},
                   "mm_hashes":{"image":["h\u0041"],"video":["v"]}})");
  const auto* t = Tokenize(producer, request);
  ASSERT_NE(t, nullptr);
  std::vector<std::string> media;
  for (uint32_t i = 0; i < t->media_count; ++i) {
    const epp_media& m = t->media[i];
    media.push_back(std::to_string(m.modality) + "@" + std::to_string(m.offset) + "+" +
                    std::to_string(m.length) + ":" + std::string(epp::View(m.hash)));
  }
  EXPECT_THAT(media, ElementsAre("3@1+3:", "1@2+1:hA", "3@5+2:v"));
}

// ---- media ----

TEST(Media, HashTokenOffsetAndLength) {
  auto producer = epp::test::Make("token-producer");
  Request request;
  request.Api(EPP_API_CHAT)
      .Segment(EPP_SEGMENT_ROLE, "user!")
      .Segment(EPP_SEGMENT_IMAGE, R"(https:\/\/example.com\/a.png)", kEscaped)
      .Segment(EPP_SEGMENT_TEXT, "x");
  const auto* t = Tokenize(producer, request);
  ASSERT_NE(t, nullptr);
  ASSERT_EQ(t->media_count, 1u);
  EXPECT_EQ(epp::View(t->media[0].hash), "9f4fdeae6ee1ceba");
  EXPECT_EQ(t->media[0].modality, EPP_MODALITY_IMAGE);
  EXPECT_EQ(t->media[0].offset, 2u);  // "user!" fills two tokens
  EXPECT_EQ(t->media[0].length, 225u);
  EXPECT_EQ(t->tokens[2], 1860292282u);
  EXPECT_EQ(t->tokens[226], 1860292282u);
  EXPECT_EQ(t->tokens[227], static_cast<uint32_t>('x'));
  EXPECT_EQ(t->offsets[1], 228u);
}

TEST(Media, Audio) {
  auto producer = epp::test::Make("token-producer");
  Request request;
  request.Api(EPP_API_CHAT)
      .Segment(EPP_SEGMENT_ROLE, "")
      .Segment(EPP_SEGMENT_AUDIO, "ab", EPP_SEGMENT_BASE64)
      .Segment(EPP_SEGMENT_TEXT, "c", EPP_SEGMENT_FORMAT);
  const auto* t = Tokenize(producer, request);
  ASSERT_NE(t, nullptr);
  ASSERT_EQ(t->media_count, 1u);
  EXPECT_EQ(epp::View(t->media[0].hash), "44bc2cf5ad770999");  // of "abc"
  EXPECT_EQ(t->media[0].length, 1u);
  EXPECT_EQ(t->offsets[1], 1u);
}

// The first bytes of images, as base64.
const std::string kPng64x32 = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAAAgCAYAAACinX6E";
const std::string kGif64x32 = "data:image/gif;base64,R0lGODlhQAAgAAAAACH5BAAAAAAALAAAAABAACAA";
// APP0 of 16 bytes, then a baseline frame of 64x32.
const std::string kJpeg64x32 =
    "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD/wAARCAAgAEADASIAAhEBAxEB";

struct Image {
  const char* name;
  Params params;
  std::string url;
  uint64_t tokens;
};
void PrintTo(const Image& c, std::ostream* os) { *os << c.name; }
class ImageTest : public testing::TestWithParam<Image> {};

TEST_P(ImageTest, Tokens) {
  auto producer = epp::test::Make("token-producer", GetParam().params);
  ASSERT_TRUE(producer.ok()) << producer.error();
  for (const bool raw : {false, true}) {
    const size_t comma = GetParam().url.find(',');
    if (raw && comma == std::string::npos) continue;
    Request request;
    request.Api(EPP_API_CHAT)
        .Segment(EPP_SEGMENT_IMAGE, raw ? GetParam().url.substr(comma + 1) : GetParam().url,
                 raw ? EPP_SEGMENT_BASE64 : 0);
    const auto* t = Tokenize(producer, request);
    ASSERT_NE(t, nullptr);
    EXPECT_EQ(t->media[0].length, GetParam().tokens);
    EXPECT_EQ(t->offsets[1], GetParam().tokens);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, ImageTest,
    testing::Values(
        Image{"Case144Png", {}, kPng64x32, 2}, Image{"Gif", {}, kGif64x32, 2},
        Image{"Jpeg", {}, kJpeg64x32, 2}, Image{"PlainUrl", {}, "http://x/a.png", 225},
        Image{"EmptyUrl", {}, "", 225},
        Image{"Case144NotAnImage", {}, "data:image/png;base64,AAAA", 225},
        Image{"CutPng", {}, kPng64x32.substr(0, 45), 225},
        Image{"CutJpeg", {}, kJpeg64x32.substr(0, 50), 225},
        Image{"NotBase64", {}, "data:image/png;base64,***", 225},
        Image{"HugePng", {}, "data:image/png;base64,iVBORw0KGgoAAAANSUhEUv////////////", 1 << 20},
        Image{"Case144Factor", {{"estimate.image.dynamic.factor", 2048}}, "http://x", 112},
        Image{"Case144Static",
              {{"estimate.image.mode", "static"}, {"estimate.image.static.staticToken", 7}},
              kPng64x32,
              7},
        Image{"StaticIsAtLeastOne", {{"estimate.image.mode", "static"}}, kPng64x32, 1},
        Image{"Case144DefaultResolution",
              {{"estimate.image.defaultResolution.width", 1024},
               {"estimate.image.defaultResolution.height", 1024}},
              "http://x",
              1024}),
    [](const auto& info) { return info.param.name; });

struct Video {
  const char* name;
  Params params;
  std::vector<std::pair<std::string, std::string>> headers;
  uint64_t tokens;
};
void PrintTo(const Video& c, std::ostream* os) { *os << c.name; }
class VideoTest : public testing::TestWithParam<Video> {};

TEST_P(VideoTest, Tokens) {
  auto producer = epp::test::Make("token-producer", GetParam().params);
  ASSERT_TRUE(producer.ok()) << producer.error();
  Request request;
  request.Api(EPP_API_CHAT).Segment(EPP_SEGMENT_VIDEO, "http://v");
  for (const auto& [k, v] : GetParam().headers) request.Header("x-llm-d-video-" + k, v);
  const auto* t = Tokenize(producer, request);
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(t->media[0].modality, EPP_MODALITY_VIDEO);
  EXPECT_EQ(t->media[0].length, GetParam().tokens);
}

// Settings that give n tokens a frame.
Params With(int n, std::initializer_list<std::pair<const char*, epp::test::ParamValue>> more) {
  Params p{{"estimate.video.tokensPerFrame.mode", "static"},
           {"estimate.video.tokensPerFrame.static.numTokensPerFrame", n}};
  for (const auto& [k, v] : more) p.Set(std::string("estimate.video.") + k, v);
  return p;
}

INSTANTIATE_TEST_SUITE_P(
    Table, VideoTest,
    testing::Values(
        Video{"Case145Default", {}, {}, 4500}, Video{"Case145StaticFrame", With(100, {}), {}, 2000},
        Video{"Case145Sampled", With(10, {{"defaultDuration", 8.0}}), {}, 160},
        Video{"Case146Strided",
              With(100, {{"frames.mode", "strided"},
                         {"frames.strided.frameStride", 4},
                         {"frames.maxFrames", 16}}),
              {},
              1600},
        Video{"Case146StridedMinimum",
              With(100, {{"frames.mode", "strided"},
                         {"frames.strided.frameStride", 4},
                         {"frames.minFrames", 8},
                         {"defaultDuration", 1.0}}),
              {},
              800},
        Video{"Case147Cap", {{"estimate.video.maxVideoTokens", 500}}, {}, 500},
        Video{"Case147Headers", {}, {{"resolution", "320x240"}, {"duration-seconds", "3"}}, 450},
        Video{"Case147StridedHeaders",
              With(1, {{"frames.mode", "strided"}, {"frames.strided.frameStride", 2}}),
              {{"duration-seconds", "3"}, {"fps", "30"}},
              45},
        Video{"FpsCountsOnlyWhenStrided", With(1, {}), {{"fps", "30"}}, 20},
        Video{"Case148TemporalPatch",
              With(1, {{"frames.sampled.temporalPatchSize", 2}, {"frames.minFrames", 4}}),
              {},
              10},
        Video{"Case148TemporalPatchMinimum",
              With(1, {{"frames.sampled.temporalPatchSize", 2},
                       {"frames.minFrames", 4},
                       {"defaultDuration", 1.0}}),
              {},
              2},
        Video{"Case149UpperCaseResolution", {}, {{"resolution", "1280X720"}}, 18000},
        Video{"Case149SpacedResolution", {}, {{"resolution", " 800 x 600 "}}, 9360},
        Video{"Case149HalfResolution", {}, {{"resolution", "1920x"}}, 4500},
        Video{"Case149ZeroResolution", {}, {{"resolution", "0x0"}}, 4500},
        Video{"BadDuration", {}, {{"duration-seconds", "-3"}}, 4500},
        Video{"TextDuration", {}, {{"duration-seconds", "long"}}, 4500},
        Video{"InfiniteDuration", {}, {{"duration-seconds", "inf"}}, 4500},
        Video{"HugeDuration", {}, {{"duration-seconds", "1e300"}}, 1 << 20}),
    [](const auto& info) { return info.param.name; });

// ---- configuration ----

TEST(Create, SocketTokenizerIsRefused) {
  auto producer = epp::test::Make("token-producer", {{"udsTokenizerConfig.socketFile", "/x"}});
  EXPECT_FALSE(producer.ok());
  EXPECT_THAT(producer.error(), HasSubstr("udsTokenizerConfig.socketFile"));
}

TEST(Create, BadModesAreRefused) {
  for (const char* mode : {"estimate.image.mode", "estimate.video.tokensPerFrame.mode",
                           "estimate.video.frames.mode"}) {
    EXPECT_FALSE(epp::test::Make("token-producer", {{mode, "odd"}}).ok());
  }
}

// ---- against a reference ----

// The whole estimate of a chat, as plainly as it can be said.
std::string Reference(const nlohmann::json& tools,
                      const std::vector<std::pair<std::string, std::string>>& messages) {
  std::string out = tools.is_null() ? "" : tools.dump();
  for (const auto& [role, text] : messages) out += role + text;
  return Padded(out);
}

TEST(Estimate, SameAsTheReference) {
  auto producer = epp::test::Make("token-producer");
  std::mt19937 random(11);
  const auto text = [&] {
    static constexpr const char* kParts[] = {
        "a",        "lorem ipsum dolor sit amet", "\n", "\"", "\\",
        "\xc3\xa9", "\xf0\x9f\x98\x80",           "\t", "/"};
    std::string out;
    for (auto n = random() % 12; n > 0; --n) out += kParts[random() % std::size(kParts)];
    return out;
  };
  for (int round = 0; round < 2000; ++round) {
    nlohmann::json tools;
    if (random() % 2) tools = nlohmann::json::array({{{"name", text()}, {"a", {{"z", 1}}}}});
    std::vector<std::pair<std::string, std::string>> messages;
    Request request;
    request.Api(EPP_API_CHAT);
    if (!tools.is_null()) request.Segment(EPP_SEGMENT_JSON, tools.dump(1));
    for (auto n = 1 + random() % 4; n > 0; --n) {
      messages.emplace_back("user", text());
      // Half of them with every other character beyond ASCII escaped as well.
      const std::string quoted =
          nlohmann::json(messages.back().second).dump(-1, ' ', random() % 2 == 0);
      request.Segment(EPP_SEGMENT_ROLE, "user");
      const std::string raw = quoted.substr(1, quoted.size() - 2);
      const bool escaped = raw.find('\\') != std::string::npos;
      request.Segment(EPP_SEGMENT_TEXT, raw, escaped ? kEscaped : 0);
    }
    const auto* t = Tokenize(producer, request);
    ASSERT_NE(t, nullptr) << producer.error();
    EXPECT_EQ(Bytes(*t), Reference(tools, messages));
  }
}

}  // namespace
