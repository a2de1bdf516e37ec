#include "host/runtime/attribute_graph.h"

#include <algorithm>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::runtime {
namespace {

using testing::ElementsAre;

struct OrderCase {
  const char* name;
  std::vector<OrderNode> nodes;
  std::vector<size_t> order;  // empty: a cycle
  std::vector<size_t> cycle;
};

TEST(OrderTest, Table) {
  const OrderCase cases[] = {
      {"None", {}, {}, {}},
      {"TiesKeepTheGivenOrder", {{}, {}, {}}, {0, 1, 2}, {}},
      {"RequiredFirst", {{{2}, {}}, {}, {{1}, {}}}, {1, 2, 0}, {}},
      {"OptionalFirstToo", {{{}, {1}}, {}}, {1, 0}, {}},
      {"OptionalEdgesYieldToACycle", {{{}, {1}}, {{0}, {}}}, {0, 1}, {}},
      {"OptionalAlone", {{{}, {1}}, {{}, {0}}}, {0, 1}, {}},
      {"Diamond", {{{1, 2}, {}}, {{3}, {}}, {{3}, {}}, {}}, {3, 1, 2, 0}, {}},
      {"Itself", {{}, {{1}, {}}}, {}, {1, 1}},
      {"Two", {{{1}, {}}, {{0}, {}}}, {}, {0, 1, 0}},
      {"BehindAnEntrance", {{{1}, {}}, {{2}, {}}, {{1}, {}}}, {}, {1, 2, 1}},
  };
  for (const OrderCase& c : cases) {
    SCOPED_TRACE(c.name);
    std::vector<size_t> cycle;
    const auto order = Order(c.nodes, &cycle);
    EXPECT_EQ(order.has_value(), c.cycle.empty());
    if (order) {
      EXPECT_EQ(*order, c.order);
    }
    EXPECT_EQ(cycle, c.cycle);
  }
}

TEST(OrderTest, RandomGraphsWithoutCycles) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const size_t n = 1 + random() % 30;
    std::vector<size_t> rank(n);
    for (size_t i = 0; i < n; ++i) rank[i] = i;
    std::shuffle(rank.begin(), rank.end(), random);
    std::vector<OrderNode> nodes(n);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) {
        if (rank[j] < rank[i] && random() % 4 == 0) nodes[i].required.push_back(j);
        if (random() % 8 == 0) nodes[i].optional.push_back(j);  // cycles at will
      }
    }
    const auto order = Order(nodes, nullptr);
    ASSERT_TRUE(order);
    std::vector<size_t> position(n, n);
    for (size_t k = 0; k < order->size(); ++k) position[(*order)[k]] = k;
    for (size_t i = 0; i < n; ++i) {
      ASSERT_LT(position[i], n);
      for (const size_t before : nodes[i].required) EXPECT_LT(position[before], position[i]);
    }
  }
}

TEST(BuiltinTest, WhatTheHostProvides) {
  const auto builtin = [](const char* key, const char* producer) {
    Declared attribute;
    attribute.key = key;
    attribute.producer = producer;
    return IsBuiltin(attribute);
  };
  EXPECT_TRUE(builtin("metrics-age-ns", ""));
  EXPECT_TRUE(builtin("label/llm-d.ai/role", ""));
  EXPECT_FALSE(builtin("label/role", "x"));
  EXPECT_FALSE(builtin("labels", ""));
}

}  // namespace
}  // namespace epp::runtime
