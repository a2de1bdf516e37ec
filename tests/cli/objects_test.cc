// Objectives and model rewrites beside the endpoints file of a running epp.
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/cli/live_fixture.h"

namespace epp::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kObjective = R"(apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: urgent}
spec: {priority: 7, poolRef: {name: epp}}
)";

class ObjectsLive : public LiveTest {
 protected:
  nlohmann::json Objects() const {
    return nlohmann::json::parse(Ask({"status", "--json", "--section", "objects"}).out, nullptr,
                                 false);
  }
};

TEST_F(ObjectsLive, AreFollowedAndShown) {
  Serve();
  EXPECT_THAT(Ask({"status"}).out, Not(HasSubstr("objectives")));
  Replace(dir_ + "/objectives.yaml", kObjective);
  ASSERT_TRUE(Eventually([&] { return Objects()["objectives"] == 1; })) << Ask({"status"}).out;
  EXPECT_THAT(Ask({"status"}).out,
              HasSubstr("objects    1 objectives, 0 model rewrites with 0 rules\n"));
  EXPECT_NE(Header("x-gateway-destination-endpoint", {{"x-llm-d-inference-objective", "urgent"}}),
            "");
  EXPECT_THAT(Ask({"explain", "--last", "--json"}).out, HasSubstr(R"("priority":7)"));

  // A bad one is told, and the former stays.
  std::string bad = kObjective;
  bad.replace(bad.find("7"), 1, "low");
  Replace(dir_ + "/objectives.yaml", bad);
  EXPECT_THAT(
      RunToEnd({EPP_BINARY, "check", "--endpoints-file", dir_ + "/endpoints.yaml", "-"}).out,
      HasSubstr("objectives.yaml:4:18: error: InferenceObjective \"urgent\""));
  ASSERT_TRUE(Eventually([&] { return Objects()["refused"] == 1; }));
  EXPECT_EQ(Objects()["objectives"], 1);
  const std::string status = Ask({"status"}).out;
  EXPECT_THAT(status, HasSubstr("objects-refused"));
  EXPECT_THAT(status, HasSubstr("objectives.yaml:4:18"));
  EXPECT_THAT(status, HasSubstr("spec.priority is \"low\", want an integer"));

  std::filesystem::remove(dir_ + "/objectives.yaml");
  ASSERT_TRUE(Eventually([&] { return Objects()["objectives"] == 0; }));
  EXPECT_THAT(Ask({"status"}).out, Not(HasSubstr("objects-refused")));
}

}  // namespace
}  // namespace epp::testing
