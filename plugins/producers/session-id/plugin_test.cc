#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"

namespace {

using epp::test::Params;
using testing::HasSubstr;

constexpr const char* kType = "session-id-producer";

const Params kHeader{{"headerName", " X-Session-ID "}};
const Params kCookie{{"cookieName", "sid"}};

struct Case {
  const char* name;
  Params params;
  const char* header;
  const char* value;
  std::optional<std::string> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class SessionIdProducerTest : public testing::TestWithParam<Case> {};

TEST_P(SessionIdProducerTest, Finds) {
  auto producer = epp::test::Make(kType, GetParam().params);
  ASSERT_TRUE(producer.ok()) << producer.error();
  epp::test::Request request;
  request.Header(GetParam().header, GetParam().value);
  const epp::test::Produced made = producer.Produce(epp::test::Pool(1), request);
  EXPECT_EQ(producer.status(), EPP_OK);
  const auto cell = made.value(epp::common::kSessionId);
  std::optional<std::string> got;
  if (cell.has()) got = epp::View(*static_cast<const epp_str*>(cell.opaque()));
  EXPECT_EQ(got, GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    Table, SessionIdProducerTest,
    testing::Values(Case{"Header", kHeader, "x-session-id", "abc", "abc"},
                    Case{"HeaderIsTrimmed", kHeader, "x-session-id", " \ta b ", "a b"},
                    Case{"HeaderEmpty", kHeader, "x-session-id", "", {}},
                    Case{"HeaderBlank", kHeader, "x-session-id", " \t", {}},
                    Case{"HeaderAbsent", kHeader, "x-other", "abc", {}},
                    Case{"HeaderNotTheCookie", kHeader, "cookie", "x-session-id=abc", {}},
                    Case{"Cookie", kCookie, "cookie", "sid=abc", "abc"},
                    Case{"CookieAmongOthers", kCookie, "cookie", "a=1; sid=abc ;b=2", "abc"},
                    Case{"CookieFirstOfTwo", kCookie, "cookie", "sid=first; sid=second", "first"},
                    Case{"CookieWithEquals", kCookie, "cookie", "sid=a=b==", "a=b=="},
                    Case{"CookieCaseMatters", kCookie, "cookie", "SID=abc; xsid=d; sidx=e", {}},
                    Case{"CookieWithoutValue", kCookie, "cookie", "sid; sid=; sid=late", {}},
                    Case{"CookieOddities", kCookie, "cookie", ";;=;=x; ;sid=abc;", "abc"},
                    Case{"CookieHeaderEmpty", kCookie, "cookie", "", {}},
                    Case{"CookieAbsent", kCookie, "sid", "abc", {}}),
    [](const auto& info) { return info.param.name; });

TEST(SessionIdProducerTest, WantsExactlyOneSource) {
  const auto error = [](const Params& p) { return epp::test::Make(kType, p).error(); };
  EXPECT_THAT(error({}), HasSubstr("neither"));
  EXPECT_THAT(error({{"headerName", " "}, {"cookieName", ""}}), HasSubstr("neither"));
  EXPECT_THAT(error({{"headerName", "h"}, {"cookieName", "c"}}), HasSubstr("both"));
  EXPECT_EQ(error({{"headerName", ""}, {"cookieName", "c"}}), "");
}

}  // namespace
