#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr const char* kType = "data-parallel-profile-handler";
constexpr const char* kRank = "x-data-parallel-host-port";

TEST(DataParallelProfileHandler, Case097PrimaryPort) {
  struct Case {
    Params params;
    std::optional<uint32_t> port;  // nothing: refused
  };
  const Case cases[] = {{{}, 8000},
                        {{{"primaryPort", 9000}}, 9000},
                        {{{"primaryPort", 0}}, 0},
                        {{{"primaryPort", 65535}}, 65535},
                        {{{"primaryPort", -1}}, {}},
                        {{{"primaryPort", 65536}}, {}}};
  const Pool pool(3);
  for (const Case& c : cases) {
    auto handler = epp::test::Make(kType, c.params);
    EXPECT_EQ(handler.ok(), c.port.has_value()) << handler.error();
    if (!handler.ok()) continue;
    Request request;
    request.Header(kRank, "1.2.3.4:5");
    Profiles profiles{"default"};
    const auto schedule = handler.Schedule(profiles, {{"default", {2, 0}}}, pool, request);
    EXPECT_THAT(schedule.rounds, ElementsAre(ElementsAre("default")));
    EXPECT_EQ(schedule.primary, "default");
    EXPECT_EQ(request.destination_port(), c.port);
    EXPECT_EQ(handler.PreRequest(profiles, pool, request).headers.at(kRank),
              std::string(epp::View(pool.endpoint(2).host_port)));
  }
}

TEST(DataParallelProfileHandler, PicksNothingAmongSeveralProfiles) {
  auto handler = epp::test::Make(kType);
  Request request;
  Profiles profiles{"a", "b"};
  EXPECT_THAT(handler.Schedule(profiles, {{"a", {0}}, {"b", {0}}}, Pool(1), request).rounds,
              IsEmpty());
  EXPECT_EQ(handler.status(), EPP_RESOURCE_EXHAUSTED);
  EXPECT_EQ(request.destination_port(), std::nullopt);
}

TEST(DataParallelProfileHandler, AFailedProfile) {
  auto handler = epp::test::Make(kType);
  Request request;
  Profiles profiles{"a"};
  EXPECT_EQ(handler.Schedule(profiles, {}, Pool(1), request).primary, "");
  EXPECT_EQ(handler.error(), "the scheduling profile gave no endpoint");
}

}  // namespace
