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
            "12 instances kept with their state, 3 created\n"
            "undo: epp rollback\n");
  outcome.carried = 2;
  outcome.lost = {{"prefix", "approx-prefix-cache-producer", "another block size"}};
  EXPECT_EQ(ReloadText(outcome),
            "generation 7 serving after 27 ms; digest 0123abcd\n"
            "12 instances kept with their state, 3 created, 2 with carried-over state\n"
            "state lost: plugin \"prefix\" (approx-prefix-cache-producer): another block size\n"
            "undo: epp rollback\n");
  EXPECT_FALSE(IsRefusal(outcome));
}

TEST(ReloadTextTest, SaysWhatChangedAndWhoStillRuns) {
  ReloadOutcome outcome = Applied();
  outcome.former = 6;
  outcome.running = 340;
  outcome.changes = {"~   profile default: prefix weight 3 -> 5"};
  EXPECT_EQ(ReloadText(outcome),
            "generation 7 serving after 27 ms; digest 0123abcd\n"
            "~   profile default: prefix weight 3 -> 5\n"
            "12 instances kept with their state, 3 created; 340 running requests finish on "
            "generation 6\n"
            "undo: epp rollback\n");
  outcome.changes.assign(40, "+   x");
  EXPECT_THAT(ReloadText(outcome), testing::HasSubstr("+   x\nand 28 more changes\n"));
}

TEST(ReloadTextTest, ARollbackSaysWhatIsIgnoredNow) {
  ReloadOutcome outcome = Applied();
  outcome.cause = "rollback";
  outcome.restored = 5;
  outcome.pin = Pin{};
  outcome.pin->path = "/etc/epp/config.yaml";
  outcome.pin->file_digest = "91be03d4";
  EXPECT_EQ(ReloadText(outcome),
            "generation 7 serving after 27 ms: the text of generation 5 (digest 0123abcd)\n"
            "12 instances kept with their state, 3 created\n"
            "pinned: /etc/epp/config.yaml (digest 91be03d4) is ignored until it changes\n"
            "a restart would load the file; to keep the rollback: epp rollback 5 --write\n");
  outcome.pin->file_digest.clear();
  EXPECT_THAT(ReloadText(outcome),
              testing::HasSubstr("other builds of plugin libraries on disk are ignored"));
}

TEST(ReloadTextTest, ARefusalCountsItsErrors) {
  ReloadOutcome outcome;
  outcome.generation = 6;
  outcome.diagnostics = "config.yaml:1:1: error: no\n";
  outcome.errors = 1;
  EXPECT_EQ(ReloadText(outcome),
            "config.yaml:1:1: error: no\nrefused: 1 error; generation 6 keeps serving\n");
  EXPECT_EQ(StatusOf(outcome), 409);
  outcome.kind = ReloadOutcome::Kind::kMismatch;
  EXPECT_EQ(StatusOf(outcome), 412);
  outcome.kind = ReloadOutcome::Kind::kNotKept;
  EXPECT_EQ(StatusOf(outcome), 404);
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
