// The fake host itself, and the library that is linked into this test.
#include "epp/testing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "everything.h"

namespace {

using epp::test::Cell;
using epp::test::Host;
using epp::test::Library;
using epp::test::Make;
using epp::test::Pool;
using epp::test::Request;
using ::testing::ElementsAre;

TEST(FakeHost, ClockRandomnessAndSymbols) {
  Host host;
  const epp::Host h(host.raw());
  const uint64_t start = h.mono_ns();
  host.Advance(5);
  EXPECT_EQ(h.mono_ns(), start + 5);
  EXPECT_GT(h.unix_ns(), h.mono_ns());
  host.Seed(7);
  const uint64_t first = h.random_u64();
  EXPECT_NE(h.random_u64(), first);
  host.Seed(7);
  EXPECT_EQ(h.random_u64(), first);
  EXPECT_EQ(h.Find("x"), 0u);
  const uint32_t x = h.Intern("x");
  EXPECT_NE(x, 0u);
  EXPECT_EQ(h.Intern("x"), x);
  EXPECT_EQ(h.Text(x), "x");
  EXPECT_EQ(h.Text(99), "");
}

TEST(FakeHost, RecordsLogsAtTheLevelAskedFor) {
  Host host;
  const epp::Host h(host.raw());
  h.Log(EPP_LOG_DEBUG, "one");
  host.SetLogLevel(EPP_LOG_WARN);
  EXPECT_FALSE(h.LogEnabled(EPP_LOG_INFO));
  h.Log(EPP_LOG_INFO, "two");
  h.Log(EPP_LOG_ERROR, "three");
  ASSERT_EQ(host.logs().size(), 2u);
  EXPECT_EQ(host.logs()[1].text, "three");
}

TEST(FakeHost, MetricsAreRegisteredWithinCreateOnly) {
  Host host;
  epp::Metric late(host.raw(), EPP_METRIC_GAUGE, "late", "");
  EXPECT_FALSE(host.HasMetric("late"));
  late.With().Add(1);
  host.SetCreating(true);
  const epp::Metric gauge(host.raw(), EPP_METRIC_GAUGE, "depth", "");
  const double bounds[] = {1, 2};
  const epp::Metric histogram(host.raw(), EPP_METRIC_HISTOGRAM, "size", "", {}, bounds);
  const epp::Metric again(host.raw(), EPP_METRIC_GAUGE, "depth", "");
  const epp::Metric other(host.raw(), EPP_METRIC_COUNTER, "depth", "");
  host.SetCreating(false);
  gauge.With().Add(3);
  again.With().Add(2);
  other.With().Add(100);
  histogram.With().Add(1.5);
  histogram.With().Add(2.5);
  EXPECT_EQ(host.Metric("depth"), 2);
  EXPECT_EQ(host.Metric("size"), 4);
  EXPECT_THAT(host.Observations("size"), ElementsAre(1.5, 2.5));
  EXPECT_EQ(host.Metric("nothing"), 0);
}

TEST(FakeHost, SharedByInstances) {
  Host host;
  auto a = Make("everything", {}, &host, "a");
  auto b = Make("everything", {}, &host, "b");
  ASSERT_EQ(host.logs().size(), 2u);
  EXPECT_EQ(host.logs()[1].text, "created b");
  a.Score(Pool(1));
  b.Score(Pool(1));
  EXPECT_EQ(host.Metric("calls_total", {{"kind", "scored"}}), 2);
}

TEST(FakePool, EndpointsAndReplacement) {
  Pool pool(2);
  pool.Name(0, "ns/a").Address(0, "fd00::1").Port(0, 9000).Rank(0, 3).Label(0, "k", "v");
  const epp_endpoint& e = pool.endpoint(0);
  EXPECT_EQ(epp::View(e.name), "ns/a");
  EXPECT_EQ(epp::View(e.host_port), "[fd00::1]:9000");
  EXPECT_EQ(e.rank, 3u);
  EXPECT_EQ(epp::Label(e, "k"), "v");
  const uint64_t id = e.id;
  pool.Replace(0);
  EXPECT_NE(pool.endpoint(0).id, id);
  EXPECT_EQ(pool.endpoint(0).slot, 0u);
  EXPECT_THROW(pool.endpoint(2), std::logic_error);
}

// Reports what a call looks like from inside.
class Probe {
 public:
  static constexpr const char* kName = "probe";
  static constexpr const char* kDoc = "Reports what it sees.";
  static constexpr std::array kParams{epp::Plugin("from", "", "producer of the load")};
  static constexpr std::array kConsumes{
      epp::Needs({"load", EPP_T_F64, EPP_SCOPE_ENDPOINT, "p1"}).From("from"),
      epp::Uses({"maybe", EPP_T_I64}), epp::Needs(epp::attr::kMetricsAge),
      epp::Uses(epp::attr::kTokenizedPrompt)};
  static epp::Result<Probe> Create(const epp::Context&) { return Probe(); }
  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    const auto load = in.column<double>(0);
    for (size_t i = 0; i < in.size(); ++i) out[i] = load.has(i) ? load[i] : -1;
    if (!in.column<int64_t>(1).empty()) return epp::Status::Invalid("maybe is there");
    if (!in.column<int64_t>(2).has(0)) return epp::Status::Invalid("no age");
    const auto tokens = call.column<const epp_tokenized_prompt*>(0);
    if (tokens.has(0)) out[0] = tokens[0]->tokens[1];
    if (const auto path = call.header("x-probe"); path) out[0] = static_cast<double>(path->size());
    const epp_parsed* parsed = call.request().parsed;
    if (parsed && parsed->segment_count > 1) {
      const epp_str body = call.request().body;
      out[0] = static_cast<double>(parsed->segments[1].bytes.data - body.data);
    }
    return {};
  }
};

