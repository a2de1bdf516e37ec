#include "host/runtime/generation_diff.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/config/test_catalog.h"
#include "host/runtime/outline.h"

namespace epp::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Outline OutlineOfText(const std::string& text) {
  static const loader::Catalog& catalog = *new loader::Catalog(config::test::RealNames());
  config::Diagnostics out;
  const config::ResolvedConfig config =
      config::Resolve(config::test::Text(text), catalog, {.allow_experimental = true}, out);
  EXPECT_TRUE(out.ok()) << out.Render();
  return OutlineOf(config);
}

std::vector<std::string> Changes(const std::string& from, const std::string& to) {
  return ChangeLines(Compare(OutlineOfText(from), OutlineOfText(to)));
}

// plugins, then the entries of the one profile.
std::string Config(const std::string& plugins, const std::string& entries) {
  return "plugins:\n" + plugins + "schedulingProfiles:\n- name: default\n  plugins:\n" + entries;
}

const std::string kPlugins =
    "- {type: queue-scorer}\n- {type: kv-cache-utilization-scorer}\n"
    "- {type: label-selector-filter, name: a}\n- {type: label-selector-filter, name: b}\n"
    "- {type: approx-prefix-cache-producer, parameters: {blockSizeTokens: 64}}\n";
const std::string kEntries =
    "  - {pluginRef: a}\n  - {pluginRef: b}\n"
    "  - {pluginRef: queue-scorer, weight: 2}\n"
    "  - {pluginRef: kv-cache-utilization-scorer, weight: 1}\n";

TEST(GenerationDiffTest, CommentsAndTheOrderOfScorersChangeNothing) {
  const std::string entries =
      "  - {weight: 1, pluginRef: kv-cache-utilization-scorer}\n"
      "  - {weight: 2, pluginRef: queue-scorer}\n"
      "  - {pluginRef: a}\n  - {pluginRef: b}\n";
  const GenerationDiff diff = Compare(OutlineOfText(Config(kPlugins, kEntries)),
                                      OutlineOfText("# new\n" + Config(kPlugins, entries)));
  EXPECT_TRUE(diff.same());
  EXPECT_THAT(ChangeLines(diff), IsEmpty());
  EXPECT_GE(diff.kept, 5u);
  EXPECT_THAT(DiffText(diff, false), HasSubstr("no change of meaning"));
  EXPECT_THAT(DiffText(diff, true), HasSubstr("queue-scorer"));
}

struct Case {
  const char* name;
  std::string plugins;
  std::string entries;
  std::string line;
};
void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

class OneChange : public testing::TestWithParam<Case> {};

TEST_P(OneChange, IsOneLine) {
  EXPECT_THAT(Changes(Config(kPlugins, kEntries), Config(GetParam().plugins, GetParam().entries)),
              ElementsAre(GetParam().line));
}

INSTANTIATE_TEST_SUITE_P(
    Table, OneChange,
    testing::Values(Case{"Weight", kPlugins, Replaced(kEntries, "weight: 2", "weight: 5"),
                         "~   profile default: queue-scorer weight 2 -> 5"},
                    Case{"OrderOfFilters", kPlugins,
                         Replaced(kEntries, "  - {pluginRef: a}\n  - {pluginRef: b}\n",
                                  "  - {pluginRef: b}\n  - {pluginRef: a}\n"),
                         "~   profile default: filters order a, b -> b, a"},
                    Case{"LessFilters", kPlugins, Replaced(kEntries, "  - {pluginRef: a}\n", ""),
                         "-   profile default: a filter"}),
    [](const auto& info) { return info.param.name; });

TEST(GenerationDiffTest, AnotherPickerIsNewStepsAndInstances) {
  EXPECT_THAT(
      Changes(Config(kPlugins, kEntries), Config(kPlugins + "- {type: random-picker}\n",
                                                 kEntries + "  - {pluginRef: random-picker}\n")),
      ElementsAre("+   profile default: random-picker picker",
                  "-   profile default: max-score-picker picker",
                  "+   instances: random-picker; new", "-   instances: max-score-picker; dropped"));
}

