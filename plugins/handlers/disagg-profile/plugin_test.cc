#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"
#include "plugins/common/disagg.hpp"

namespace {

using epp::test::Cell;
using epp::test::Host;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kType = "disagg-profile-handler";
constexpr const char* kPrefiller = "x-prefiller-host-port";
constexpr const char* kEncoders = "x-encoder-hosts-ports";

// Rows of each stage's targets.
const std::map<std::string, std::vector<uint32_t>> kTargets{
    {"decode", {2, 1}}, {"prefill", {0}}, {"encode", {3, 1}}};

std::string HostPort(const Pool& pool, size_t row) {
  return std::string(epp::View(pool.endpoint(row).host_port));
}

// One way through the handler, and what it must come to.
struct Way {
  bool prefill_first, has_encode, has_prefill;  // whether deciders are configured
  bool says_encode, says_prefill;               // what they say
  bool encode_works, prefill_works, decode_works;

  bool runs_encode() const { return has_encode && says_encode && (prefill_first || decode_works); }
  bool runs_prefill() const {
    return prefill_first || (has_prefill && says_prefill && decode_works);
  }
  std::vector<std::vector<std::string>> rounds() const {
    std::vector<std::vector<std::string>> out;
    if (prefill_first) out.push_back({"prefill"});
    if (!prefill_first) out.push_back({"decode"});
    if (runs_encode()) out.push_back({"encode"});
    if (prefill_first) out.push_back({"decode"});
    if (!prefill_first && runs_prefill()) out.push_back({"prefill"});
    return out;
  }
  bool encoded() const { return runs_encode() && encode_works; }
  bool prefilled() const { return runs_prefill() && prefill_works; }
  std::string decision() const {
    return encoded()     ? prefilled() ? "encode-prefill-decode" : "encode-decode"
           : prefilled() ? "prefill-decode"
                         : "decode-only";
  }
  std::optional<uint32_t> peer() const {
    if (prefill_first) return prefill_works ? std::optional(0u) : std::nullopt;
    return runs_prefill() ? std::optional(2u) : std::nullopt;
  }
  std::vector<Request::Question> questions() const {
    if (prefill_first) {
      if (!has_encode) return {};
      return {{"deciders.encode", std::nullopt}};
    }
    std::vector<Request::Question> out;
    if (decode_works && has_encode) out.push_back({"deciders.encode", 2});
    if (decode_works && has_prefill) out.push_back({"deciders.prefill", 2});
    return out;
  }
};

std::vector<Way> AllWays() {
  std::vector<Way> out;
  for (unsigned bits = 0; bits < 256; ++bits) {
    const auto bit = [&](unsigned b) { return (bits >> b & 1) != 0; };
    const Way way{bit(0), bit(1), bit(2), bit(3), bit(4), bit(5), bit(6), bit(7)};
    if (way.prefill_first && way.has_prefill) continue;  // refused
    out.push_back(way);
  }
  return out;
}

TEST(DisaggProfileHandler, Case091And095EveryWayThroughTheStages) {
  const Pool pool(4);
  for (const Way& way : AllWays()) {
    SCOPED_TRACE(testing::Message() << (way.prefill_first ? "prefill-first" : "decode-first")
                                    << " deciders " << way.has_encode << way.has_prefill << " say "
                                    << way.says_encode << way.says_prefill << " works "
                                    << way.encode_works << way.prefill_works << way.decode_works);
    Params params{{"stageOrder", way.prefill_first ? "prefill-first" : "decode-first"}};
    if (way.has_encode) params.Set("deciders.encode", "e");
    if (way.has_prefill) params.Set("deciders.prefill", "p");
    Host host;
    auto handler = epp::test::Make(kType, params, &host);
    ASSERT_TRUE(handler.ok()) << handler.error();
    auto results = kTargets;
    if (!way.encode_works) results.erase("encode");
    if (!way.prefill_works) results.erase("prefill");
    if (!way.decode_works) results.erase("decode");
    Request request;
    request.Model("m")
        .Answer("deciders.encode", way.says_encode)
        .Answer("deciders.prefill", way.says_prefill)
        .Header(kPrefiller, "1.2.3.4:5")
        .Header(kEncoders, "1.2.3.4:5");
    Profiles profiles{"encode", "prefill", "decode"};
    const auto schedule = handler.Schedule(profiles, results, pool, request);
    EXPECT_EQ(schedule.rounds, way.rounds());
    EXPECT_EQ(request.asked(), way.questions());
    const auto peer = request.attributes().find(epp::common::kPeerEndpoint.key);
    if (way.peer()) {
      ASSERT_NE(peer, request.attributes().end());
      EXPECT_EQ(peer->second, Cell(static_cast<int64_t>(pool.endpoint(*way.peer()).id)));
    } else {
      EXPECT_EQ(peer, request.attributes().end());
    }
    if (!way.decode_works) {  // case 91
      EXPECT_EQ(schedule.primary, "");
      EXPECT_EQ(handler.status(), EPP_RESOURCE_EXHAUSTED);
      EXPECT_EQ(handler.error(), "failed to find available decode workers");
      continue;
    }
    EXPECT_EQ(schedule.primary, "decode");
    EXPECT_EQ(host.Metric("llm_d_epp_disagg_decision_total", {{"plugin_name", "under-test"},
                                                              {"plugin_type", kType},
                                                              {"model_name", "m"},
                                                              {"decision_type", way.decision()}}),
              1);
    EXPECT_EQ(host.Metric("llm_d_inference_scheduler_disagg_decision_total",
                          {{"model_name", "m"}, {"decision_type", way.decision()}}),
              1);
    const auto edits = handler.PreRequest(profiles, pool, request);
    EXPECT_EQ(edits.headers.at("x-data-parallel-host-port"), std::nullopt);
    EXPECT_EQ(edits.headers.at(kPrefiller),
              way.prefilled() ? std::optional(HostPort(pool, 0)) : std::nullopt);
    EXPECT_EQ(
        edits.headers.at(kEncoders),
        way.encoded() ? std::optional(HostPort(pool, 3) + "," + HostPort(pool, 1)) : std::nullopt);
  }
}

TEST(DisaggProfileHandler, Case093StageOrderInAnySpelling) {
  for (const char* order : {"prefill-first", "PrefillFirst", "PREFILL_FIRST", "prefill"}) {
    Profiles profiles{"prefill", "decode"};
    Request request;
    auto handler = epp::test::Make(kType, {{"stageOrder", order}});
    EXPECT_THAT(handler.Schedule(profiles, kTargets, Pool(4), request).rounds,
                ElementsAre(ElementsAre("prefill"), ElementsAre("decode")))
        << order;
  }
  for (const char* order : {"decode-first", "DecodeFirst", "decode_first", "decode", ""}) {
    Profiles profiles{"prefill", "decode"};
    Request request;
    auto handler = epp::test::Make(kType, {{"stageOrder", order}});
    EXPECT_THAT(handler.Schedule(profiles, kTargets, Pool(4), request).rounds,
                ElementsAre(ElementsAre("decode")))
        << order;
  }
  auto wrong = epp::test::Make(kType, {{"stageOrder", "foo"}});
  EXPECT_EQ(wrong.status(), EPP_INVALID_ARGUMENT);
  EXPECT_EQ(wrong.error(),
            "parameter \"stageOrder\" is \"foo\", want decode-first or prefill-first");
}

TEST(DisaggProfileHandler, Case094PrefillFirstAndDeciders) {
  for (const char* decider :
       {"deciders.prefill", "prefillDeciderPluginName", "deciderPluginName"}) {
    auto handler = epp::test::Make(kType, {{"stageOrder", "prefill-first"}, {decider, "d"}});
    EXPECT_FALSE(handler.ok()) << decider;
    EXPECT_THAT(handler.error(), HasSubstr(std::string("parameter \"") + decider + "\""));
  }
  for (const char* decider : {"deciders.encode", "encodeDeciderPluginName"}) {
    EXPECT_TRUE(epp::test::Make(kType, {{"stageOrder", "prefill-first"}, {decider, "d"}}).ok());
  }
}

TEST(DisaggProfileHandler, TheFlatForm) {
  const Pool pool(4);
  const std::map<std::string, std::vector<uint32_t>> results{{"d", {2}}, {"p", {0}}, {"e", {1}}};
  const Params profiles_named{
      {"decodeProfile", "d"}, {"prefillProfile", "p"}, {"encodeProfile", "e"}};
  for (const char* decider : {"prefillDeciderPluginName", "deciderPluginName"}) {
    Params params = profiles_named;
    params.Set(decider, "x");
    params.Set("encodeDeciderPluginName", "y");
    auto handler = epp::test::Make(kType, params);
    Request request;
    request.Answer(decider, true).Answer("encodeDeciderPluginName", true);
    Profiles profiles{"d", "e", "p"};
    EXPECT_THAT(handler.Schedule(profiles, results, pool, request).rounds,
                ElementsAre(ElementsAre("d"), ElementsAre("e"), ElementsAre("p")))
        << decider;
  }
  // The general name counts only where the other is absent.
  auto both =
      epp::test::Make(kType, {{"prefillDeciderPluginName", "x"}, {"deciderPluginName", "y"}});
  Request request;
  request.Answer("deciderPluginName", true);
  Profiles profiles{"prefill", "decode"};
  EXPECT_THAT(both.Schedule(profiles, kTargets, pool, request).skipped, ElementsAre("prefill"));
}

TEST(DisaggProfileHandler, TheFormsDoNotMix) {
  auto handler = epp::test::Make(kType, {{"profiles.decode", "d"}, {"deciderPluginName", "x"}});
  EXPECT_FALSE(handler.ok());
  EXPECT_THAT(handler.error(),
              HasSubstr("\"profiles.decode\" and \"deciderPluginName\": got both forms"));
}

TEST(DisaggProfileHandler, ProfilesThatAreNotThere) {
  const Pool pool(4);
  auto handler = epp::test::Make(kType, {{"deciders.prefill", "p"}});
  Request request;
  request.Answer("deciders.prefill", true);
  Profiles only_decode{"decode"};
  EXPECT_EQ(handler.Schedule(only_decode, kTargets, pool, request).primary, "decode");
  EXPECT_THAT(request.asked(), IsEmpty());
  Profiles no_decode{"prefill", "other"};
  EXPECT_THAT(handler.Schedule(no_decode, kTargets, pool, request).rounds, IsEmpty());
  EXPECT_EQ(handler.error(), "failed to find available decode workers");
}

TEST(DisaggProfileHandler, ARequestWithoutModel) {
  Host host;
  auto handler = epp::test::Make(kType, {}, &host);
  Request request;
  Profiles profiles{"decode"};
  handler.Schedule(profiles, kTargets, Pool(4), request);
  EXPECT_EQ(host.Metric("llm_d_inference_scheduler_disagg_decision_total",
                        {{"model_name", "unknown"}, {"decision_type", "decode-only"}}),
            1);
}

TEST(DisaggProfileHandler, DeclaresWhatDefaultsFollowFrom) {
  const epp_plugin_type& type = epp::test::Make(kType).type();
  EXPECT_EQ(type.consumes_count, 3u);
  EXPECT_STREQ(type.produces[0]->key, "peer-endpoint");
  EXPECT_TRUE(type.produces[0]->flags & EPP_ATTR_TYPE_NAMED);
}

}  // namespace
