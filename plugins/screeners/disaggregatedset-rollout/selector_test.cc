#include "selector.h"

#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace epp::rollout {
namespace {

TEST(Selector, Matches) {
  struct Case {
    const char* text;
    bool matches;
  };
  const Case cases[] = {
      {"app", true},
      {"other", false},
      {"!other", true},
      {"!app", false},
      {"app=llm", true},
      {"app==llm", true},
      {"app = llm , tier=a", true},
      {"app=llm,tier=b", false},
      {"tier!=b", true},
      {"other!=b", true},
      {"other=", false},
      {"tier in (a, b)", true},
      {"tier in (b)", false},
      {"tier notin (b,c)", true},
      {"other notin (b)", true},
      {"in", false},
      {"example.com/key=v", true},
      {"app,tier in (a),!x", true},
  };
  test::Pool pool(1);
  pool.Label(0, "app", "llm").Label(0, "tier", "a").Label(0, "example.com/key", "v");
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    Selector selector;
    const Status status = Selector::Parse(c.text, selector);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(selector.Matches(pool.endpoint(0)), c.matches);
  }
}

TEST(Selector, Refused) {
  for (const std::string& text :
       {std::string(), std::string(","), std::string("a,"), std::string("a b"), std::string("a in"),
        std::string("a in ("), std::string("a in (b"), std::string("a in (b))"), std::string("a>1"),
        std::string("a=b=c"), std::string("!"), std::string("=a"), std::string(5000, 'a')}) {
    Selector selector;
    EXPECT_FALSE(Selector::Parse(text, selector).ok()) << text.substr(0, 20);
  }
}

}  // namespace
}  // namespace epp::rollout
