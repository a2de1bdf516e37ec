#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Pool;
using epp::test::Request;
using epp::test::Selection;

TEST(AlwaysDisaggPdDecider, SaysYes) {
  const Pool pool(1);
  auto decider = epp::test::Make("always-disagg-pd-decider");
  Request request;
  EXPECT_TRUE(decider.Decide(pool, request));
  EXPECT_TRUE(decider.Decide(Selection(pool, {}), request));
}

}  // namespace