TEST(FakePool, RequiredAttributeWithoutValuesReadsAsNone) {
  EXPECT_THAT(Make<Probe>().Score(Pool(2)), ElementsAre(-1, -1));
}

TEST(FakePool, ProducerPartOfANameSelects) {
  Pool pool(1);
  pool.Set("load/p1", {1}).Set("load/p2", {2});
  EXPECT_THAT(Make<Probe>().Score(pool), ElementsAre(1));
  EXPECT_THAT(Make<Probe>({{"from", "p2"}}).Score(pool), ElementsAre(2));
  EXPECT_THAT(Make<Probe>({{"from", "p3"}}).Score(pool), ElementsAre(-1));
  pool.Set("load", {9});
  EXPECT_THAT(Make<Probe>({{"from", "p3"}}).Score(pool), ElementsAre(9));
}

TEST(FakePool, TakesWhatAProducerMade) {
  epp::test::Produced made;
  made.columns["load"] = {0.25, std::nullopt};
  made.request["TokenizedPrompt"] = Cell();
  Pool pool(2);
  Request request;
  made.AddTo(pool, request);
  EXPECT_THAT(Make<Probe>().Score(pool, request), ElementsAre(0.25, -1));
}

TEST(FakePool, WrongTypeIsMisuse) {
  Pool pool(1);
  pool.Set("load", {"text"});
  EXPECT_THROW(Make<Probe>().Score(pool), std::logic_error);
}

TEST(FakePool, VectorsAndManyRows) {
  std::vector<std::optional<double>> load(130, 0.5);
  load[64] = std::nullopt;
  Pool pool(130);
  pool.Set("load", load);
  const auto out = Make<Probe>().Score(pool);
  EXPECT_EQ(out[63], 0.5);
  EXPECT_EQ(out[64], -1);
  EXPECT_EQ(out[129], 0.5);
}

TEST(FakeRequest, HeadersTokensAndSegments) {
  const Pool pool(1);
  auto probe = Make<Probe>();
  {
    Request r;
    r.Header("x-probe", "seven77");
    EXPECT_THAT(probe.Score(pool, r), ElementsAre(7));
  }
  {
    Request r;
    r.Tokens({4, 5, 6});
    EXPECT_THAT(probe.Score(pool, r), ElementsAre(5));
  }
  {
    Request r;
    r.Prompt("hello").Prompt("world", 1);
    EXPECT_THAT(probe.Score(pool, r), ElementsAre(5));
  }
  {
    Request r;
    r.Body(R"({"prompt":["hello","world"]})").Prompt("hello").Prompt("world", 1);
    EXPECT_THAT(probe.Score(pool, r), ElementsAre(20));
  }
}

TEST(FakeRequest, MisuseIsReported) {
  auto probe = Make<Probe>();
  EXPECT_THROW(probe.Filter(Pool(1)), std::logic_error);
  EXPECT_THROW(Make("unheard-of"), std::logic_error);
}

TEST(Linked, ModuleRecord) {
  const Library library = Library::Linked();
  ASSERT_TRUE(library.ok()) << library.error();
  EXPECT_STREQ(library.module().name, "everything");
  EXPECT_STREQ(library.module().version, "1.2.3");
  EXPECT_EQ(library.module().abi_major, EPP_ABI_MAJOR);
  EXPECT_NE(library.Find("everything"), nullptr);
  EXPECT_EQ(library.Find("everythin"), nullptr);
  EXPECT_EQ(epp_plugin_entry_v1(EPP_ABI_MAJOR + 1, 0), nullptr);
}

