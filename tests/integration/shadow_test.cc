// A shadow decides nothing, learns from its own picks, keeps to its budget, and survives reloads.
#include <atomic>
#include <cstdlib>
#include <memory>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"
#include "host/loader/host_services.h"
#include "tests/integration/harness.h"
#include "tests/integration/test_plugins.h"

namespace epp::integration {
namespace {

using shadow::Report;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Config(const std::string& plugins, const std::string& entries) {
  return StrCat("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n", plugins,
                "schedulingProfiles:\n- name: default\n  plugins:\n", entries);
}

// Everything that learns, and chance.
std::string Busy(const std::string& prefix_weight, const std::string& lru = "31250",
                 const std::string& picker = "max-score-picker") {
  return Config(StrCat("- {type: queue-scorer}\n"
                       "- {type: prefix-cache-scorer}\n"
                       "- {type: approx-prefix-cache-producer, parameters: "
                       "{lruCapacityPerServer: ",
                       lru,
                       "}}\n"
                       "- {type: load-aware-scorer}\n"
                       "- {type: inflight-load-producer}\n"
                       "- {type: ",
                       picker, "}\n"),
                StrCat("  - {pluginRef: queue-scorer}\n"
                       "  - {pluginRef: load-aware-scorer}\n"
                       "  - {pluginRef: ",
                       picker,
                       "}\n"
                       "  - {pluginRef: prefix-cache-scorer, weight: ",
                       prefix_weight, "}\n"));
}

std::vector<Pod> Pods() {
  std::vector<Pod> pods;
  for (int i = 0; i < 6; ++i) {
    pods.push_back({StrCat("pod-", i), StrCat("10.0.0.", i + 1), i % 3 * 20});
    pods.back().labels = {{"score", i == 0 ? "1" : "0.5"}};
  }
  return pods;
}

// Long enough for whole blocks, and one of a few.
std::string Prompt(int i) {
  std::string text;
  for (int w = 0; w < 400; ++w) StrAppend(&text, "word", i, "x", w, " ");
  return StrCat(R"({"model":"m","prompt":")", text, R"("})");
}

// What the live plugins have learned. The size of an index varies with its random seed.
std::string Learned(const Harness& harness) {
  return std::regex_replace(harness.PluginDumps(), std::regex("\"bytes\":[0-9]+"), "");
}

// The destinations of a fixed sequence of requests, some of which stay open for a while; `learned`
// is filled while they are.
std::vector<std::string> Drive(Harness& harness, int requests = 60,
                               std::string* learned = nullptr) {
  loader::RandomSource::RestorePerThread({1, 2, 3, 4});
  std::vector<std::string> destinations;
  std::vector<std::unique_ptr<Flow>> open;
  for (int i = 0; i < requests; ++i) {
    auto flow = std::make_unique<Flow>(harness);
    destinations.push_back(Destination(flow->Post(kCompletions, Prompt(i % 7))));
    if (i % 3 == 0) {
      flow->Answer("{}");
      continue;
    }
    flow->Head({{":status", "200"}, {"content-type", "application/json"}});
    open.push_back(std::move(flow));
    if (open.size() > 4) {
      open.front()->Chunk("{}", true);
      open.erase(open.begin());
    }
  }
  if (learned != nullptr) *learned = Learned(harness);
  return destinations;
}

std::vector<std::string> Names(const std::vector<shadow::OwnProducer>& producers) {
  std::vector<std::string> names;
  for (const shadow::OwnProducer& producer : producers) names.push_back(producer.name);
  return names;
}

TEST(Shadow, RoutingIsTheSameWithAndWithoutOne) {
  for (const std::string picker : {"max-score-picker", "weighted-random-picker"}) {
    const std::string live = Busy("1", "31250", picker);
    Harness alone({.config = live});
    alone.SetPods(Pods());
    std::string learned;
    const std::vector<std::string> expected = Drive(alone, 60, &learned);
    EXPECT_THAT(learned, ::testing::ContainsRegex("\"requests\":[1-9]"));
    for (const std::string& candidate :
         {live, Busy("9", "31250", picker), Busy("9", "500", "random-picker")}) {
      Harness harness({.config = live});
      harness.SetPods(Pods());
      harness.BeginShadow(candidate);
      std::string with_shadow;
      EXPECT_EQ(Drive(harness, 60, &with_shadow), expected);
      EXPECT_EQ(with_shadow, learned);
      EXPECT_EQ(harness.shadows().Report().summary.decisions(), expected.size());
    }
  }
}

TEST(Shadow, TheSameConfigAgreesOnEverythingThatIsLeftToChanceToo) {
  for (const std::string picker : {"max-score-picker", "random-picker", "weighted-random-picker"}) {
    Harness harness({.config = Busy("1", "31250", picker)});
    harness.SetPods(Pods());
    harness.BeginShadow(Busy("1", "31250", picker));
    Drive(harness);
    const Report report = harness.shadows().Report();
    EXPECT_EQ(report.summary.agree, 60u) << picker;
    EXPECT_EQ(report.summary.differ, 0u) << picker;
    EXPECT_GT(report.summary.live_cached_tokens, 0u);
    EXPECT_EQ(report.summary.live_cached_tokens, report.summary.candidate_cached_tokens);
    EXPECT_THAT(report.own_producers, IsEmpty());
    EXPECT_THAT(report.unfed, IsEmpty());
  }
}

TEST(Shadow, OtherWeightsAgreeLessAndTheMarginSaysByHowMuch) {
  const std::string live =
      Config("- {type: test-scorer}\n- {type: queue-scorer}\n",
             "  - {pluginRef: test-scorer, weight: 4}\n  - {pluginRef: queue-scorer}\n");
  const std::string candidate =
      Config("- {type: test-scorer}\n- {type: queue-scorer}\n",
             "  - {pluginRef: test-scorer, weight: -4}\n  - {pluginRef: queue-scorer}\n");
  Harness harness({.config = live});
  harness.SetPods(Pods());
  harness.BeginShadow(candidate);
  for (int i = 0; i < 20; ++i) {
    Flow flow(harness);
    flow.Post(kCompletions, Prompt(0));
    flow.Answer("{}");
  }
  const Report report = harness.shadows().Report();
  EXPECT_EQ(report.summary.differ, 20u);
  EXPECT_EQ(report.summary.margins, 20u);
  EXPECT_NEAR(report.summary.median_margin, 2.0, 0.2);
  EXPECT_EQ(report.summary.close, 0u);
  EXPECT_DOUBLE_EQ(harness.Metric("epp_shadow_requests_total", "result=\"differ\""), 20);
  EXPECT_DOUBLE_EQ(harness.Metric("epp_shadow_requests_total", "result=\"agree\""), 0);
  EXPECT_GT(harness.Metric("epp_shadow_cpu_seconds_total"), 0);
}

TEST(Shadow, HooksOfTheLiveConfigAreCalledOnceAndThoseOfTheCandidateChangeNothing) {
  const auto with_hook = [](const std::string& name) {
    return Config(StrCat("- {type: test-scorer}\n- {name: ", name, ", type: test-hook}\n"),
                  "  - {pluginRef: test-scorer}\n");
  };
  Harness harness({.config = with_hook("mine")});
  harness.SetPods(Pods());
  TakeTrace();
  harness.BeginShadow(with_hook("mine"));
  {
    Flow flow(harness);
    flow.Post(kCompletions, Prompt(0));
    flow.Answer("{}");
  }
  EXPECT_THAT(TakeTrace(),
              ElementsAre("mine.pre", "mine.headers", HasSubstr("mine.body first last")));

  harness.BeginShadow(with_hook("other"));
  Flow flow(harness);
  const request::RequestVerdict verdict =
      flow.Post(kCompletions, Prompt(0), {{"x-test", "other.pre=forge"}});
  EXPECT_EQ(Find(verdict.headers, "x-mine"), "request");
  EXPECT_EQ(Find(verdict.headers, "x-other"), std::nullopt);
  EXPECT_EQ(Destination(verdict), "10.0.0.1:8000");
  const auto head = flow.Head({{":status", "200"}, {"content-type", "text/event-stream"}});
  EXPECT_EQ(Find(head.headers, "x-other"), std::nullopt);
  flow.Chunk("data: {}\n\n", false);
  flow.Chunk("data: {}\n\n", false);
  EXPECT_THAT(flow.Chunk("data: [DONE]\n\n", true).metadata, testing::SizeIs(1));
  flow.End();
  EXPECT_THAT(TakeTrace(),
              ElementsAre("mine.pre", "other.pre", "mine.headers", HasSubstr("mine.body first"),
                          HasSubstr("other.body first"), HasSubstr("mine.body end=0"),
                          HasSubstr("mine.body last end=1"), HasSubstr("other.body last end=1")));
}

TEST(Shadow, ItsOwnLoadComesWithItsPicksAndGoesWithTheEnd) {
  const auto config = [](const std::string& step) {
    return Config(
        StrCat("- {type: test-idle}\n- {type: test-learner, parameters: {step: ", step, "}}\n"),
        "  - {pluginRef: test-idle}\n");
  };
  Harness harness({.config = config("1")});
  harness.SetPods({{"a", "10.0.0.1"}, {"b", "10.0.0.2"}, {"c", "10.0.0.3"}});
  harness.BeginShadow(config("2"));
  // Each request finds the endpoint that has none, on both sides, as long as both count alike.
  for (int round = 0; round < 5; ++round) {
    std::vector<std::unique_ptr<Flow>> open;
    for (int i = 0; i < 3; ++i) {
      open.push_back(std::make_unique<Flow>(harness));
      open.back()->Post(kCompletions, Prompt(0));
      open.back()->Head({{":status", "200"}});
    }
  }
  const Report report = harness.shadows().Report();
  EXPECT_THAT(Names(report.own_producers), ElementsAre("test-learner"));
  EXPECT_EQ(report.summary.agree, 15u);
  for (const shadow::Picks& picks : report.summary.picks) {
    EXPECT_EQ(picks.live, 5u);
    EXPECT_EQ(picks.candidate, 5u);
  }
}

TEST(Shadow, AnIndexOfItsOwnLearnsFromItsOwnPicks) {
  Harness harness({.config = Busy("9")});
  harness.SetPods(Pods());
  harness.BeginShadow(Busy("9", "20000"));
  Drive(harness);
  const Report report = harness.shadows().Report();
  EXPECT_THAT(Names(report.own_producers), ElementsAre("approx-prefix-cache-producer"));
  EXPECT_FALSE(report.own_producers[0].inherited);  // there was nothing yet
  EXPECT_GT(report.summary.candidate_cached_tokens, 0u);
  EXPECT_GT(harness.Metric("epp_shadow_cached_tokens_total", "side=\"candidate\""), 0);
  // Its metrics do not pass for those of the live instance of the same name.
  const std::string learned = Learned(harness);
  const double live_blocks = std::strtod(learned.c_str() + learned.find(':') + 1, nullptr);
  EXPECT_GT(live_blocks, 0);
  EXPECT_DOUBLE_EQ(harness.Metric("epp_prefix_index_blocks"), live_blocks);
}

TEST(Shadow, AnIndexOfItsOwnBeginsWithWhatTheLiveOneHasLearned) {
  Harness harness({.config = Busy("9")});
  harness.SetPods(Pods());
  Drive(harness);
  harness.BeginShadow(Busy("9", "20000"));
  Drive(harness, 5);
  const Report report = harness.shadows().Report();
  ASSERT_EQ(report.own_producers.size(), 1u);
  EXPECT_TRUE(report.own_producers[0].inherited);
  EXPECT_EQ(report.summary.candidate_cached_tokens, report.summary.live_cached_tokens);
  EXPECT_GT(report.summary.candidate_cached_tokens, 0u);
}

TEST(Shadow, AnExpensiveCandidateIsShed) {
  const std::string live = Config("- {type: test-scorer}\n", "  - {pluginRef: test-scorer}\n");
  const std::string slow = Config("- {type: test-scorer}\n- {type: test-slow}\n",
                                  "  - {pluginRef: test-scorer}\n  - {pluginRef: test-slow}\n");
  Harness harness({.config = live, .shadow_cpu_share = 0.02});
  harness.SetPods(Pods());
  harness.BeginShadow(slow);
  for (int i = 0; i < 200; ++i) {
    Flow flow(harness);
    flow.Post(kCompletions, Prompt(0));
    flow.Answer("{}");
  }
  const shadow::Summary sum = harness.shadows().Report().summary;
  EXPECT_EQ(sum.decisions() + sum.shed, 200u);
  EXPECT_GE(sum.decisions(), 1u);
  EXPECT_GE(sum.shed, 100u);
  EXPECT_EQ(sum.agree, sum.decisions());
  EXPECT_DOUBLE_EQ(harness.Metric("epp_shadow_requests_total", "result=\"shed\""),
                   static_cast<double>(sum.shed));
}

TEST(Shadow, OnlyTheShareIsSampled) {
  Harness harness({.config = Busy("1")});
  harness.SetPods(Pods());
  harness.BeginShadow(Busy("1"), 0.25);
  for (int i = 0; i < 2000; ++i) {
    Flow flow(harness);
    flow.Post(kCompletions, R"({"model":"m","prompt":"x"})");
  }
  EXPECT_NEAR(static_cast<double>(harness.shadows().Report().summary.decisions()), 500, 150);
}

TEST(Shadow, RequestsThatFindNoEndpointAreCompared) {
  const std::string filtered =
      Config("- {type: test-filter}\n- {type: test-scorer}\n",
             "  - {pluginRef: test-filter}\n  - {pluginRef: test-scorer}\n");
  const std::string open = Config("- {type: test-scorer}\n", "  - {pluginRef: test-scorer}\n");
  for (const bool live_filters : {true, false}) {
    Harness harness({.config = live_filters ? filtered : open});
    harness.SetPods(Pods());
    harness.BeginShadow(live_filters ? open : filtered);
    {
      Flow flow(harness);
      flow.Post(kCompletions, Prompt(0), {{"x-test", "filter=drop"}});
    }
    const shadow::Summary sum = harness.shadows().Report().summary;
    EXPECT_EQ(sum.differ, 1u);
    EXPECT_EQ(sum.live_none, live_filters ? 1u : 0u);
    EXPECT_EQ(sum.candidate_none, live_filters ? 0u : 1u);
  }
}

TEST(Shadow, AFailingCandidateIsCountedAndHarmless) {
  Harness harness({.config = Config("- {type: test-scorer}\n", "  - {pluginRef: test-scorer}\n")});
  harness.SetPods(Pods());
  harness.BeginShadow(Config("- {type: test-scorer}\n- {type: test-picker}\n",
                             "  - {pluginRef: test-scorer}\n  - {pluginRef: test-picker}\n"));
  for (const char* what : {"picker=throw", "picker=none", "picker=outside"}) {
    Flow flow(harness);
    EXPECT_TRUE(Forwards(flow.Post(kCompletions, Prompt(0), {{"x-test", what}})));
    flow.Answer("{}");
  }
  EXPECT_EQ(harness.shadows().Report().summary.failed, 3u);
  EXPECT_DOUBLE_EQ(harness.Metric("epp_shadow_requests_total", "result=\"error\""), 3);
  EXPECT_DOUBLE_EQ(harness.Metric("epp_plugin_errors_total"), 0);
}

TEST(Shadow, EndsByItselfAndItsLastReportStays) {
  Harness harness({.config = Busy("1")});
  harness.SetPods(Pods());
  EXPECT_EQ(harness.shadows().Report().state, Report::State::kNone);
  harness.BeginShadow(Busy("2"), 1, /*planned_ns=*/1);
  Drive(harness, 5);
  harness.WorkOnShadow();
  Drive(harness, 5);
  const Report report = harness.shadows().Report();
  EXPECT_EQ(report.state, Report::State::kEnded);
  EXPECT_EQ(report.ended, "its time is over");
  EXPECT_EQ(report.summary.decisions(), 5u);
  EXPECT_FALSE(harness.shadows().End("again"));
  // The next begins from nothing; the metrics go on.
  harness.BeginShadow(Busy("3"));
  Drive(harness, 4);
  EXPECT_EQ(harness.shadows().Report().summary.decisions(), 4u);
  EXPECT_DOUBLE_EQ(harness.Metric("epp_shadow_requests_total"), 9);
}

TEST(Shadow, ARefusedCandidateLeavesTheRunningOneAlone) {
  Harness harness({.config = Busy("1")});
  harness.SetPods(Pods());
  harness.BeginShadow(Busy("2"));
  for (const char* text : {"", " \n", "plugins: [{type: no-such-type}]"}) {
    config::Diagnostics diagnostics;
    const auto source = std::make_shared<config::SourceText>(config::SourceText{"bad.yaml", text});
    EXPECT_FALSE(harness.shadows().Begin({source, 1, 0, false}, harness.generation(), diagnostics));
    EXPECT_THAT(diagnostics.Render(), HasSubstr("bad.yaml"));
  }
  EXPECT_EQ(harness.shadows().Report().state, Report::State::kRunning);
  EXPECT_EQ(harness.shadows().Report().file, "candidate");
}

TEST(Shadow, FollowsAReloadAndKeepsWhatItLearned) {
  Harness harness({.config = Busy("1")});
  harness.SetPods(Pods());
  harness.BeginShadow(Busy("9", "20000"));
  Drive(harness);
  const uint64_t before = harness.shadows().Report().summary.candidate_cached_tokens;

  Flow across(harness);
  across.Post(kCompletions, Prompt(1));
  harness.Reload(Busy("3"));
  Drive(harness, 10);  // decided by a generation that the candidate does not know: left out
  EXPECT_EQ(harness.shadows().Report().summary.decisions(), 60u);
  harness.WorkOnShadow();
  across.Answer("{}");  // sampled before
  Drive(harness, 10);
  const Report report = harness.shadows().Report();
  EXPECT_EQ(report.state, Report::State::kRunning);
  EXPECT_EQ(report.rebuilds, 1u);
  EXPECT_EQ(report.generation, 2u);
  EXPECT_EQ(report.summary.decisions(), 71u);
  // All ten prompts were seen before the reload, by its own index.
  EXPECT_GE(report.summary.candidate_cached_tokens - before, 10u * 64);

  // What becomes live is shared from then on.
  harness.Reload(Busy("9", "20000"));
  harness.WorkOnShadow();
  EXPECT_THAT(harness.shadows().Report().own_producers, IsEmpty());
}

TEST(Shadow, EndsWithAWarningWhenItIsRefusedBesideANewGeneration) {
  Harness harness({.config = Busy("1")});
  harness.SetPods(Pods());
  harness.BeginShadow(Busy("2", "31250", "random-picker"));
  harness.Reload(Busy("3"));
  harness.LosePlugins();
  harness.WorkOnShadow();
  const Report report = harness.shadows().Report();
  EXPECT_EQ(report.state, Report::State::kEnded);
  EXPECT_THAT(report.ended, HasSubstr("refused beside generation 2"));
  ASSERT_EQ(harness.conditions().raised().size(), 1u);
  EXPECT_EQ(harness.conditions().raised()[0].code, "shadow-refused");
  EXPECT_EQ(Drive(harness, 3).size(), 3u);
  harness.shadows().End("seen");
  EXPECT_THAT(harness.conditions().raised(), IsEmpty());
}

// For the thread sanitizer: workers decide while shadows come, go, follow and are looked at.
TEST(Shadow, ComesAndGoesUnderLoad) {
  Harness harness({.config = Busy("1"), .workers = 2});
  harness.SetPods(Pods());
  std::atomic<bool> stop{false};
  std::atomic<int> sent{0};
  std::vector<std::thread> workers;
  for (uint32_t w = 0; w < 2; ++w) {
    workers.emplace_back([&harness, &stop, &sent, w] {
      std::vector<std::unique_ptr<Flow>> open;
      for (int i = 0; !stop; ++i) {
        open.push_back(std::make_unique<Flow>(harness, w));
        EXPECT_TRUE(Forwards(open.back()->Post(kCompletions, Prompt(i % 5))));
        open.back()->Head({{":status", "200"}});
        if (open.size() > 5) open.erase(open.begin());
        ++sent;
      }
    });
  }
  for (int round = 0; round < 6; ++round) {
    harness.BeginShadow(Busy("5", round % 2 ? "31250" : "900"), 0.8);
    const int until = sent + 40;
    while (sent < until) {
      harness.WorkOnShadow();
      EXPECT_FALSE(harness.shadows().ShadowText().empty());
      std::this_thread::yield();
    }
    if (round % 3 == 1) harness.Reload(Busy(StrCat(round)));
    harness.WorkOnShadow();
    if (round % 3 == 2) harness.shadows().End("enough");
  }
  stop = true;
  for (std::thread& worker : workers) worker.join();
  harness.WorkOnShadow();
  EXPECT_GT(harness.Metric("epp_shadow_requests_total"), 0);
}

}  // namespace
}  // namespace epp::integration
