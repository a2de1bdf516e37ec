#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Library;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;

constexpr const char* kType = "disagg-headers-handler";

struct Case {
  const char* name;
  Params params;
  std::vector<uint32_t> prefill, encode;  // empty: the profile did not run
  std::optional<std::string> prefiller, encoders;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class DisaggHeadersHandlerTest : public testing::TestWithParam<Case> {};

TEST_P(DisaggHeadersHandlerTest, Writes) {
  const Case& c = GetParam();
  Pool pool(3);  // 10.0.0.1 to 10.0.0.3, port 8000
  pool.Address(1, "fd00::2");
  Profiles profiles{"decode", "prefill", "encode"};
  profiles.Ok("decode", {0}).Primary("decode");
  if (!c.prefill.empty()) profiles.Ok("prefill", c.prefill);
  if (!c.encode.empty()) profiles.Ok("encode", c.encode);
  Request request;
  request.Header("x-prefiller-host-port", "1.2.3.4:5").Header("x-encoder-hosts-ports", "evil:1");
  const auto edits = epp::test::Make(kType, c.params).PreRequest(profiles, pool, request);
  EXPECT_EQ(edits.headers.at("x-prefiller-host-port"), c.prefiller);
  EXPECT_EQ(edits.headers.at("x-encoder-hosts-ports"), c.encoders);
  EXPECT_EQ(edits.headers.size(), 2u);
}

INSTANTIATE_TEST_SUITE_P(
    Table, DisaggHeadersHandlerTest,
    testing::Values(
        Case{"Neither", {}, {}, {}, {}, {}}, Case{"Prefill", {}, {0, 2}, {}, "10.0.0.1:8000", {}},
        Case{"PrefillOnIpv6", {}, {1}, {}, "[fd00::2]:8000", {}},
        Case{"Encode", {}, {}, {2, 1}, {}, "10.0.0.3:8000,[fd00::2]:8000"},
        Case{"Both", {}, {2}, {0}, "10.0.0.3:8000", "10.0.0.1:8000"},
        Case{"OwnNames",
             {{"prefillProfile", "encode"}, {"encodeProfile", "prefill"}},
             {2},
             {0},
             "10.0.0.1:8000",
             "10.0.0.3:8000"},
        Case{"NoSuchProfile", {{"prefillProfile", "p"}, {"encodeProfile", "e"}}, {2}, {0}, {}, {}}),
    [](const auto& info) { return info.param.name; });

TEST(DisaggHeadersHandler, HasAnOlderName) {
  const epp_plugin_type& type = epp::test::Make(kType).type();
  ASSERT_EQ(type.alias_count, 1u);
  EXPECT_STREQ(type.aliases[0], "prefill-header-handler");
}

}  // namespace
