#include "host/objects/object_set.h"

#include <map>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::objects {
namespace {

using ::testing::ElementsAre;

Rule RuleOf(std::vector<std::string> models, std::vector<Target> targets) {
  const bool generic = models.empty();
  return {generic, std::move(models), std::move(targets)};
}

TEST(ObjectSet, PriorityOfAnObjective) {
  const ObjectSet set({{"high", 10}, {"batch", -5}, {"plain", std::nullopt}}, {});
  struct Case {
    std::string_view name;
    int32_t want;
  };
  for (const auto& [name, want] : {Case{"high", 10}, Case{"batch", -5}, Case{"plain", 0},
                                   Case{"unknown", 0}, Case{"", 0}, Case{"High", 0}}) {
    EXPECT_EQ(set.Priority(name), want) << name;
  }
  EXPECT_THAT(set.Priorities(), ElementsAre(-5, 10));
}

TEST(ObjectSet, OfEqualNamesTheLastOneCounts) {
  const ObjectSet set({{"a", 1}, {"a", 2}}, {});
  EXPECT_EQ(set.Priority("a"), 2);
  EXPECT_EQ(set.objectives().size(), 1u);
}

TEST(ObjectSet, RuleChoice) {
  struct Case {
    std::string what;
    std::vector<ModelRewrite> rewrites;
    std::string model;
    std::string want;  // "object>target", "" for no rule
  };
  const Rule exact_a = RuleOf({"a"}, {{"exact"}});
  const Rule any = RuleOf({}, {{"any"}});
  const std::vector<Case> cases = {
      {"no rule at all", {}, "a", ""},
      {"no rule for this one", {{"r", 1, {exact_a}}}, "b", ""},
      {"exact", {{"r", 1, {exact_a}}}, "a", "r>exact"},
      {"exact before an older generic one", {{"g", 1, {any}}, {"e", 9, {exact_a}}}, "a", "e>exact"},
      {"generic for the others", {{"g", 1, {any}}, {"e", 9, {exact_a}}}, "b", "g>any"},
      {"generic for a request without a model", {{"g", 1, {any}}}, "", "g>any"},
      {"oldest exact", {{"a", 5, {exact_a}}, {"b", 4, {exact_a}}}, "a", "b>exact"},
      {"oldest generic", {{"a", 5, {any}}, {"b", 4, {any}}}, "x", "b>any"},
      {"equal age: by name", {{"b", 4, {exact_a}}, {"a", 4, {exact_a}}}, "a", "a>exact"},
      {"age unknown is oldest", {{"a", 4, {exact_a}}, {"z", 0, {exact_a}}}, "a", "z>exact"},
      {"first rule of an object", {{"r", 1, {RuleOf({"a"}, {{"1"}}), exact_a}}}, "a", "r>1"},
      {"one of several matches", {{"r", 1, {RuleOf({"a", "b"}, {{"t"}})}}}, "b", "r>t"},
      {"matches that name no model never fire", {{"r", 1, {Rule{false, {}, {{"t"}}}}}}, "a", ""},
  };
  for (const Case& c : cases) {
    const ObjectSet set({}, c.rewrites);
    const ObjectSet::Match match = set.FindRule(c.model);
    ASSERT_EQ(match.rule != nullptr, !c.want.empty()) << c.what;
    if (match.rule == nullptr) continue;
    EXPECT_EQ(match.rewrite->name + ">" + std::string(ChooseTarget(*match.rule, 0)), c.want)
        << c.what;
  }
}

TEST(ObjectSet, ModelsOfAllRules) {
  const ObjectSet set({}, {{"r", 1, {RuleOf({"a"}, {{"b"}, {"c"}}), RuleOf({}, {{"a"}})}}});
  EXPECT_THAT(set.Models(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(set.rule_count(), 2u);
}

TEST(ChooseTarget, DrawsByWeight) {
  struct Case {
    std::string what;
    std::vector<Target> targets;
    std::map<std::string, int> want;  // of the draws 0 to 11
  };
  const std::vector<Case> cases = {
      {"C077 omitted weights", {{"a"}, {"b"}, {"c"}}, {{"a", 4}, {"b", 4}, {"c", 4}}},
      {"weights", {{"a", 1}, {"b", 3}}, {{"a", 3}, {"b", 9}}},
      {"C077 mixed weights", {{"a"}, {"b", 1}, {"c"}, {"d", 2}}, {{"b", 4}, {"d", 8}}},
      {"one", {{"a", 1000000}}, {{"a", 12}}},
      {"none", {}, {{"", 12}}},
  };
  for (const Case& c : cases) {
    std::map<std::string, int> got;
    for (uint64_t draw = 0; draw < 12; ++draw) {
      ++got[std::string(ChooseTarget(RuleOf({}, c.targets), draw))];
    }
    EXPECT_EQ(got, c.want) << c.what;
  }
}

TEST(ObjectSlot, ReadersSeeWhatIsPublished) {
  ObjectSlot slot;
  ObjectReader reader(&slot);
  EXPECT_EQ(reader.Get()->Priority("a"), 0);
  std::thread([&] {
    slot.Publish(std::make_shared<const ObjectSet>(std::vector<Objective>{{"a", 7}},
                                                   std::vector<ModelRewrite>{}));
  }).join();
  EXPECT_EQ(reader.Get()->Priority("a"), 7);
  EXPECT_EQ(ObjectReader(nullptr).Get(), nullptr);
}

}  // namespace
}  // namespace epp::objects
