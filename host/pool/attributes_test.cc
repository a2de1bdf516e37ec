#include "host/pool/attributes.h"

#include <gtest/gtest.h>

#include "epp/abi.h"

namespace epp::pool {
namespace {

TEST(AttributeRegistry, NumbersAreKept) {
  AttributeRegistry registry;
  EXPECT_EQ(*registry.Register("WaitingQueueSize", "core", EPP_T_I64), 0u);
  EXPECT_EQ(*registry.Register("WaitingQueueSize", "other", EPP_T_F64), 1u);
  EXPECT_EQ(*registry.Register("WaitingQueueSize", "core", EPP_T_I64), 0u);
  EXPECT_EQ(registry.size(), 2u);
  EXPECT_EQ(registry.info(1).producer, "other");
  EXPECT_EQ(registry.info(1).type, EPP_T_F64);
  EXPECT_EQ(registry.info(7).key, "");
}

TEST(AttributeRegistry, RefusesWhatAColumnCannotBe) {
  AttributeRegistry registry;
  ASSERT_TRUE(registry.Register("a", "p", EPP_T_I64).ok());
  for (const auto& [key, producer, type] :
       {std::tuple("a", "p", EPP_T_F64), std::tuple("b", "p", EPP_T_OPAQUE),
        std::tuple("b", "p", 0), std::tuple("b", "p", 99),
        std::tuple("label/role", "", EPP_T_I64)}) {
    EXPECT_EQ(registry.Register(key, producer, type).status().code(),
              absl::StatusCode::kInvalidArgument)
        << key << " " << type;
  }
  EXPECT_EQ(registry.size(), 1u);
}

}  // namespace
}  // namespace epp::pool
