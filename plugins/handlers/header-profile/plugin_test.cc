#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Case {
  const char* name;
  Params params;
  const char* header;
  const char* value;  // null: no header
  std::vector<std::string> ran;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class HeaderProfileHandlerTest : public testing::TestWithParam<Case> {};

TEST_P(HeaderProfileHandlerTest, RunsTheNamedProfile) {
  auto handler = epp::test::Make("header-profile-handler", GetParam().params);
  ASSERT_TRUE(handler.ok()) << handler.error();
  Profiles profiles{"prefill", "decode", "Decode"};
  Request request;
  if (GetParam().value != nullptr) request.Header(GetParam().header, GetParam().value);
  const auto schedule = handler.Schedule(
      profiles, {{"prefill", {0}}, {"decode", {0}}, {"Decode", {0}}}, Pool(1), request);
  if (GetParam().ran.empty()) {
    EXPECT_THAT(schedule.rounds, IsEmpty());
    EXPECT_EQ(handler.status(), EPP_RESOURCE_EXHAUSTED);
  } else {
    EXPECT_THAT(schedule.rounds, ElementsAre(GetParam().ran));
    EXPECT_EQ(schedule.primary, GetParam().ran[0]);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, HeaderProfileHandlerTest,
    testing::Values(
        Case{"Case098Spaces", {}, "epp-profile", "  prefill\t", {"prefill"}},
        Case{"Case098WrongCase", {}, "epp-profile", "PREFILL", {}},
        Case{"Case098Blank", {}, "epp-profile", "  ", {"decode"}},
        Case{"Case098Unknown", {}, "epp-profile", "nope", {}},
        Case{"NoHeader", {}, "", nullptr, {"decode"}},
        Case{"DefaultIsCaseSensitive", {{"defaultProfile", " Decode "}}, "", nullptr, {"Decode"}},
        Case{"UnknownDefault", {{"defaultProfile", "x"}}, "", nullptr, {}},
        Case{"OwnHeader", {{"headerName", " X-Phase "}}, "x-phase", "prefill", {"prefill"}},
        Case{"OwnHeaderOnly", {{"headerName", "X-Phase"}}, "epp-profile", "prefill", {"decode"}},
        Case{"BlankHeaderNameIsDefault",
             {{"headerName", " "}},
             "epp-profile",
             "prefill",
             {"prefill"}}),
    [](const auto& info) { return info.param.name; });

TEST(HeaderProfileHandlerTest, Case098SingleProfileRunsWhateverTheHeader) {
  auto handler = epp::test::Make("header-profile-handler");
  Profiles profiles{"only"};
  Request request;
  request.Header("epp-profile", "nope");
  EXPECT_EQ(handler.Schedule(profiles, {{"only", {0}}}, Pool(1), request).primary, "only");
}

TEST(HeaderProfileHandlerTest, LogsTheProfilesButNotTheValue) {
  epp::test::Host host;
  auto handler = epp::test::Make("header-profile-handler", {}, &host);
  Profiles profiles{"b", "a"};
  Request request;
  request.Header("epp-profile", "secret");
  handler.Choose(profiles, Pool(1), request);
  ASSERT_EQ(host.logs().size(), 1u);
  EXPECT_THAT(host.logs()[0].text, HasSubstr("\"a\" \"b\""));
  EXPECT_THAT(host.logs()[0].text, testing::Not(HasSubstr("secret")));
}

TEST(HeaderProfileHandlerTest, FailedProfileIsAnError) {
  auto handler = epp::test::Make("header-profile-handler");
  Profiles profiles{"prefill", "decode"};
  Request request;
  EXPECT_EQ(handler.Schedule(profiles, {}, Pool(1), request).primary, "");
  EXPECT_EQ(handler.status(), EPP_RESOURCE_EXHAUSTED);
}

TEST(HeaderProfileHandlerTest, IsExperimental) {
  EXPECT_EQ(epp::test::Make("header-profile-handler").type().stability, EPP_STABILITY_ALPHA);
}

}  // namespace