TEST(GenerationDiffTest, AParameterRebuildsItsInstance) {
  const std::string to = Replaced(kPlugins, "blockSizeTokens: 64", "blockSizeTokens: 128");
  EXPECT_THAT(Changes(Config(kPlugins, kEntries), Config(to, kEntries)),
              ElementsAre("~   instances: approx-prefix-cache-producer blockSizeTokens 64 -> 128; "
                          "rebuild"));
}

// One instance, hand made.
Outline Of(const std::string& code, bool learns, bool carries) {
  Outline outline;
  Outline::Instance& instance = outline.instances.emplace_back();
  instance.identity = {"prefix", "prefix-type", code, "p"};
  instance.library = "acme";
  instance.version = "1.0." + code.substr(0, 1);
  instance.learns = learns;
  instance.carries = carries;
  return outline;
}

TEST(GenerationDiffTest, WhatBecomesOfState) {
  const auto line = [](bool learns, bool from_carries, bool to_carries) {
    const GenerationDiff diff =
        Compare(Of("11111111aa", learns, from_carries), Of("22222222bb", learns, to_carries));
    return ChangeLines(diff).at(0) + (diff.lost.empty() ? "" : " lost");
  };
  const std::string change =
      "~   instances: prefix library acme 1.0.1 (11111111) -> acme 1.0.2 (22222222); rebuild";
  EXPECT_EQ(line(false, false, false), change);
  EXPECT_EQ(line(true, true, true), change + "; its state is carried over");
  EXPECT_EQ(line(true, true, false), change + "; its state is LOST lost");
  EXPECT_EQ(line(true, false, true), change + "; its state is LOST lost");
}

TEST(GenerationDiffTest, TextBySectionWithASummary) {
  Outline from = Of("11111111aa", true, false);
  Outline to = from;
  from.profiles = {{"default", {{"prefix", "scorer", 3}}}};
  to.profiles = {{"default", {{"prefix", "scorer", 5}}}};
  to.instances.front().values = {{"size", "7"}};
  to.instances.front().identity.parameters = "q";
  from.instances.push_back(from.instances.front());
  from.instances.back().identity.name = "a-name-longer-than-its-column";
  const std::string text = DiffText(Compare(from, to), false);
  EXPECT_EQ(text,
            "  profile default\n"
            "~   prefix            weight 3 -> 5\n"
            "  instances\n"
            "~   prefix            size unset -> 7              rebuild; its state is LOST\n"
            "-   a-name-longer-than-its-column\n"
            "      prefix-type                                  dropped; its library stays mapped\n"
            "\n0 added, 2 changed, 1 dropped, 0 instances kept; the state of prefix is lost\n");
}

TEST(OutlineTest, SurvivesJson) {
  const Outline outline = OutlineOfText(Config(kPlugins, kEntries));
  const auto again = OutlineFromJson(ToJson(outline));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(Compare(outline, *again).same());
  EXPECT_EQ(ToJson(*again), ToJson(outline));
}

TEST(OutlineTest, RefusesWhatIsNone) {
  for (const char* text : {"", "[]", "{}", "{\"instances\": 3}", "{\"instances\": [{}]}", "null"}) {
    EXPECT_FALSE(OutlineFromJson(text).ok()) << text;
  }
}

struct Secretive : config::test::NoOpFilter<Secretive> {
  static constexpr const char* kName = "secretive";
  static constexpr std::array kParams{String("token", "", "A password.").Secret()};
};

TEST(OutlineTest, ShowsNoSecretButSeesThatItChanged) {
  loader::Catalog catalog = config::test::RealNames();
  config::test::AddTypes<Secretive>(catalog);
  const auto outline = [&](const std::string& token) {
    config::Diagnostics out;
    return OutlineOf(config::Resolve(
        config::test::Text(Config("- {type: secretive, parameters: {token: " + token + "}}\n",
                                  "  - {pluginRef: secretive}\n")),
        catalog, {}, out));
  };
  EXPECT_THAT(ToJson(outline("hunter2")), Not(HasSubstr("hunter2")));
  EXPECT_THAT(ChangeLines(Compare(outline("hunter2"), outline("hunter3"))),
              ElementsAre("~   instances: secretive a secret parameter; rebuild"));
}

}  // namespace
}  // namespace epp::runtime
