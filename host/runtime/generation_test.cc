#include "host/runtime/generation.h"

#include <array>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/config/test_catalog.h"
#include "host/runtime/test_rig.h"

namespace epp::runtime {
namespace {

using config::test::AddTypes;
using config::test::Creatable;
using config::test::NoOpFilter;
using config::test::NoOpScorer;
using scheduling::Source;
using test::Rig;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> Names(const Generation& generation) {
  std::vector<std::string> names;
  for (const auto& instance : generation.instances()) names.push_back(instance->name());
  return names;
}
std::vector<std::string> ProducerOrder(const Generation& generation) {
  std::vector<std::string> names;
  for (const auto& step : generation.serving().wiring.producers) {
    names.push_back(step.plugin->name());
  }
  return names;
}
const scheduling::BoundPlugin& Bound(const Generation& generation, std::string_view name) {
  for (const scheduling::BoundPlugin& plugin : generation.serving().wiring.plugins) {
    if (plugin.name() == name) return plugin;
  }
  ADD_FAILURE() << "no plugin " << name;
  return generation.serving().wiring.plugins.front();
}

// ---- types of these tests ----

constexpr AttributeKind kA{"A", EPP_T_I64, EPP_SCOPE_ENDPOINT, "makes-a"};
constexpr AttributeKind kB{"B", EPP_T_F64, EPP_SCOPE_REQUEST, "makes-b"};

template <class T>
struct NoOpProducer : Creatable<T> {
  static constexpr const char* kDoc = "Makes nothing.";
  Status Produce(const Call&, const Candidates&, Outputs&) const { return {}; }
};
struct MakesA : NoOpProducer<MakesA> {
  static constexpr const char* kName = "makes-a";
  static constexpr std::array kConsumes{Needs(kB)};
  static constexpr std::array kProduces{Makes(kA)};
};
struct MakesB : NoOpProducer<MakesB> {
  static constexpr const char* kName = "makes-b";
  static constexpr std::array kProduces{Makes(kB)};
};
struct MakesAAsText : NoOpProducer<MakesAAsText> {
  static constexpr const char* kName = "makes-a-as-symbol";
  static constexpr std::array kProduces{Makes({"A", EPP_T_SYMBOL, EPP_SCOPE_ENDPOINT, nullptr})};
};
struct ReadsA : NoOpScorer<ReadsA> {
  static constexpr const char* kName = "reads-a";
  static constexpr uint32_t kFlags = 0;
  static constexpr std::array kParams{String("producer", nullptr, "Whose A."),
                                      Plugin("decider", nullptr, "Unused."),
                                      String("hint", nullptr, "Whose B, if any.")};
  static constexpr std::array kConsumes{Needs(kA).From("producer"), Uses(kB).From("hint")};
};
struct ReadsByPlugin : NoOpScorer<ReadsByPlugin> {
  static constexpr const char* kName = "reads-by-plugin";
  static constexpr uint32_t kFlags = 0;
  static constexpr std::array kParams{Plugin("producer", nullptr, "Whose A.")};
  static constexpr std::array kConsumes{Needs(kA).From("producer")};
};
// Each needs the other.
constexpr AttributeKind kEgg{"Egg", EPP_T_I64, 1, "hen"};
constexpr AttributeKind kHen{"Hen", EPP_T_I64, 1, "egg"};
struct Hen : NoOpProducer<Hen> {
  static constexpr const char* kName = "hen";
  static constexpr std::array kConsumes{Needs(kHen)};
  static constexpr std::array kProduces{Makes(kEgg)};
};
struct Egg : NoOpProducer<Egg> {
  static constexpr const char* kName = "egg";
  static constexpr std::array kConsumes{Needs(kEgg)};
  static constexpr std::array kProduces{Makes(kHen)};
};
struct Ouroboros : NoOpProducer<Ouroboros> {
  static constexpr const char* kName = "ouroboros";
  static constexpr std::array kConsumes{Needs({"Tail", EPP_T_I64, 1, "ouroboros"})};
  static constexpr std::array kProduces{Makes({"Tail", EPP_T_I64, 1, nullptr})};
};
struct Typed : NoOpProducer<Typed> {
  static constexpr const char* kName = "typed";
  static constexpr std::array kProduces{Makes({"T", EPP_T_I64, 1, nullptr}).TypeNamed()};
};
struct Broken : NoOpFilter<Broken> {
  static constexpr const char* kName = "broken";
  static Result<Broken> Create(const Context&) { return Status::Invalid("will not be made"); }
};
struct Labels : NoOpFilter<Labels> {
  static constexpr const char* kName = "labels";
  static constexpr std::array kConsumes{Needs({"label/zone", EPP_T_SYMBOL, 1, nullptr}),
                                        Needs(attr::kMetricsAge)};
};
struct WrongLabel : NoOpFilter<WrongLabel> {
  static constexpr const char* kName = "wrong-label";
  static constexpr std::array kConsumes{Needs({"label/zone", EPP_T_I64, 1, nullptr})};
};
struct WrongAge : NoOpFilter<WrongAge> {
  static constexpr const char* kName = "wrong-age";
  static constexpr std::array kConsumes{Needs({"metrics-age-ns", EPP_T_F64, 1, nullptr})};
};
struct OpaqueScraper : Creatable<OpaqueScraper> {
  static constexpr const char* kName = "opaque-scraper";
  static constexpr const char* kDoc = "Scrapes what cannot be a column.";
  static constexpr const char* kPayload = "prometheus-text";
  static constexpr std::array kProduces{Makes({"O", EPP_T_OPAQUE, 1, nullptr, "s/1"})};
  Status Scrape(const epp_scrape&, Sink&) const { return {}; }
};
struct ScrapingProducer : NoOpProducer<ScrapingProducer> {
  static constexpr const char* kName = "scraping-producer";
  static constexpr const char* kPayload = "prometheus-text";
  static constexpr std::array kProduces{Makes({"S", EPP_T_I64, 1, nullptr})};
  Status Scrape(const epp_scrape&, Sink&) const { return {}; }
};
struct FailingSource : Creatable<FailingSource> {
  static constexpr const char* kName = "failing-source";
  static constexpr const char* kDoc = "Has no plan.";
  Status Plan(epp_fetch_plan&) const { return Status::Invalid("no plan\x01"); }
};

// A handler that publishes, and those who read it.
constexpr AttributeKind kPeer{"peer", EPP_T_I64, EPP_SCOPE_REQUEST, "publishing-handler"};
template <class T>
struct NoOpHandler : config::test::FirstProfileHandler<T> {};
struct PublishingHandler : NoOpHandler<PublishingHandler> {
  static constexpr const char* kName = "publishing-handler";
  static constexpr std::array kParams{
      Int("count", 1, 0, 9, "Unused."),
      Plugin("decider", nullptr, "Whom to ask.").Implementing(EPP_DECIDER_ID)};
  static constexpr std::array kProduces{Makes(kPeer).TypeNamed()};
};
struct ColumnHandler : NoOpHandler<ColumnHandler> {
  static constexpr const char* kName = "column-handler";
  static constexpr std::array kProduces{Makes(kA)};
};
struct Yes : Creatable<Yes> {
  static constexpr const char* kName = "yes-decider";
  static constexpr const char* kDoc = "Says yes.";
  static constexpr std::array kParams{Int("size", 0, 0, 9, "Unused.")};
  Status Decide(const Call&, const Candidates&, bool& yes) const { return yes = true, Status(); }
};
struct NearPeer : NoOpProducer<NearPeer> {
  static constexpr const char* kName = "near-peer";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr std::array kConsumes{Uses(kPeer)};
  Status Score(const Call&, const Candidates&, std::span<double>) const { return {}; }
};
struct NeedsPeerEarly : NoOpProducer<NeedsPeerEarly> {
  static constexpr const char* kName = "needs-peer-early";
  static constexpr std::array kConsumes{Needs(kPeer)};
};
constexpr AttributeKind kWho{"who", EPP_T_I64, EPP_SCOPE_REQUEST};
struct Who : Creatable<Who> {
  static constexpr const char* kName = "who";
  static constexpr const char* kDoc = "Reads headers.";
  static constexpr std::array kProduces{Makes(kWho)};
  Status RequestHeader(const Call&, Outputs&) const { return {}; }
};
struct ReadsWho : NoOpProducer<ReadsWho> {
  static constexpr const char* kName = "reads-who";
  static constexpr std::array kConsumes{Needs(kWho)};
};
struct EarlyBird : Creatable<EarlyBird> {
  static constexpr const char* kName = "early-bird";
  static constexpr const char* kDoc = "Cannot know any endpoint.";
  static constexpr std::array kProduces{Makes({"E", EPP_T_I64, 1, nullptr})};
  Status RequestHeader(const Call&, Outputs&) const { return {}; }
};
struct Gatekeeper : Creatable<Gatekeeper> {
  static constexpr const char* kName = "gatekeeper";
  static constexpr const char* kDoc = "Screens and admits.";
  static constexpr std::array kConsumes{Uses({"A", EPP_T_I64, 1, nullptr})};
  Status Screen(const Call&, const Candidates&, Keep&) const { return {}; }
  Status Admit(const Call&, const Candidates&) const { return {}; }
};

// Tells when instances come and go.
struct Traced : NoOpFilter<Traced> {
  static constexpr const char* kName = "traced";
  static constexpr std::array kParams{Plugin("after", nullptr, "Created before this.")};
  static inline std::vector<std::string>* events = nullptr;
  static Result<Traced> Create(const Context& ctx) {
    return std::make_unique<Traced>(std::string(ctx.name()));
  }
  Traced() = default;
  explicit Traced(std::string n) : name(std::move(n)) { events->push_back("+" + name); }
  Traced(const Traced&) = delete;
  ~Traced() {
    if (!name.empty()) events->push_back("-" + name);
  }
  std::string name;
};
struct Serial : NoOpFilter<Serial> {
  static constexpr const char* kName = "serial";
  static constexpr uint32_t kFlags = EPP_TYPE_SERIAL;
  static inline int alive = 0;
  static inline int upserts = 0;
  static Result<Serial> Create(const Context&) { return std::make_unique<Serial>(); }
  Serial() { ++alive; }
  Serial(const Serial&) = delete;
  ~Serial() { --alive; }
  void Upserted(const epp_endpoint&) { ++upserts; }
  void Removed(const epp_endpoint&) {}
};

struct GenerationTest : testing::Test {
  GenerationTest() { Add(rig); }
  static void Add(Rig& to) {
    AddTypes<MakesA, MakesB, MakesAAsText, ReadsA, ReadsByPlugin, Hen, Egg, Ouroboros, Typed,
             Broken, Labels, WrongLabel, WrongAge, OpaqueScraper, ScrapingProducer, FailingSource,
             Traced, Serial, PublishingHandler, ColumnHandler, Yes, NearPeer, NeedsPeerEarly, Who,
             ReadsWho, EarlyBird, Gatekeeper>(*to.catalog);
  }
  Rig rig;
};

// ---- tests ----

TEST_F(GenerationTest, TheBuiltInDefault) {
  const auto g = rig.Build("");
  ASSERT_TRUE(g) << rig.out.Render();
  // A default producer may need another.
  EXPECT_THAT(ProducerOrder(*g), ElementsAre("token-producer", "approx-prefix-cache-producer"));
  const scheduling::Wiring& wiring = g->serving().wiring;
  ASSERT_EQ(wiring.profiles.size(), 1u);
  EXPECT_EQ(wiring.profiles[0].scorers.size(), 3u);
  EXPECT_EQ(wiring.profiles[0].scorers[2].weight, 3.0);
  EXPECT_EQ(wiring.profiles[0].picker.plugin->name(), "max-score-picker");
  EXPECT_EQ(wiring.handler.plugin->name(), "single-profile-handler");
  EXPECT_EQ(wiring.parsers.size(), 4u);
  ASSERT_EQ(g->sources().size(), 1u);
  ASSERT_EQ(g->sources()[0].extractors.size(), 1u);
  EXPECT_EQ(g->sources()[0].extractors[0].attributes.size(), 4u);
  EXPECT_EQ(g->sources()[0].extractors[0].types[3], EPP_T_SYMBOL_LIST);
  EXPECT_TRUE(g->serving().tokenized_prompt);
  EXPECT_TRUE(g->serving().match_blocks);
  EXPECT_FALSE(g->serving().match_block_size);
  EXPECT_EQ(g->serving().number, 1u);
  for (size_t i = 0; i < wiring.plugins.size(); ++i) EXPECT_EQ(wiring.plugins[i].index, i);
}

TEST_F(GenerationTest, FrameColumnsAreSharedRequestColumnsAreTheProducers) {
  const auto g = rig.Build("");
  ASSERT_TRUE(g);
  const auto& queue = Bound(*g, "queue-scorer");
  ASSERT_EQ(queue.columns.size(), 1u);
  EXPECT_EQ(queue.columns[0].kind, Source::Kind::kFrame);
  EXPECT_EQ(g->ColumnKey(queue.columns[0].index), "WaitingQueueSize");
  const auto& prefix = Bound(*g, "prefix-cache-scorer");
  ASSERT_EQ(prefix.columns.size(), 1u);
  ASSERT_EQ(prefix.request_columns.size(), 1u);
  EXPECT_EQ(prefix.columns[0].kind, Source::Kind::kProduced);
  const auto& approx = Bound(*g, "approx-prefix-cache-producer");
  EXPECT_THAT(approx.outputs, ElementsAre(prefix.columns[0].index));
  EXPECT_THAT(approx.request_outputs, ElementsAre(prefix.request_columns[0].index));
  EXPECT_THAT(g->serving().wiring.producers[1].requires_produced,
              ElementsAre(*g->serving().tokenized_prompt));
}

TEST_F(GenerationTest, AHandlerPublishesToWhoComesAfterIt) {
  const auto g = rig.Build("plugins: [{type: near-peer}, {type: publishing-handler}]");
  ASSERT_TRUE(g) << rig.out.Render();
  const auto& handler = Bound(*g, "publishing-handler");
  ASSERT_EQ(handler.request_outputs.size(), 1u);
  const auto& reader = Bound(*g, "near-peer");
  ASSERT_EQ(reader.request_columns.size(), 1u);
  EXPECT_EQ(reader.request_columns[0].kind, Source::Kind::kProduced);
  EXPECT_EQ(reader.request_columns[0].index, handler.request_outputs[0]);
  EXPECT_THAT(ProducerOrder(*g), testing::Contains("near-peer"));
}

TEST_F(GenerationTest, WhatAHandlerCannotPublish) {
  EXPECT_EQ(rig.ErrorOf("plugins: [{type: publishing-handler}, {type: needs-peer-early}]").code,
            "EPP-CFG-TOO-LATE");
  const config::Diagnostic d = rig.ErrorOf("plugins: [{type: column-handler}]");
  EXPECT_EQ(d.code, "EPP-CFG-ATTRIBUTE-TYPE");
  EXPECT_THAT(d.message, HasSubstr("a profile handler can publish only what is of request scope"));
}

TEST_F(GenerationTest, DecidersBelongToTheGeneration) {
  const auto text = [](int size) {
    return "plugins: [{type: publishing-handler, parameters: {decider: judge}},"
           " {name: judge, type: yes-decider, parameters: {size: " +
           std::to_string(size) + "}}]";
  };
  const auto before = rig.Build(text(1));
  ASSERT_TRUE(before) << rig.out.Render();
  const auto& deciders = before->serving().wiring.deciders;
  ASSERT_EQ(deciders.size(), 2u);
  EXPECT_EQ(deciders[0].table, nullptr);
  ASSERT_NE(deciders[1].table, nullptr);
  EXPECT_EQ(deciders[1].plugin, &Bound(*before, "judge"));
  // The handler stays, the decider is another one.
  const auto after = rig.Build(text(2), before.get());
  ASSERT_TRUE(after) << rig.out.Render();
  EXPECT_EQ(Bound(*after, "publishing-handler").instance,
            Bound(*before, "publishing-handler").instance);
  EXPECT_NE(Bound(*after, "judge").instance, Bound(*before, "judge").instance);
  EXPECT_EQ(after->serving().wiring.deciders[1].plugin, &Bound(*after, "judge"));
}

TEST_F(GenerationTest, ARequiredKeyWithoutProducerAndDefault) {
  const config::Diagnostic d = rig.ErrorOf(
      "plugins: [{type: queue-scorer}, {type: models-data-source}]\n"
      "dataLayer: {injectDefaults: false, sources: [{pluginRef: models-data-source}]}");
  EXPECT_EQ(d.code, "EPP-CFG-NO-PRODUCER");
  EXPECT_EQ(d.message,
            "plugin \"queue-scorer\" (queue-scorer) needs WaitingQueueSize/core-metrics-extractor: "
            "no default producer found for missing data key");
  EXPECT_EQ(d.mark.line, 1u);
  EXPECT_EQ(d.mark.column, 18u);
  // Declared is enough, wiring it to a source is not checked.
  EXPECT_TRUE(
      rig.Build("plugins: [{type: queue-scorer}, {type: models-data-source},"
                " {type: core-metrics-extractor}]\n"
                "dataLayer: {injectDefaults: false, sources: "
                "[{pluginRef: models-data-source}]}"));
}

TEST_F(GenerationTest, DefaultProducersSayForWhom) {
  const auto g = rig.Build("plugins: [{name: mine, type: reads-a}]");
  ASSERT_TRUE(g) << rig.out.Render();
  EXPECT_THAT(ProducerOrder(*g), ElementsAre("makes-b", "makes-a"));
  for (const config::PluginSpec& spec : g->config().plugins) {
    if (spec.name != "makes-a") continue;
    EXPECT_EQ(spec.injected, "produces A/makes-a for plugin \"mine\"");
  }
}

TEST_F(GenerationTest, AProducerNamedByAParameter) {
  for (const char* reader : {"reads-a", "reads-by-plugin"}) {
    const auto g =
        rig.Build(std::string("plugins: [{name: other, type: makes-a}, {name: r, type: ") + reader +
                  ", parameters: {producer: other}}]");
    ASSERT_TRUE(g) << rig.out.Render();
    EXPECT_THAT(ProducerOrder(*g), ElementsAre("makes-b", "other")) << reader;
    EXPECT_THAT(Names(*g), testing::Not(testing::Contains("makes-a")));
    EXPECT_EQ(Bound(*g, "r").columns[0].index, Bound(*g, "other").outputs[0]);
  }
}

TEST_F(GenerationTest, ANamedProducerIsNeverReplacedByTheDefault) {
  const config::Diagnostic d = rig.ErrorOf(
      "plugins: [{name: b, type: makes-a}, {type: reads-a, parameters: {producer: nobody}}]");
  EXPECT_EQ(d.code, "EPP-CFG-NO-PRODUCER");
  EXPECT_THAT(d.message, HasSubstr("needs A/nobody"));
  EXPECT_EQ(d.hint, "plugins that produce it: \"b\"");
}

TEST_F(GenerationTest, AnUnmetOptionalKeyIsANullColumnAndWarnsWhenNamed) {
  auto g = rig.Build("plugins: [{type: reads-a}, {name: makes-a, type: makes-a}]");
  ASSERT_TRUE(g) << rig.out.Render();
  // MakesA pulled in makes-b, which the reader uses then.
  EXPECT_EQ(Bound(*g, "reads-a").request_columns[0].kind, Source::Kind::kProduced);
  EXPECT_EQ(rig.out.warnings(), 0u);
  g = rig.Build("plugins: [{type: reads-a, parameters: {hint: nobody}}]");
  ASSERT_TRUE(g) << rig.out.Render();
  EXPECT_EQ(Bound(*g, "reads-a").request_columns[0].kind, Source::Kind::kNone);
  ASSERT_EQ(rig.out.warnings(), 1u);
  EXPECT_THAT(rig.out.Render(), HasSubstr("would use B/nobody, which no plugin produces"));
}

TEST_F(GenerationTest, GatesAreWired) {
  const auto g =
      rig.Build("plugins: [{name: h, type: who}, {type: reads-who}, {type: gatekeeper}]");
  ASSERT_TRUE(g) << rig.out.Render();
  const scheduling::Wiring& wiring = g->serving().wiring;
  ASSERT_EQ(wiring.headers.size(), 1u);
  EXPECT_EQ(wiring.headers[0].plugin->name(), "h");
  EXPECT_TRUE(wiring.headers[0].publishes);
  ASSERT_EQ(wiring.screeners.size(), 1u);
  ASSERT_EQ(wiring.admitters.size(), 1u);
  EXPECT_EQ(Bound(*g, "gatekeeper").columns[0].kind, Source::Kind::kNone);
  // A key of no producer in particular comes from whoever produces it.
  EXPECT_THAT(Bound(*g, "h").request_outputs,
              ElementsAre(Bound(*g, "reads-who").request_columns[0].index));
  const config::Diagnostic d = rig.ErrorOf("plugins: [{type: early-bird}]");
  EXPECT_EQ(d.code, "EPP-CFG-ATTRIBUTE-TYPE");
}

TEST_F(GenerationTest, AKeyOfNoProducerInParticular) {
  EXPECT_EQ(rig.ErrorOf("plugins: [{type: reads-who}]").code, "EPP-CFG-NO-PRODUCER");
  const config::Diagnostic d =
      rig.ErrorOf("plugins: [{name: x, type: who}, {name: y, type: who}, {type: reads-who}]");
  EXPECT_EQ(d.code, "EPP-CFG-WHICH-PRODUCER");
  EXPECT_EQ(d.message,
            "plugin \"reads-who\" (reads-who) reads who, which several plugins produce: \"x\", "
            "\"y\"");
}

TEST_F(GenerationTest, TwoProducersOfOneKey) {
  EXPECT_TRUE(rig.Build("plugins: [{type: typed}]"));
  const config::Diagnostic d = rig.ErrorOf("plugins: [{type: typed}, {name: again, type: typed}]");
  EXPECT_EQ(d.code, "EPP-CFG-TWO-PRODUCERS");
  EXPECT_EQ(d.message, "plugins \"typed\" and \"again\" both produce T/typed");
  // Scrapers of one type share the columns.
  EXPECT_TRUE(
      rig.Build("plugins: [{type: core-metrics-extractor},"
                " {name: again, type: core-metrics-extractor}]"));
}

TEST_F(GenerationTest, TypesMustAgree) {
  const config::Diagnostic d = rig.ErrorOf(
      "plugins: [{name: t, type: makes-a-as-symbol}, {type: reads-a, parameters: {producer: t}}]");
  EXPECT_EQ(d.code, "EPP-CFG-ATTRIBUTE-TYPE");
  EXPECT_EQ(d.message,
            "plugin \"reads-a\" (reads-a) reads A/t as i64 per endpoint, but plugin \"t\" produces "
            "symbol per endpoint");
}

TEST_F(GenerationTest, DataCycles) {
  const config::Diagnostic d = rig.ErrorOf("plugins: [{type: hen}, {type: egg}]");
  EXPECT_EQ(d.code, "EPP-CFG-DATA-CYCLE");
  EXPECT_EQ(d.message, "data producers depend on each other: \"hen\" -> \"egg\" -> \"hen\"");
  EXPECT_EQ(rig.ErrorOf("plugins: [{type: ouroboros}]").code, "EPP-CFG-DATA-CYCLE");
  // Created by default, still a cycle.
  EXPECT_EQ(rig.ErrorOf("plugins: [{type: hen}]").code, "EPP-CFG-DATA-CYCLE");
}

TEST_F(GenerationTest, LabelAndAgeColumns) {
  const auto g = rig.Build("plugins: [{type: labels}]");
  ASSERT_TRUE(g) << rig.out.Render();
  const auto& columns = Bound(*g, "labels").columns;
  ASSERT_EQ(columns.size(), 2u);
  EXPECT_EQ(columns[0].kind, Source::Kind::kFrame);
  EXPECT_EQ(g->ColumnKey(columns[0].index), "label/zone");
  EXPECT_EQ(g->serving().wiring.frame_column_types[columns[0].index], EPP_T_SYMBOL);
  EXPECT_EQ(columns[1].kind, Source::Kind::kAge);
  EXPECT_THAT(rig.ErrorOf("plugins: [{type: wrong-label}]").message,
              HasSubstr("a label is a symbol"));
  EXPECT_THAT(rig.ErrorOf("plugins: [{type: wrong-age}]").message,
              HasSubstr("reads metrics-age-ns as f64 per endpoint"));
}

TEST_F(GenerationTest, ScrapersThatCannotFillColumns) {
  const auto text = [](const char* type) {
    return std::string("plugins: [{type: metrics-data-source}, {name: x, type: ") + type +
           "}]\ndataLayer: {sources: [{pluginRef: metrics-data-source, extractors: "
           "[{pluginRef: x}]}]}";
  };
  EXPECT_THAT(rig.ErrorOf(text("opaque-scraper")).message, HasSubstr("type is opaque"));
  EXPECT_THAT(rig.ErrorOf(text("scraping-producer")).message, HasSubstr("cannot be scraped"));
}

TEST_F(GenerationTest, SourcesAndExtractorsMustSpeakTheSame) {
  const config::Diagnostic d = rig.ErrorOf(
      "plugins: [{type: models-data-source}, {type: core-metrics-extractor}]\n"
      "dataLayer: {sources: [{pluginRef: models-data-source, extractors: "
      "[{pluginRef: core-metrics-extractor}]}]}");
  EXPECT_EQ(d.code, "EPP-CFG-PAYLOAD");
  EXPECT_THAT(d.message, HasSubstr("reads prometheus-text, but source \"models-data-source\" gives "
                                   "openai-models"));
  EXPECT_THAT(rig.ErrorOf("plugins: [{type: failing-source}]\n"
                          "dataLayer: {sources: [{pluginRef: failing-source}]}")
                  .message,
              HasSubstr("plugin \"failing-source\" (failing-source): no plan"));
}

TEST_F(GenerationTest, CreateFailuresAreReportedAtTheirLines) {
  EXPECT_EQ(rig.Build("plugins:\n- {type: broken}\n- {name: b, type: broken}\n"), nullptr);
  EXPECT_EQ(rig.out.errors(), 2u);
  EXPECT_EQ(rig.out.Render(),
            "config.yaml:2:10: error: plugin \"broken\" (broken): will not be made\n"
            "    2 | - {type: broken}\n"
            "      |          ^^^^^^ [EPP-CFG-CREATE]\n"
            "config.yaml:3:19: error: plugin \"b\" (broken): will not be made\n"
            "    3 | - {name: b, type: broken}\n"
            "      |                   ^^^^^^ [EPP-CFG-CREATE]\n");
}

TEST_F(GenerationTest, AnInterfaceThatIsDeclaredMustBeOffered) {
  static constexpr epp_plugin_type kLiar = [] {
    epp_plugin_type type = epp::detail::Type<Labels>::kRecord;
    type.name = "liar";
    type.get_interface = [](void*, const char*) noexcept -> const void* { return nullptr; };
    return type;
  }();
  rig.catalog->AddBuiltin(&kLiar);
  EXPECT_THAT(rig.ErrorOf("plugins: [{type: liar}]").message,
              HasSubstr("declares epp.filter/1, but does not offer it"));
}

TEST_F(GenerationTest, TheHandlerChecksTheProfiles) {
  const config::Diagnostic d = rig.ErrorOf(
      "plugins: [{type: single-profile-handler}]\nschedulingProfiles: [{name: a}, {name: b}]");
  EXPECT_EQ(d.code, "EPP-CFG-HANDLER");
  EXPECT_EQ(d.message,
            "plugin \"single-profile-handler\" (single-profile-handler): want exactly one profile");
}

TEST_F(GenerationTest, SerialTypesGetOneInstanceAWorker) {
  Rig three(3);
  Add(three);
  Serial::upserts = 0;
  {
    const auto g = three.Build("plugins: [{type: serial}]");
    ASSERT_TRUE(g) << three.out.Render();
    EXPECT_EQ(Serial::alive, 3);
    const auto& bound = Bound(*g, "serial");
    ASSERT_EQ(bound.per_worker.size(), 3u);
    EXPECT_EQ(bound.instance, bound.per_worker[0]);
    EXPECT_NE(bound.self(0), bound.self(1));
    EXPECT_NE(bound.self(1), bound.self(2));
    EXPECT_TRUE(Bound(*g, "max-score-picker").per_worker.empty());
    g->AttachToPool();
    three.pool.Upsert(
        {.name_space = "ns", .name = "a", .address = "10.0.0.1", .port = 80, .labels = {}});
    three.pool.Publish();
    EXPECT_EQ(Serial::upserts, 3);
  }
  EXPECT_EQ(Serial::alive, 0);
  three.pool.Upsert(
      {.name_space = "ns", .name = "b", .address = "10.0.0.1", .port = 80, .labels = {}});
  three.pool.Publish();
  EXPECT_EQ(Serial::upserts, 3);
}

TEST_F(GenerationTest, DestroyedInReverseOfCreation) {
  std::vector<std::string> events;
  Traced::events = &events;
  {
    const auto g = rig.Build(
        "plugins: [{name: c, type: traced, parameters: {after: b}}, {name: a, type: traced},"
        " {name: b, type: traced}]");
    ASSERT_TRUE(g) << rig.out.Render();
    EXPECT_THAT(events, ElementsAre("+b", "+c", "+a"));
  }
  EXPECT_THAT(events, ElementsAre("+b", "+c", "+a", "-a", "-c", "-b"));
  events.clear();
  // The same when the build fails half-way.
  EXPECT_EQ(rig.Build("plugins: [{name: a, type: traced}, {type: broken},"
                      " {name: b, type: traced, parameters: {after: a}}]"),
            nullptr);
  EXPECT_THAT(events, ElementsAre("+a", "+b", "-b", "-a"));
  EXPECT_EQ(rig.host.late_calls(), 0u);
}

TEST_F(GenerationTest, ColumnsKeepTheirNumbersAcrossGenerations) {
  const auto first = rig.Build("");
  const auto second = rig.Build("plugins: [{type: kv-cache-utilization-scorer}]");
  ASSERT_TRUE(first && second);
  const auto id = [](const Generation& g) {
    return g.serving()
        .wiring.frame_columns[Bound(g, "kv-cache-utilization-scorer").columns[0].index];
  };
  EXPECT_EQ(id(*first), id(*second));
}

}  // namespace
}  // namespace epp::runtime
