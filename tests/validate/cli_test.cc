// epp plugin check and epp plugin doc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/cli/child.h"

namespace {

using ::testing::HasSubstr;

const std::string kGood = std::string(BROKEN_LIBS) + "/good.so";
const std::string kBroken = std::string(BROKEN_LIBS) + "/v08-prefix-id.so";

epp::testing::Result Epp(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), EPP_BINARY);
  return epp::testing::RunToEnd(arguments);
}

TEST(EppPluginTest, CheckIsTheProgramBesideIt) {
  const auto good = Epp({"plugin", "check", "--include", "V08", kGood});
  EXPECT_EQ(good.exit_code, 0) << good.err;
  EXPECT_THAT(good.out, HasSubstr("1 passed, 0 failed"));
  const auto broken = Epp({"plugin", "check", "--include", "V08", kGood, kBroken});
  EXPECT_EQ(broken.exit_code, 1);
  EXPECT_THAT(broken.out, HasSubstr("V08 interfaces              FAIL"));
  EXPECT_EQ(Epp({"plugin", "check"}).exit_code, 2);
}

TEST(EppPluginTest, DocPrintsTables) {
  const auto doc = Epp({"plugin", "doc", kGood});
  EXPECT_EQ(doc.exit_code, 0);
  EXPECT_THAT(doc.out, HasSubstr("| name | type | default | range | meaning |"));
}

TEST(EppPluginTest, OtherWordsAreHelped) {
  const auto none = Epp({"plugin"});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.err, HasSubstr("check FILE.so..."));
  EXPECT_EQ(Epp({"plugin", "--help"}).exit_code, 0);
  const auto wrong = Epp({"plugin", "chekc", kGood});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("did you mean \"check\"?"));
}

}  // namespace
