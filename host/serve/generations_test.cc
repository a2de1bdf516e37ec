#include "host/serve/generations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "nlohmann/json.hpp"

namespace epp::serve {
namespace {

ReloadOutcome Applied() {
  ReloadOutcome outcome;
  outcome.kind = ReloadOutcome::Kind::kApplied;
  outcome.generation = 7;
  outcome.digest = "0123abcd";
  outcome.took_ns = 27'400'000;
  outcome.kept = 12;
  outcome.created = 3;
  return outcome;
}

TEST(ReloadTextTest, SaysWhatBecameOfTheState) {
  ReloadOutcome outcome = Applied();
  EXPECT_EQ(ReloadText(outcome),
            "generation 7 serving after 27 ms; digest 0123abcd\n"
            "12 instances kept with their state, 3 created\n");
  outcome.carried = 2;
  outcome.lost = {{"prefix", "approx-prefix-cache-producer", "another block size"}};
  EXPECT_EQ(ReloadText(outcome),
            "generation 7 serving after 27 ms; digest 0123abcd\n"
            "12 instances kept with their state, 3 created, 2 with carried-over state\n"
            "state lost: plugin \"prefix\" (approx-prefix-cache-producer): another block size\n");
  EXPECT_FALSE(IsRefusal(outcome));
}

TEST(ReloadTextTest, NamesRefusedLibraries) {
  ReloadOutcome outcome;
  outcome.kind = ReloadOutcome::Kind::kUnchanged;
  outcome.generation = 3;
  outcome.digest = "0123abcd";
  outcome.refused_libraries = {{"/p/a.so", "library /p/a.so: no ELF file [EPP-LOAD-ELF]", false}};
  EXPECT_EQ(ReloadText(outcome),
            "warning: library /p/a.so: no ELF file [EPP-LOAD-ELF]\n"
            "unchanged: generation 3 (digest 0123abcd) goes on serving\n");
  EXPECT_FALSE(IsRefusal(outcome)) << "it was never loaded";
  outcome.refused_libraries[0].former_goes_on = true;
  EXPECT_THAT(ReloadText(outcome),
              testing::HasSubstr("[EPP-LOAD-ELF]; its former build goes on\n"));
  EXPECT_TRUE(IsRefusal(outcome));
}

TEST(ReloadJsonTest, HasAllOfIt) {
  ReloadOutcome outcome = Applied();
  outcome.carried = 2;
  outcome.lost = {{"prefix", "approx", "why"}};
  outcome.refused_libraries = {{"/p/a.so", "because", true}};
  const auto json = nlohmann::json::parse(ReloadJson(outcome));
  EXPECT_EQ(json["carried"], 2);
  EXPECT_EQ(json["lost"],
            nlohmann::json::parse(R"([{"plugin": "prefix", "type": "approx", "why": "why"}])"));
  EXPECT_EQ(
      json["refused_libraries"],
      nlohmann::json::parse(R"([{"path": "/p/a.so", "why": "because", "former_goes_on": true}])"));
}

}  // namespace
}  // namespace epp::serve
