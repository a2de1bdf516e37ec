#include "host/config/params.h"

#include <array>
#include <string>

#include "epp/plugin.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/config/test_catalog.h"

namespace epp::config {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* const kModes[] = {"fast", "slow"};

struct Everything : test::Creatable<Everything> {
  static constexpr const char* kName = "everything";
  static constexpr const char* kDoc = "Has one parameter of each type.";
  static constexpr std::array kParams{
      Bool("enabled", true, "A flag."),
      Int("count", 5, 0, 1e6, "A count."),
      Float("share", 0.5, 0, 1, "A share."),
      Duration("timeout", 1'000'000'000, 0.05, 0.3, "A time."),
      String("mode", "fast", "A choice.").OneOf(kModes),
      String("note", nullptr, "Any text."),
      StringList("names", "Texts."),
      Plugin("decider", nullptr, "Another plugin."),
      Json("extra", "Anything."),
      Float("weights.cache", 1, -detail::kInf, detail::kInf, "A nested number."),
      Int("weights.queueDepth", 2, -10, detail::kInf, "Another."),
      Int("old", 0, 0, 9, "use count").Deprecated(),
      Int("gone", 0, 0, 9, "nothing").Ignored(),
      String("token", nullptr, "A secret.").Secret(),
  };
};
enum {
  kEnabled,
  kCount,
  kShare,
  kTimeout,
  kMode,
  kNote,
  kNames,
  kDecider,
  kExtra,
  kCache,
  kQueueDepth,
  kOld,
  kGone,
  kToken
};

struct Strict : test::Creatable<Strict> {
  static constexpr const char* kName = "strict";
  static constexpr const char* kDoc = "Has required parameters.";
  static constexpr std::array kParams{
      String("path", nullptr, "A path.").Required(),
      Int("port", 1, 1, 65535, "A port.").Required(),
  };
};

struct Bare : test::Creatable<Bare> {
  static constexpr const char* kName = "bare";
  static constexpr const char* kDoc = "Has none.";
};

struct Lax : test::Creatable<Lax> {
  static constexpr const char* kName = "lax";
  static constexpr const char* kDoc = "Takes anything.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr std::array kParams{Int("count", 1, 0, 10, "A count.")};
};

template <class T>
struct Decoded {
  explicit Decoded(const char* text) {
    source = test::Text(text, "p.yaml");
    root = ParseDocument(source, out);
    EXPECT_TRUE(root) << out.Render();
    if (root) {
      values = DecodeParams(epp::detail::Type<T>::kRecord, &*root, "plugin \"p\" (t)",
                            {source, 1, 1, 1}, out);
    }
  }
  const epp_value& at(size_t i) const { return values->view()[i]; }
  std::string text(size_t i) const { return std::string(View(at(i).v.str)); }
  std::string rendered() const { return out.Render(); }

