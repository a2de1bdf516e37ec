// The file of crashes, and what stands in for quarantined types.
#include "host/preflight/quarantine.h"

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/preflight/trial_format.h"

namespace epp::preflight {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kA(64, 'a');
const std::string kB(64, 'b');

class QuarantineTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void Write(const std::string& text) const { std::ofstream(file_) << text; }
  std::string Read() const {
    std::ifstream in(file_);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  static std::string Line(const std::string& digest) {
    return digest + "\t1700000000\tSIGSEGV\tlib\ttype\tname\tepp.scorer/1\ttype=epp.scorer/1\n";
  }
  const std::string dir_ = ::testing::TempDir() + "/epp_quarantine_test";
  const std::string file_ = dir_ + "/quarantine";
};

TEST_F(QuarantineTest, ReadsWhatACrashWrote) {
  EXPECT_THAT(ReadQuarantine(file_), IsEmpty());
  Write(Line(kA) + "garbage\n\n" + std::string(2000, 'x') + "\n" + Line("short") + Line(kB));
  const std::vector<Crash> crashes = ReadQuarantine(file_);
  ASSERT_EQ(crashes.size(), 2u);
  EXPECT_EQ(crashes[0].digest, kA);
  EXPECT_EQ(crashes[1].instance, "name");
  EXPECT_THAT(Describe(crashes[0]),
              AllOf(HasSubstr("SIGSEGV in epp.scorer/1 of plugin \"name\" (type) at 2023-11-14T"),
                    HasSubstr("epp plugins --forgive aaaaaaaaaaaa")));
}

TEST_F(QuarantineTest, ForgivesByPrefix) {
  Write(Line(kA) + Line(kB) + Line(kA));
  EXPECT_FALSE(Forgive(file_, "aaaa").ok());
  EXPECT_FALSE(Forgive(file_, "AAAAAAAAA").ok());
  EXPECT_EQ(*Forgive(file_, "cccccccc"), 0u);
  EXPECT_EQ(*Forgive(file_, "aaaaaaaa"), 2u);
  EXPECT_EQ(Read(), Line(kB));
  EXPECT_EQ(*Forgive(file_, kB), 1u);
  EXPECT_EQ(*Forgive(file_, kB), 0u);
}

TEST(StandInTest, OnlyForWhatRequestsCanDoWithout) {
  Crash crash;
  crash.offers =
      "a=epp.scorer/1,b=epp.filter/1+epp.dump-state/1,c=epp.picker/1,d=epp.scorer/1+epp.producer/1,"
      "e=epp.scorer/1+epp.response/1,f,g=,i=epp.decider/1,h=epp.scor";
  std::vector<std::string> names;
  for (const epp_plugin_type* type : StandIns({crash})) {
    names.emplace_back(type->name);
    EXPECT_TRUE(IsStandIn(*type));
  }
  EXPECT_THAT(names, ElementsAre("a", "b", "e", "i"));
  // Instances are kept by the type's address.
  EXPECT_EQ(StandIns({crash}), StandIns({crash}));
}

TEST(StandInTest, AFilterKeepsAllAndAScorerSaysNothing) {
  Crash crash;
  crash.offers = "both=epp.filter/1+epp.scorer/1";
  const epp_plugin_type& type = *StandIns({crash})[0];
  void* self = type.create(nullptr, {"", 0}, nullptr, nullptr);
  epp_candidates in{};
  in.count = 65;
  std::array<uint64_t, 2> keep{};
  const auto* filter = static_cast<const epp_filter*>(type.get_interface(self, EPP_FILTER_ID));
  EXPECT_EQ(filter->filter(self, nullptr, &in, keep.data(), nullptr), EPP_OK);
  EXPECT_EQ(keep[0], ~uint64_t{0});
  EXPECT_EQ(keep[1] & 1, 1u);
  const auto* scorer = static_cast<const epp_scorer*>(type.get_interface(self, EPP_SCORER_ID));
  EXPECT_EQ(scorer->score(self, nullptr, &in, nullptr, nullptr), EPP_OK);
  EXPECT_EQ(type.get_interface(self, EPP_PICKER_ID), nullptr);
}

TEST(StandInTest, ADeciderSaysNo) {
  Crash crash;
  crash.offers = "d=epp.decider/1";
  const epp_plugin_type& type = *StandIns({crash})[0];
  void* self = type.create(nullptr, {"", 0}, nullptr, nullptr);
  const auto* decider = static_cast<const epp_decider*>(type.get_interface(self, EPP_DECIDER_ID));
  uint32_t yes = 0;
  EXPECT_EQ(decider->decide(self, nullptr, nullptr, &yes, nullptr), EPP_OK);
  EXPECT_EQ(yes, 0u);
}

TEST(TrialFormatTest, TheJobArrivesAsItWasSent) {
  Trial trial;
  trial.settings = "[plugins]\n";
  config::SourceText config{"c.yaml", std::string("a\0b", 3)};
  config.included["x.yaml"].text =
      std::make_shared<const config::SourceText>(config::SourceText{"x.yaml", "x"});
  config.included["y.yaml"].error = "not there";
  trial.config = std::make_shared<const config::SourceText>(config);
  trial.quarantined_offers = {"t=epp.scorer/1"};
  trial.libraries.push_back({"one", "/p/one.so", kA, true, false, nullptr, "bytes"});
  trial.libraries.push_back({"two", "/p/two.so", kB, false, true, nullptr, ""});
  const auto fd = WriteJob(trial, {.time_ns = 7, .memory_bytes = 8});
  ASSERT_TRUE(fd.ok()) << fd.status();
  TrialLimits limits;
  const auto read = ReadJob(fd->get(), &limits);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(limits.time_ns, 7u);
  EXPECT_EQ(limits.memory_bytes, 8u);
  EXPECT_EQ(read->config->text, config.text);
  EXPECT_EQ(read->config->included.at("x.yaml").text->text, "x");
  EXPECT_EQ(read->config->included.at("y.yaml").text, nullptr);
  EXPECT_EQ(read->config->included.at("y.yaml").error, "not there");
  EXPECT_EQ(read->quarantined_offers, trial.quarantined_offers);
  ASSERT_EQ(read->libraries.size(), 2u);
  EXPECT_EQ(read->libraries[0].bytes, "bytes");
  EXPECT_TRUE(read->libraries[0].fresh);
  EXPECT_TRUE(read->libraries[1].serving);
}

TEST(TrialFormatTest, DiagnosticsKeepTheirPlaces) {
  config::SourceText config{"c.yaml", "x\nsecret\n"};
  const auto included =
      std::make_shared<const config::SourceText>(config::SourceText{"i.yaml", "y\n"});
  config.included["i.yaml"].text = included;
  const auto text = std::make_shared<const config::SourceText>(config);
  config::Diagnostics sent;
  sent.Error({text, 3, 5, 2}, "EPP-CFG-RANGE", "message", "caret", "hint");
  sent.Error({included, 1, 1, 1}, "EPP-CFG-TYPE", "message");
  sent.Error({text, 2, 1, 6}, "EPP-CFG-TYPE", "message");
  sent.Redact({text, 2, 1, 6});
  sent.Warning({}, "EPP-LOAD-REFUSED", "refused");
  config::Diagnostics got;
  EXPECT_TRUE(DecodeErrors(EncodeErrors(sent, *text), text, got));
  EXPECT_EQ(got.RenderJson(), sent.RenderJson());
  EXPECT_EQ(got.Render(), sent.Render());
  EXPECT_EQ(got.Render().find("secret"), std::string::npos);
  config::Diagnostics ignored;
  const std::string encoded = EncodeErrors(sent, *text);
  for (size_t n = 0; n < encoded.size(); ++n) {
    EXPECT_FALSE(DecodeErrors(encoded.substr(0, n), text, ignored)) << n;
  }
}

}  // namespace
}  // namespace epp::preflight
