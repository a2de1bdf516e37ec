// What users send is nowhere to be read afterwards: no log line, no metric, no admin document, no
// plugin's state holds a prompt, a credential, a cookie.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/admin/admin_server.h"
#include "host/http/client.h"
#include "host/telemetry/log.h"
#include "nlohmann/json.hpp"
#include "tests/integration/harness.h"
#include "tests/integration/test_plugins.h"

namespace epp::integration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kConfig = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: queue-scorer
  - type: prefix-cache-scorer
  - type: load-aware-scorer
  - type: inflight-load-producer
  - type: lora-affinity-scorer
  - type: test-filter
  - {name: hook, type: test-hook}
schedulingProfiles:
  - name: default
    plugins:
      - {pluginRef: queue-scorer}
      - {pluginRef: prefix-cache-scorer}
      - {pluginRef: lora-affinity-scorer}
      - {pluginRef: load-aware-scorer}
      - {pluginRef: test-filter}
)";

class NoBackend final : public admin::Backend {
 public:
  admin::Status CurrentStatus() override { return {}; }
  std::string VersionJson() override { return "{}"; }
  std::string ConfigJson() override { return "{}"; }
  std::string GenerationsJson() override { return "{}"; }
  std::string PluginsJson() override { return "{}"; }
  std::string ObjectsJson() override { return "{}"; }
  std::string PluginStateJson(std::string_view) override { return ""; }
  std::string GenerationJson(uint64_t) override { return ""; }
  std::string KeptGenerations() override { return ""; }
  std::string DiskDigest() override { return ""; }
  void Reload(admin::Change, std::function<void(admin::ReloadAnswer)> done) override {
    if (done) done({});
  }
};

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream all;
  all << in.rdbuf();
  return all.str();
}

class Leaks : public testing::Test {
 protected:
  Leaks() {
    std::string pattern = testing::TempDir() + "epp-leak-XXXXXX";
    dir_ = mkdtemp(pattern.data());
    log_fd_ = open((dir_ + "/log").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  }
  ~Leaks() override {
    close(log_fd_);
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }

  // Every text that this process can be asked for.
  static std::string Get(const std::string& socket, const std::string& path, const char* accept) {
    const auto response =
        http::Call({.unix_path = socket}, {.path = path, .headers = {{"Accept", accept}}});
    EXPECT_TRUE(response.ok()) << path << ": " << response.status();
    return response.ok() ? response->body : "";
  }

  std::string dir_;
  int log_fd_ = -1;
};

TEST_F(Leaks, CanariesAppearNowhere) {
  const std::vector<std::string> canaries = {"CANARYprompt", "CANARYbearer", "CANARYcookie",
                                             "CANARYanswer", "CANARYquery",  "CANARYtool",
                                             "CANARYflow"};
  const Headers headers = {{"authorization", "Bearer CANARYbearer"},
                           {"cookie", "session=CANARYcookie"},
                           {"x-request-id", "visible-id"},
                           {"x-llm-d-inference-fairness-id", "visible-flow"}};
  std::string log_text, metrics, documents, dumps;
  {
    log::Session session(
        {.level = log::Level::kTrace, .format = log::Format::kJson, .fd = log_fd_});
    Harness harness({.config = kConfig, .request = {.observe_responses = true}});
    harness.SetPods({{"a", "10.0.0.1"}, {"b", "10.0.0.2"}});
    NoBackend backend;
    const std::string socket = dir_ + "/admin.sock";
    const auto admin = admin::StartAdminServer(
        {socket, ""}, {&backend, &harness.names(), &harness.decisions(), &harness.pool(),
                       harness.services().clock, &harness.metrics()});
    ASSERT_TRUE(admin.ok()) << admin.status();

    const std::string repeated = [] {
      std::string text;
      for (int i = 0; i < 200; ++i) text += "CANARYprompt ";
      return text;
    }();
    std::vector<std::string> bodies = {
        R"({"model":"m","prompt":")" + repeated + R"("})",
        R"({"model":"m","prompt":"CANARYprompt)",
        R"({"model":"m","prompt":{"CANARYprompt":1}})",
        R"({"model":"m","prompt":CANARYprompt})",
        R"({"CANARYprompt":"m","model":3})",
        R"({"prompt":"CANARYprompt"})",
        "CANARYprompt",
        R"({"model":"m","messages":[{"role":"CANARYprompt","content":"CANARYprompt"}],)"
        R"("tools":[{"name":"CANARYtool"}],"max_tokens":9,"system":"CANARYprompt"})",
        R"({"model":"m","messages":[{"role":7,"content":"CANARYprompt"}],"tools":"CANARYtool"})",
        R"({"model":"m","token_ids":["CANARYprompt"]})",
    };
    for (const char* path :
         {"/v1/completions?q=CANARYquery", "/v1/chat/completions?q=CANARYquery", "/v1/messages",
          "/v1/responses", "/v1/embeddings", "/inference/v1/generate", "/other?CANARYquery"}) {
      for (const std::string& body : bodies) {
        for (const char* order : {"", "filter=throw", "filter=drop", "hook.pre=throw",
                                  "hook.headers=throw,hook.body=throw"}) {
          Flow flow(harness);
          Headers all = headers;
          all.emplace_back("x-test", order);
          if (!Forwards(flow.Post(path, body, all))) continue;
          flow.Head({{":status", "200"}, {"set-cookie", "CANARYcookie"}});
          flow.Chunk(R"({"text":"CANARYanswer","usage":"CANARYanswer"})", true);
          flow.End();
        }
      }
    }
    metrics = harness.MetricsText();
    dumps = harness.PluginDumps();
    for (const char* accept : {"application/json", "text/plain"}) {
      for (const char* path :
           {"/admin/status", "/admin/decisions", "/admin/pool", "/admin/warnings"}) {
        documents += Get(socket, path, accept);
      }
    }
    std::vector<uint64_t> numbers;
    harness.decisions().Visit([&](const telemetry::DecisionRecord& record) {
      numbers.push_back(record.number);
      return numbers.size() < 60;
    });
    ASSERT_FALSE(numbers.empty());
    for (const uint64_t number : numbers) {
      const std::string one =
          Get(socket, "/admin/decisions/" + std::to_string(number), "application/json");
      EXPECT_TRUE(nlohmann::json::accept(one)) << one;
      documents += one;
    }
    // The search finds what is there.
    EXPECT_THAT(documents, HasSubstr("visible-id"));
    EXPECT_THAT(metrics, HasSubstr("visible-flow"));
    log::Flush();
  }
  log_text = ReadAll(dir_ + "/log");
  EXPECT_THAT(log_text, HasSubstr("plugin call failed"));
  for (const std::string& canary : canaries) {
    EXPECT_THAT(log_text, Not(HasSubstr(canary)));
    EXPECT_THAT(metrics, Not(HasSubstr(canary)));
    EXPECT_THAT(documents, Not(HasSubstr(canary)));
    EXPECT_THAT(dumps, Not(HasSubstr(canary)));
  }
}

}  // namespace
}  // namespace epp::integration
