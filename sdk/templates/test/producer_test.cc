#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Make;
using epp::test::Cell;
using epp::test::Pool;
using epp::test::Request;
using ::testing::ElementsAre;

TEST(@CLASS@, CountsFreeSlots) {
  Pool pool(4);
  pool.Set(epp::attr::kRunningRequestsSize, {0, 30, 40, std::nullopt});
  Request request;
  auto producer = Make("@NAME@");
  EXPECT_THAT(producer.Produce(pool, request).column("@CLASS@.freeSlots"),
              ElementsAre(Cell(32), Cell(2), Cell(0), Cell()));
  auto small = Make("@NAME@", {{"slots", 1}});
  EXPECT_THAT(small.Produce(pool, request).column("@CLASS@.freeSlots"),
              ElementsAre(Cell(1), Cell(0), Cell(0), Cell()));
}

TEST(@CLASS@, RecordHasNoMistake) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), ::testing::IsEmpty());
}

}  // namespace
