#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Pool;
using epp::test::Request;
using testing::IsEmpty;

constexpr const char* kType = "header-based-testing-filter";
constexpr const char* kHeader = "test-epp-endpoint-selection";

// 0: .1:3001  1: .2:3002  2: .3:3003  3: .3:3004  4: v6:3005  5: v6:3006
Pool Endpoints() {
  Pool pool(6);
  const char* const addresses[] = {"10.0.0.1", "10.0.0.2", "10.0.0.3",
                                   "10.0.0.3", "fd00::2",  "fd00::2"};
  for (uint32_t i = 0; i < 6; ++i) pool.Address(i, addresses[i]).Port(i, 3001 + i);
  return pool;
}

struct Case {
  const char* name;
  const char* header;
  std::vector<size_t> kept;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class HeaderBasedTestingTest : public testing::TestWithParam<Case> {};

TEST_P(HeaderBasedTestingTest, Keeps) {
  auto filter = epp::test::Make(kType);
  Request request;
  request.Header(kHeader, GetParam().header);
  EXPECT_EQ(filter.Filter(Endpoints(), request), GetParam().kept);
}

INSTANTIATE_TEST_SUITE_P(
    Table, HeaderBasedTestingTest,
    testing::Values(Case{"Case086", "10.0.0.3:3004, 10.0.0.2, 10.0.0.3", {1, 3}},
                    Case{"Address", "10.0.0.1", {0}}, Case{"AddressAndPort", "10.0.0.1:3001", {0}},
                    Case{"BareAddressTakesTheLast", "10.0.0.3", {3}},
                    Case{"FirstEntryOfAnAddressCounts", "10.0.0.3:3003,10.0.0.3:3004", {2}},
                    Case{"EntryThatMeansNobodyDoesNotCount", "10.0.0.3:9,10.0.0.3:3003", {2}},
                    Case{"OtherPort", "10.0.0.1:3002", {}}, Case{"OtherAddress", "10.0.0.9", {}},
                    Case{"BareV6", "fd00::2", {5}}, Case{"BracketedV6", "[fd00::2]", {5}},
                    Case{"V6AndPort", "[fd00::2]:3005", {4}}, Case{"Blank", "  ", {}},
                    Case{"Empty", "", {}}, Case{"EmptyEntries", ",, 10.0.0.1 ,,", {0}},
                    Case{"Malformed",
                         "[fd00::2,[fd00::2]x,10.0.0.1:,10.0.0.1:x,:3001,[],10.0.0.1:99999999999",
                         {}}),
    [](const auto& info) { return info.param.name; });

TEST(HeaderBasedTestingTest, NoHeaderNoEndpoints) {
  auto filter = epp::test::Make(kType);
  EXPECT_THAT(filter.Filter(Endpoints()), IsEmpty());
  Request request;
  request.Header(kHeader, "10.0.0.1");
  EXPECT_THAT(filter.Filter(Pool(0), request), IsEmpty());
}

TEST(HeaderBasedTestingTest, IgnoresParameters) {
  EXPECT_TRUE(epp::test::Make(kType, {{"anything", "x"}}).ok());
}

TEST(HeaderBasedTestingTest, Declarations) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), IsEmpty());
}

}  // namespace
