#include "plugins/producers/burst-prefix-cache/assign.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace epp::burst {
namespace {

using ::testing::ElementsAre;
using Request = std::vector<uint64_t>;

std::vector<Request> Times(size_t n, const std::vector<Request>& requests) {
  std::vector<Request> out;
  for (const Request& r : requests) out.insert(out.end(), n, r);
  return out;
}

std::vector<int64_t> Placed(const std::vector<Request>& requests, size_t replicas,
                            const Options& options, std::vector<int64_t> running = {}) {
  std::vector<std::span<const uint64_t>> views(requests.begin(), requests.end());
  std::vector<std::string> names;
  for (size_t r = 0; r < replicas; ++r) names.push_back("pod" + std::to_string(r + 1));
  std::vector<Replica> all;
  for (size_t r = 0; r < replicas; ++r) {
    all.push_back({names[r], running.empty() ? 0 : running[r]});
  }
  return Assign(views, all, options);
}

// Requests per replica.
std::vector<int64_t> Counts(const std::vector<int64_t>& assigned, size_t replicas) {
  std::vector<int64_t> counts(replicas);
  for (const int64_t r : assigned) {
    if (r >= 0) ++counts[static_cast<size_t>(r)];
  }
  return counts;
}

TEST(Assign, Case128IdenticalRequests) {
  const auto requests = Times(8, {{1, 2, 3}});
  EXPECT_THAT(Counts(Placed(requests, 4, {}), 4), ElementsAre(8, 0, 0, 0));
  EXPECT_THAT(Counts(Placed(requests, 4, {.per_replica = 2}), 4), ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(Counts(Placed(requests, 4, {.per_replica = 4}), 4), ElementsAre(4, 4, 0, 0));
}

TEST(Assign, Case129MoreThanTheReplicasMayHave) {
  EXPECT_THAT(Counts(Placed(Times(8, {{1, 2, 3}}), 2, {.per_replica = 2}), 2), ElementsAre(4, 4));
}

TEST(Assign, Case130GroupsSpread) {
  EXPECT_THAT(Placed(Times(8, {{1, 2}, {3, 4}}), 2, {}),
              ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
}

TEST(Assign, Case131FamiliesStayTogether) {
  EXPECT_THAT(
      Placed(Times(2, {{1, 2, 3}, {1, 2, 4}, {7, 8, 5}, {7, 8, 6}}), 2, {.min_colocate = 2}),
      ElementsAre(0, 0, 0, 0, 1, 1, 1, 1));
}

TEST(Assign, Case132OneFamilyDoesNotExceedItsShare) {
  EXPECT_THAT(
      Counts(Placed(Times(2, {{1, 2, 3}, {1, 2, 4}, {1, 2, 5}, {1, 2, 6}}), 4, {.min_colocate = 2}),
             4),
      ElementsAre(2, 2, 2, 2));
}

TEST(Assign, Case133TooLittleInCommonSplits) {
  EXPECT_THAT(
      Placed(Times(2, {{1, 2, 3}, {1, 2, 4}, {7, 8, 5}, {7, 8, 6}}), 2, {.min_colocate = 3}),
      ElementsAre(0, 0, 1, 1, 0, 0, 1, 1));
}

TEST(Assign, Case134SingleJoinsItsLikes) {
  // Three of eight: two replicas have a share of four each.
  EXPECT_THAT(Placed({{1, 2, 8}, {1, 2, 3}, {5, 5, 5}, {1, 2, 3}, {9, 9}, {9, 9}, {9, 9}, {9, 9}},
                     2, {.min_colocate = 2}),
              ElementsAre(0, 0, -1, 0, 1, 1, 1, 1));
  EXPECT_THAT(Placed({{1, 2, 8}, {1, 2, 3}, {1, 2, 3}}, 2, {}), ElementsAre(-1, 0, 0));
}

TEST(Assign, Case135LoadInTokens) {
  EXPECT_THAT(Placed(Times(2, {{1, 2, 3, 4}, {5}, {6}}), 2, {.by_tokens = true}),
              ElementsAre(0, 0, 1, 1, 1, 1));
}

TEST(Assign, LongerGroupsAreFirstAndRunningRequestsDecide) {
  EXPECT_THAT(Placed(Times(2, {{1}, {2, 3}}), 2, {}, {5, 1}), ElementsAre(0, 0, 1, 1));
}

TEST(Assign, NothingToPlace) {
  EXPECT_THAT(Placed({}, 2, {}), ElementsAre());
  EXPECT_THAT(Placed({{1}, {}, {}}, 2, {.min_colocate = 1}), ElementsAre(-1, -1, -1));
  EXPECT_THAT(Placed({{1}, {1}}, 0, {}), ElementsAre(-1, -1));
}

}  // namespace
}  // namespace epp::burst
