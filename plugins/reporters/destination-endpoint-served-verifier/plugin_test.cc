#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(ServedVerifier, ShowsWhatTheProxyReported) {
  const epp::test::Pool pool(2);
  auto plugin = epp::test::Make("destination-endpoint-served-verifier");
  epp::test::Request request;
  epp::test::Event event;
  EXPECT_THAT(plugin.OnHeaders(event.Served(pool, 1).Reported(), request).headers,
              ElementsAre(Pair("x-conformance-test-served-endpoint", "10.0.0.2:8000")));
}

TEST(ServedVerifier, APickIsNoReport) {
  const epp::test::Pool pool(2);
  auto plugin = epp::test::Make("destination-endpoint-served-verifier");
  for (const bool picked : {true, false}) {
    epp::test::Request request;
    epp::test::Event event;
    if (picked) event.Served(pool, 1);
    EXPECT_THAT(plugin.OnHeaders(event, request).headers,
                ElementsAre(Pair("x-conformance-test-served-endpoint",
                                 "fail: missing destination endpoint served metadata")));
  }
}

TEST(ServedVerifier, Declarations) {
  EXPECT_TRUE(epp::test::Lint(epp::test::Library::Linked().module()).empty());
}

}  // namespace
