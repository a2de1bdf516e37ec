#include "plugins/common/metrics_page/scanner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <sstream>

namespace epp::metrics_page {
namespace {

// The page in memory of exactly its size plus the promised 64 zero bytes.
class Page {
 public:
  explicit Page(std::string_view text) : bytes_(new char[text.size() + 64]()), size_(text.size()) {
    std::copy(text.begin(), text.end(), bytes_.get());
  }
  std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<char[]> bytes_;
  size_t size_;
};

Wanted Want(std::string_view spec, Pick pick = Pick::kLatest) {
  Wanted wanted;
  wanted.pick = pick;
  EXPECT_TRUE(ParseMetricSpec(spec, wanted.spec).ok()) << spec;
  return wanted;
}

struct Case {
  const char* name;
  const char* spec;
  Pick pick;
  const char* page;
  std::optional<double> value;
  uint32_t malformed = 0;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class ScannerTest : public testing::TestWithParam<Case> {};

TEST_P(ScannerTest, Finds) {
  const Case& c = GetParam();
  const Scanner scanner({Want(c.spec, c.pick)});
  Found found;
  const Page page(c.page);
  EXPECT_EQ(scanner.Scan(page.view(), std::span(&found, 1)), c.malformed);
  EXPECT_EQ(found.found, c.value.has_value());
  if (c.value) {
    EXPECT_DOUBLE_EQ(found.value, *c.value);
  }
}

constexpr Pick kL = Pick::kLatest, kS = Pick::kSum, kA = Pick::kAverage, kG = Pick::kGreatest;

INSTANTIATE_TEST_SUITE_P(
    Lines, ScannerTest,
    testing::Values(Case{"Plain", "a", kL, "a 1\n", 1}, Case{"NoNewline", "a", kL, "a 1", 1},
                    Case{"Empty", "a", kL, "", {}}, Case{"OnlyNewlines", "a", kL, "\n\n\n", {}},
                    Case{"CarriageReturn", "a", kL, "x 2\r\na 1\r\n", 1},
                    Case{"Tabs", "a", kL, "a\t{x=\"y\"}\t1\t7\n", 1},
                    Case{"EmptyLabels", "a", kL, "a{} 1\n", 1},
                    Case{"TrailingComma", "a", kL, "a{x=\"y\",} 1\n", 1},
                    Case{"BlanksInLabels", "a{x=y}", kL, "a{ x = \"y\" , z = \"w\" } 1\n", 1},
                    Case{"PlusSign", "a", kL, "a +5\n", 5},
                    Case{"Exponent", "a", kL, "a 1.5e+03\n", 1500},
                    Case{"Negative", "a", kL, "a -2.5\n", -2.5},
                    Case{"LongerNameIsAnother", "a", kL, "ab 1\na_total 2\n", {}},
                    Case{"ShorterNameIsAnother", "abcdefghi", kL, "abcdefgh 1\n", {}},
                    Case{"EightBytes", "abcdefgh", kL, "abcdefgh 1\n", 1},
                    Case{"SamePrefix", "abcdefgh_two", kL, "abcdefgh_one 1\nabcdefgh_two 2\n", 2},
                    Case{"NameAlone", "abc", kL, "abc", {}},
                    Case{"NameAndBlank", "abc", kL, "abc ", {}, 1},
                    Case{"Comments", "a", kL, "# HELP a 7\n# TYPE a histogram\na 1\n# EOF\n", 1},
                    Case{"LeadingBlankIsNoSample", "a", kL, " a 1\n", {}},
                    Case{"BracesInValue", "a{x=y}", kL, "a{q=\"}{,\\\"\",x=\"y\"} 3\n", 3},
                    Case{"Exemplar", "a", kL, "a{x=\"y\"} 3 # {trace=\"1\"} 9\n", 3},
                    Case{"OpenMetricsTime", "a", kL, "a 3 1520879607.789\n", 3}));

INSTANTIATE_TEST_SUITE_P(
    Faults, ScannerTest,
    testing::Values(Case{"NoValue", "a", kL, "a \na 2\n", 2, 1},
                    Case{"Text", "a", kL, "a one\na 2\n", 2, 1},
                    Case{"TextBehind", "a", kL, "a 1x\na 2\n", 2, 1},
                    Case{"BadTime", "a", kL, "a 1 x\na 2\n", 2, 1},
                    Case{"TwoTimes", "a", kL, "a 1 2 3\na 2\n", 2, 1},
                    Case{"OpenLabels", "a", kL, "a{x=\"y 1\na 2\n", 2, 1},
                    Case{"OpenEscape", "a", kL, "a{x=\"y\\\na 2\n", 2, 1},
                    Case{"Unquoted", "a", kL, "a{x=y} 1\na 2\n", 2, 1},
                    Case{"NoEquals", "a", kL, "a{x} 1\na 2\n", 2, 1},
                    Case{"NoComma", "a", kL, "a{x=\"1\"y=\"2\"} 1\na 2\n", 2, 1},
                    Case{"NaN", "a", kL, "a NaN\na 2\n", 2, 1},
                    Case{"Inf", "a", kL, "a +Inf\na -Inf\n", {}, 2},
                    Case{"OutOfRange", "a", kL, "a 1e999\na 2\n", 2, 1},
                    Case{"OthersFaultsDoNotMatter", "a", kL, "b{ oops\na 2\nc\n", 2}));

INSTANTIATE_TEST_SUITE_P(
    Choice, ScannerTest,
    testing::Values(
        Case{"FirstWithoutTimes", "a", kL, "a{x=\"1\"} 1\na{x=\"2\"} 2\n", 1},
        Case{"GreatestTime", "a", kL, "a 1 10\na 2 30\na 3 20\n", 2},
        Case{"AnyTimeBeatsNone", "a", kL, "a 1\na 2 5\n", 2},
        Case{"FirstOfEqualTimes", "a", kL, "a 1 5\na 2 5\n", 1},
        Case{"LabelsChoose", "a{x=2}", kL, "a{x=\"1\"} 1\na{x=\"2\",y=\"3\"} 2\n", 2},
        Case{"ARepeatedLabelIsNotTwo", "a{x=1,y=2}", kL, "a{x=\"1\",x=\"1\"} 1\n", {}},
        Case{"AllLabelsMustMatch", "a{x=1,y=2}", kL, "a{x=\"1\"} 1\na{y=\"2\"} 2\n", {}},
        Case{"EscapedLabel", "a{x=b\\c}", kL, "a{x=\"b\\\\c\"} 4\n", 4},
        Case{"EnginesAreSummed", "a", kS, "a{engine=\"0\"} 1\na{engine=\"1\"} 2\n", 3},
        Case{"EnginesAreAveraged", "a", kA, "a{engine=\"0\"} 0.2\na{engine=\"1\"} 0.4\n",
             (0.2 + 0.4) / 2},
        Case{"OneEngineCountsOnce", "a", kS,
             "a{engine=\"0\",m=\"x\"} 1\na{engine=\"0\",m=\"y\"} 2\na{engine=\"1\"} 4\n", 5},
        Case{"NewestOfEachEngine", "a", kS,
             "a{engine=\"0\"} 1 1\na{engine=\"0\"} 2 2\na{engine=\"1\"} 4\n", 6},
        Case{"WithoutEngineTheFirst", "a", kS, "a{m=\"x\"} 1\na{m=\"y\"} 2\n", 1},
        Case{"TotalBesideEngines", "a", kS, "a 3\na{engine=\"0\"} 1\na{engine=\"1\"} 2\n", 3},
        Case{"OtherwiseNoSum", "a", kL, "a{engine=\"0\"} 1\na{engine=\"1\"} 2\n", 1},
        Case{"GreatestValue", "a", kG, "a 5\na 9\na 7\n", 9},
        Case{"GreatestAboveMinusOne", "a", kG, "a -1\n", {}}));

TEST(Scanner, ManySpecsOfOneFamily) {
  const Scanner scanner({Want("nv{t=waiting}", Pick::kSum), Want("nv{t=scheduled}", Pick::kSum),
                         Want(""), Want("nv{t=waiting}", Pick::kGreatest)});
  const Page page("nv{t=\"scheduled\"} 7\nnv{t=\"waiting\"} 3\n");
  std::vector<Found> found(4);
  EXPECT_EQ(scanner.Scan(page.view(), found), 0u);
  EXPECT_EQ(found[0].value, 3);
  EXPECT_EQ(found[1].value, 7);
  EXPECT_FALSE(found[2].found);
  EXPECT_EQ(found[3].value, 3);
  EXPECT_EQ(found[3].labels, "t=\"waiting\"");
}

TEST(Scanner, TooManyEnginesAreCounted) {
  const Scanner scanner({Want("a", Pick::kSum)});
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "a{engine=\"" + std::to_string(i) + "\"} 1\n";
  const Page page(text);
  Found found;
  EXPECT_EQ(scanner.Scan(page.view(), std::span(&found, 1)), 1000 - Scanner::kMaxEngines);
  EXPECT_EQ(found.value, Scanner::kMaxEngines);
}

// Against a reader that splits every line into words: random pages, cut anywhere.
TEST(Scanner, AgreesWithASimpleReader) {
  std::mt19937 random(20240817);
  const std::vector<std::string> names{"vllm:num_requests_waiting",
                                       "vllm:num_requests_running",
                                       "vllm:num_requests",
                                       "vllm",
                                       "up",
                                       "vllm:kv"};
  std::vector<Wanted> wanted;
  for (const std::string& name : names) wanted.push_back(Want(name));
  const Scanner scanner(wanted);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    const int lines = static_cast<int>(random() % 12);
    for (int i = 0; i < lines; ++i) {
      text += random() % 5 == 0 ? "# " : "";
      text += names[random() % names.size()];
      text += random() % 4 == 0 ? "_x " : " ";
      text += std::to_string(random() % 1000);
      text += "\n";
    }
    text.resize(text.size() - (text.empty() ? 0 : random() % std::min<size_t>(text.size(), 9)));
    std::map<std::string, double> want;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      std::istringstream words(line);
      std::string name, value;
      if (words >> name >> value && name[0] != '#') want.emplace(name, std::stod(value));
    }
    const Page page(text);
    std::vector<Found> found(names.size());
    scanner.Scan(page.view(), found);
    for (size_t i = 0; i < names.size(); ++i) {
      const auto expected = want.find(names[i]);
      ASSERT_EQ(found[i].found, expected != want.end()) << text;
      if (found[i].found) {
        ASSERT_EQ(found[i].value, expected->second) << text;
      }
    }
  }
}

struct SpecCase {
  const char* text;
  const char* error;  // null: valid
};

TEST(MetricSpec, Grammar) {
  MetricSpec spec;
  ASSERT_TRUE(ParseMetricSpec("  ns:name_1 { a = x y , b=\"z\",c= } ", spec).ok());
  EXPECT_EQ(spec.name, "ns:name_1");
  using Pair = std::pair<std::string, std::string>;
  EXPECT_THAT(spec.labels, testing::ElementsAre(Pair("a", "x y"), Pair("b", "z"), Pair("c", "")));
  ASSERT_TRUE(ParseMetricSpec("a{}", spec).ok());
  EXPECT_TRUE(spec.labels.empty());
  ASSERT_TRUE(ParseMetricSpec(" ", spec).ok());
  EXPECT_TRUE(spec.empty());
}

TEST(MetricSpec, Errors) {
  for (const auto& [text, error] : {
           SpecCase{"9a", "not a valid metric specification: \"9a\""},
           SpecCase{"a b", "not a valid metric specification"},
           SpecCase{"a-b", "not a valid metric specification"},
           SpecCase{"{a=b}", "not a valid metric specification"},
           SpecCase{"a{b=c", "not a valid metric specification"},
           SpecCase{"a{b=c}d", "not a valid metric specification"},
           SpecCase{"a{b}", "invalid label pair \"b\" in specification: \"a{b}\""},
           SpecCase{"a{b=c,,d=e}", "invalid label pair \"\""},
           SpecCase{"a{b:c=d}", "invalid label pair"},
           SpecCase{"a{b!=c}", "invalid label pair"},
           SpecCase{"a{b=\"c}", "invalid label pair"},
       }) {
    MetricSpec spec;
    const Status status = ParseMetricSpec(text, spec);
    EXPECT_FALSE(status.ok()) << text;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(error)) << text;
  }
}

}  // namespace
}  // namespace epp::metrics_page