  std::shared_ptr<const SourceText> source;
  Diagnostics out;
  std::optional<Node> root;
  std::shared_ptr<const ParamValues> values;
};

TEST(ParamsTest, DefaultsWithoutParameters) {
  Diagnostics out;
  const auto values =
      DecodeParams(epp::detail::Type<Everything>::kRecord, nullptr, "plugin", {}, out);
  EXPECT_TRUE(out.ok());
  ASSERT_EQ(values->view().size(), Everything::kParams.size());
  EXPECT_EQ(values->view()[kCount].v.i64, 5);
  EXPECT_TRUE(values->view()[kCount].present);
  EXPECT_EQ(View(values->view()[kMode].v.str), "fast");
  EXPECT_FALSE(values->view()[kNote].present);
  EXPECT_FALSE(values->view()[kExtra].present);
  EXPECT_EQ(values->view()[kNames].v.list.count, 0u);
  EXPECT_EQ(values->mark(kCount).source, nullptr);
}

TEST(ParamsTest, EveryType) {
  const Decoded<Everything> d(
      "enabled: off\n"
      "count: 1e3\n"
      "share: 1\n"
      "timeout: 300ms\n"
      "mode: slow\n"
      "note: \"12\"\n"
      "names: [a, \"\", \"3\"]\n"
      "decider: other\n"
      "extra: {b: [1, x], a: yes}\n"
      "weights: {cache: -1.5, queueDepth: 0x10}\n");
  EXPECT_TRUE(d.out.ok()) << d.rendered();
  EXPECT_EQ(d.at(kEnabled).v.i64, 0);
  EXPECT_EQ(d.at(kCount).v.i64, 1000);
  EXPECT_EQ(d.at(kShare).v.f64, 1.0);
  EXPECT_EQ(d.at(kTimeout).v.i64, 300'000'000);
  EXPECT_EQ(d.text(kMode), "slow");
  EXPECT_EQ(d.text(kNote), "12");
  ASSERT_EQ(d.at(kNames).v.list.count, 3u);
  EXPECT_EQ(View(d.at(kNames).v.list.items[0]), "a");
  EXPECT_EQ(View(d.at(kNames).v.list.items[1]), "");
  EXPECT_EQ(View(d.at(kNames).v.list.items[2]), "3");
  EXPECT_EQ(d.text(kDecider), "other");
  EXPECT_EQ(d.text(kExtra), "{\"a\":true,\"b\":[1,\"x\"]}");
  EXPECT_EQ(d.at(kCache).v.f64, -1.5);
  EXPECT_EQ(d.at(kQueueDepth).v.i64, 16);
  EXPECT_EQ(d.values->mark(kCount).line, 2u);
  EXPECT_EQ(d.values->Canonical(),
            "[0,1000,1,300000000,\"slow\",\"12\",[\"a\",\"\",\"3\"],\"other\","
            "\"{\\\"a\\\":true,\\\"b\\\":[1,\\\"x\\\"]}\",-1.5,16,0,0,null]");
}

TEST(ParamsTest, BoundsOfDurationsAreExact) {
  for (const char* text : {"50ms", "300ms", "0.3s", "0.05s"}) {
    EXPECT_TRUE(Decoded<Everything>((std::string("timeout: ") + text).c_str()).out.ok()) << text;
  }
  for (const char* text : {"49.999999ms", "300.000001ms"}) {
    EXPECT_FALSE(Decoded<Everything>((std::string("timeout: ") + text).c_str()).out.ok()) << text;
  }
}

TEST(ParamsTest, NullLeavesTheDefault) {
  const Decoded<Everything> d("{count: null, weights: ~, mode: , extra: null}");
  EXPECT_TRUE(d.out.ok()) << d.rendered();
  EXPECT_EQ(d.at(kCount).v.i64, 5);
  EXPECT_EQ(d.text(kMode), "fast");
  EXPECT_FALSE(d.at(kExtra).present);
  EXPECT_TRUE(Decoded<Everything>("~").out.ok());
}

TEST(ParamsTest, NamesMatchInAnyCaseButTheExactOneFirst) {
  const Decoded<Everything> d("{COUNT: 7, Weights: {queuedepth: 3}}");
  EXPECT_TRUE(d.out.ok()) << d.rendered();
  EXPECT_EQ(d.at(kCount).v.i64, 7);
  EXPECT_EQ(d.at(kQueueDepth).v.i64, 3);
  EXPECT_THAT(Decoded<Everything>("{COUNT: 7, count: 8}").rendered(),
              HasSubstr("parameter \"count\" is given twice"));
}

struct ErrorCase {
  const char* text;
  const char* code;
  const char* shown;
};

TEST(ParamsTest, Errors) {
  const ErrorCase cases[] = {
      {"enabled: maybe", "EPP-CFG-TYPE", "\"enabled\" is \"maybe\", want true or false"},
      {"enabled: 1", "EPP-CFG-TYPE", "\"enabled\" is 1, want true or false"},
      {"count: 1.5", "EPP-CFG-TYPE", "\"count\" is 1.5, want an integer"},
      {"count: '7'", "EPP-CFG-TYPE", "\"count\" is \"7\", want an integer"},
      {"count: -1", "EPP-CFG-RANGE", "\"count\" is -1, want an integer in [0, 1000000]"},
      {"count: 1000001", "EPP-CFG-RANGE", "above the maximum"},
      {"weights: {queueDepth: -11}", "EPP-CFG-RANGE",
       "parameter \"weights.queueDepth\" is -11, want an integer >= -10"},
      {"share: 1.1", "EPP-CFG-RANGE", "\"share\" is 1.1, want a number in [0, 1]"},
      {"share: .nan", "EPP-CFG-TYPE", "\"share\" is \".nan\", want a number"},
      {"timeout: 5", "EPP-CFG-TYPE", "\"timeout\" is 5, want a duration such as"},
      {"timeout: 5 parsecs", "EPP-CFG-TYPE", "\"timeout\" is \"5 parsecs\", want a duration"},
      {"timeout: 1ms", "EPP-CFG-RANGE", "in [\"0.05s\", \"0.3s\"]"},
      {"mode: medium", "EPP-CFG-CHOICE", "\"mode\" is \"medium\", want one of \"fast\", \"slow\""},
      {"mode: 5", "EPP-CFG-TYPE", "\"mode\" is 5, want a string"},
      {"names: a", "EPP-CFG-TYPE", "\"names\" is \"a\", want a list of strings"},
      {"names: [a, 3]", "EPP-CFG-TYPE",
       "an item of parameter \"names\" is an integer, want a string"},
      {"decider: [x]", "EPP-CFG-TYPE", "\"decider\" is a list, want the name of a plugin"},
      {"weights: 3", "EPP-CFG-TYPE", "parameter \"weights\" is an integer, want a map"},
      {"coutn: 3", "EPP-CFG-UNKNOWN-KEY", "plugin \"p\" (t): unknown parameter \"coutn\""},
      {"coutn: 3", "EPP-CFG-UNKNOWN-KEY", "did you mean \"count\"?"},
      {"weights: {cahce: 3}", "EPP-CFG-UNKNOWN-KEY", "unknown parameter \"weights.cahce\""},
      {"weights: {cahce: 3}", "EPP-CFG-UNKNOWN-KEY", "did you mean \"cache\"?"},
      {"Weights: {cahce: 3}", "EPP-CFG-UNKNOWN-KEY", "did you mean \"cache\"?"},
      {"weihgts: {cache: 3}", "EPP-CFG-UNKNOWN-KEY", "did you mean \"weights\"?"},
      {"[1]", "EPP-CFG-TYPE", "parameters is a list, want a map"},
  };
  for (const ErrorCase& c : cases) {
    const Decoded<Everything> d(c.text);
    ASSERT_EQ(d.out.errors(), 1u) << c.text << d.rendered();
    EXPECT_EQ(d.out.all()[0].code, c.code) << c.text;
    EXPECT_THAT(d.rendered(), HasSubstr(c.shown)) << c.text;
  }
}

// The value of an unknown parameter is masked where a type has secrets: it may be one.
TEST(ParamsTest, GoldenTexts) {
  EXPECT_EQ(Decoded<Everything>("blue: 1\ncoutn: 64\n").rendered(),
            "p.yaml:1:1: error: plugin \"p\" (t): unknown parameter \"blue\"\n"
            "    1 | blue: *\n"
            "      | ^^^^ [EPP-CFG-UNKNOWN-KEY]\n"
            "p.yaml:2:1: error: plugin \"p\" (t): unknown parameter \"coutn\"\n"
            "    2 | coutn: **\n"
            "      | ^^^^^ did you mean \"count\"?  [EPP-CFG-UNKNOWN-KEY]\n");
  EXPECT_EQ(Decoded<Everything>("count: -1\n").rendered(),
            "p.yaml:1:8: error: plugin \"p\" (t): parameter \"count\" is -1, want an integer in "
            "[0, 1000000]\n"
            "    1 | count: -1\n"
            "      |        ^^ below the minimum  [EPP-CFG-RANGE]\n");
}

TEST(ParamsTest, AllErrorsAtOnceAndDefaultsInTheirPlace) {
  const Decoded<Everything> d("{count: x, share: 9, names: [1, a, 2], nope: 1, mode: z}");
  EXPECT_EQ(d.out.errors(), 6u) << d.rendered();
  EXPECT_EQ(d.at(kCount).v.i64, 5);
  EXPECT_EQ(d.at(kNames).v.list.count, 0u);
}

TEST(ParamsTest, Required) {
  const Decoded<Strict> d("{port: null}");
  ASSERT_EQ(d.out.errors(), 2u) << d.rendered();
  EXPECT_THAT(d.rendered(), HasSubstr("plugin \"p\" (t): parameter \"path\" is required"));
  EXPECT_THAT(d.rendered(), HasSubstr("parameter \"port\" is required"));
  EXPECT_EQ(d.out.all()[0].code, "EPP-CFG-MISSING");
  EXPECT_EQ(d.out.all()[0].mark.line, 1u);
  EXPECT_TRUE(Decoded<Strict>("{path: x, port: 80}").out.ok());
  // Given, though wrong: one complaint is enough.
  EXPECT_EQ(Decoded<Strict>("{path: x, port: 0}").out.errors(), 1u);
}

TEST(ParamsTest, DeprecatedWarnsAndIgnoredIsNotRead) {
  const Decoded<Everything> d("{old: 3, gone: [whatever]}");
  EXPECT_TRUE(d.out.ok()) << d.rendered();
  EXPECT_EQ(d.out.warnings(), 1u);
  EXPECT_THAT(d.rendered(), HasSubstr("parameter \"old\" is deprecated"));
  EXPECT_THAT(d.rendered(), HasSubstr("use count"));
  EXPECT_EQ(d.at(kOld).v.i64, 3);
  EXPECT_EQ(d.at(kGone).v.i64, 0);
}

TEST(ParamsTest, SecretsAreNeverShown) {
  for (const char* text :
       {"{count: x, token: [hunter2]}", "{token: {a: hunter2}, nope: 1}",
        "{nope: 1, token: \"a\\\"hunter2\"}", "{token: 'a''hunter2', count: -1}"}) {
    const Decoded<Everything> d(text);
    EXPECT_FALSE(d.out.ok());
    EXPECT_THAT(d.rendered(), Not(HasSubstr("hunter2")));
    EXPECT_THAT(d.out.RenderJson(), Not(HasSubstr("hunter2")));
  }
}

TEST(ParamsTest, TypesWithoutParameters) {
  EXPECT_THAT(Decoded<Bare>("x: 1").rendered(), HasSubstr("hint: bare takes no parameters"));
  EXPECT_TRUE(Decoded<Bare>("{}").out.ok());
}

TEST(ParamsTest, AnyParametersStillChecksThoseItKnows) {
  EXPECT_TRUE(Decoded<Lax>("{x: 1, y: {z: 2}}").out.ok());
  EXPECT_TRUE(Decoded<Lax>("[1, 2]").out.ok());
  EXPECT_FALSE(Decoded<Lax>("{count: 11}").out.ok());
  EXPECT_EQ(Decoded<Lax>("{count: 2}").at(0).v.i64, 2);
}

TEST(ParamsTest, CanonicalTellsValuesApart) {
  const auto canonical = [](const char* text) {
    return Decoded<Everything>(text).values->Canonical();
  };
  EXPECT_EQ(canonical("{count: 0x10}"), canonical("{ COUNT: 16 }"));
  EXPECT_EQ(canonical("{extra: {a: 1, b: 2}}"), canonical("{extra: {b: 2, a: 1}}"));
  EXPECT_NE(canonical("{note: \"\"}"), canonical("{}"));
  EXPECT_NE(canonical("{names: [\"a,b\"]}"), canonical("{names: [a, b]}"));
  EXPECT_NE(canonical("{extra: \"1\"}"), canonical("{extra: 1}"));
}

}  // namespace
}  // namespace epp::config