TEST(Linked, LintFindsNothing) {
  EXPECT_THAT(epp::test::Lint(Library::Linked().module()), ::testing::IsEmpty());
}

// Every declaration of it is wrong.
class Sloppy {
 public:
  static constexpr const char* kName = "Sloppy";
  static constexpr const char* kDoc = "";
  static constexpr const char* kChoices[] = {"a", "b"};
  static constexpr std::array kParams{
      epp::Int("count", 11, 0, 10, "default above max"), epp::Float("ratio", 0, 1, -1, "reversed"),
      epp::String("mode", "c", "no such choice").OneOf(kChoices), epp::Bool("snake_case", true, ""),
      epp::Bool("count", true, "declared twice")};
  static constexpr std::array kConsumes{epp::Needs({"", EPP_T_I64}),
                                        epp::Needs({"load", EPP_T_F64}).From("nothing"),
                                        epp::Needs({"index", EPP_T_OPAQUE})};
  static constexpr std::array kProduces{epp::Makes({"x", 99, 7})};
  static epp::Result<Sloppy> Create(const epp::Context&) { return Sloppy(); }
};

TEST(Lint, InterfacesAreListedOnceByTheirIds) {
  static constexpr const char* kIds[] = {EPP_SCORER_ID, "scorer",      "epp.x/one",
                                         "/1",          EPP_SCORER_ID, nullptr};
  epp_plugin_type type = epp::detail::Type<epp::sdk_test::Everything>::kRecord;
  type.interfaces = kIds;
  type.interface_count = 6;
  const epp_plugin_type* types[] = {&type};
  const epp_module module{sizeof(epp_module), 0, EPP_ABI_MAJOR, 0, 0, 1, "x", "1", "", types};
  EXPECT_THAT(epp::test::Lint(module),
              ::testing::ElementsAre("type everything: an interface is not NAME/NUMBER",
                                     "type everything: an interface is not NAME/NUMBER",
                                     "type everything: an interface is not NAME/NUMBER",
                                     "type everything: an interface is listed twice",
                                     "type everything: an interface is not NAME/NUMBER"));
}

TEST(Lint, FindsEveryFault) {
  const epp_plugin_type* types[] = {&epp::detail::Type<Sloppy>::kRecord};
  const epp_module module{sizeof(epp_module), 0, EPP_ABI_MAJOR + 1, 0, 1, 1, "-x", "v1", "", types};
  const std::string all = ::testing::PrintToString(epp::test::Lint(module));
  for (const char* fault :
       {"library -x: the name is not", "the version is not", "another ABI major",
        "needs a higher ABI minor", "type Sloppy: the name is not", "type Sloppy: no doc",
        "it implements nothing", "parameter count: the default is out of range",
        "parameter ratio: min is above max", "parameter mode: the default is not one of",
        "parameter snake_case: the name is not", "parameter snake_case: doc is not one line",
        "parameter count: declared twice", "consumes : no key",
        "consumes load: producer_param is not", "consumes index: opaque and schema",
        "produces x: unknown type", "produces x: unknown scope"}) {
    EXPECT_THAT(all, ::testing::HasSubstr(fault));
  }
}

TEST(Linked, FileThatIsNoLibrary) {
  const Library library("/nonexistent/x.so");
  EXPECT_FALSE(library.ok());
  EXPECT_NE(library.error(), "");
  EXPECT_THROW(library.module(), std::logic_error);
}

TEST(Values, Durations) {
  const std::pair<const char*, std::optional<int64_t>> cases[] = {{"0", 0},
                                                                  {"250ms", 250'000'000},
                                                                  {"1m30s", 90'000'000'000},
                                                                  {"1.5h", 5400'000'000'000},
                                                                  {"2us", 2000},
                                                                  {"-1ns", -1},
                                                                  {"", std::nullopt},
                                                                  {"5", std::nullopt},
                                                                  {"s", std::nullopt},
                                                                  {"1 s", std::nullopt},
                                                                  {"1d", std::nullopt}};
  for (const auto& [text, want] : cases) EXPECT_EQ(epp::test::ParseDuration(text), want) << text;
}

TEST(Values, CellsCompareAcrossNumberTypes) {
  EXPECT_EQ(Cell(1), Cell(1.0));
  EXPECT_NE(Cell(1), Cell("1"));
  EXPECT_NE(Cell(0), Cell());
  EXPECT_EQ(Cell(std::optional<int>()), Cell(std::nullopt));
}

}  // namespace

EPP_LIBRARY("everything", "1.2.3", epp::sdk_test::Everything)
