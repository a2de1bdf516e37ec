#include <gtest/gtest.h>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"

namespace {

struct Case {
  const char* name;
  std::vector<std::pair<const char*, const char*>> headers;
  const char* identity;  // null: none
};

class AgentIdentityTest : public testing::TestWithParam<Case> {};

TEST_P(AgentIdentityTest, TakesTheFirstHeaderWithAValue) {
  auto plugin = epp::test::Make(
      "agent-identity", {{"additionalSessionHeaders", std::vector<std::string>{"X-My-Agent"}}});
  ASSERT_TRUE(plugin.ok()) << plugin.error();
  epp::test::Request request;
  for (const auto& [name, value] : GetParam().headers) request.Header(name, value);
  const auto made = plugin.RequestHeader(request);
  ASSERT_EQ(plugin.status(), EPP_OK);
  const epp::test::Cell cell = made.value(epp::common::kAgentIdentity);
  ASSERT_EQ(cell.has(), GetParam().identity != nullptr);
  if (cell.has()) {
    EXPECT_EQ(epp::View(*static_cast<const epp_str*>(cell.opaque())), GetParam().identity);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, AgentIdentityTest,
    testing::Values(
        Case{"Case104ClaudeBeforeOpencode",
             {{"x-session-affinity", "b"}, {"x-claude-code-session-id", "a"}},
             "a"},
        Case{"Case104OpencodeBeforeCodex", {{"session-id", "b"}, {"x-session-affinity", "a"}}, "a"},
        Case{"Case104CodexBeforeOldCodex", {{"session_id", "b"}, {"session-id", "a"}}, "a"},
        Case{"OldCodex", {{"session_id", "b"}}, "b"},
        Case{"TheConfigsHeaderFirst",
             {{"x-claude-code-session-id", "a"}, {"x-my-agent", "mine"}},
             "mine"},
        Case{"EmptyIsNone", {{"x-my-agent", ""}, {"session_id", "b"}}, "b"},
        Case{"None", {{"x-other", "b"}}, nullptr}),
    [](const auto& info) { return info.param.name; });

TEST(AgentIdentity, ANameIsNeeded) {
  EXPECT_FALSE(epp::test::Make("agent-identity",
                               {{"additionalSessionHeaders", std::vector<std::string>{""}}})
                   .ok());
}

TEST(AgentIdentity, Declarations) {
  EXPECT_TRUE(epp::test::Lint(epp::test::Library::Linked().module()).empty());
}

}  // namespace
