// epp serve with real plugins and simulated model servers, and the commands that ask it.
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/http/client.h"
#include "nlohmann/json.hpp"
#include "tests/cli/live_fixture.h"

namespace epp::testing {
namespace {

using ::testing::HasSubstr;

TEST_F(LiveTest, StatusPoolAndExplainTellWhatHappens) {
  ASSERT_NO_FATAL_FAILURE(Serve());
  ASSERT_NO_FATAL_FAILURE(WaitUntilFresh());
  const auto ready = http::Call({.host = "127.0.0.1", .port = static_cast<uint16_t>(metrics_port_)},
                                {.path = "/readyz"});
  ASSERT_TRUE(ready.ok()) << ready.status();
  EXPECT_EQ(ready->status, 200);

  const Result status = Ask({"status", "--check"});
  EXPECT_EQ(status.exit_code, 0) << status.out << status.err;
  EXPECT_THAT(status.out, HasSubstr("READY"));
  EXPECT_THAT(status.out, HasSubstr("2 endpoints: 2 fresh"));
  EXPECT_EQ(status.err, "");

  const Result none = Ask({"explain", "--last"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.err, HasSubstr("no decision was made yet"));

  const std::string destination = Decide("0b8c4f2e-7d61-4f0a-9b7e-4a1f5f0f2c11");
  EXPECT_THAT(destination, HasSubstr("127.0.0.1:")) << serve_->output();

  const Result explain = Ask({"explain", "0b8c4f2e-7d61-4f0a-9b7e-4a1f5f0f2c11"});
  EXPECT_EQ(explain.exit_code, 0) << explain.err;
  EXPECT_THAT(explain.out, HasSubstr("picked default/vllm-"));
  EXPECT_THAT(explain.out, HasSubstr(destination));
  const Result last = Ask({"explain", "--last"});
  EXPECT_EQ(last.exit_code, 0) << last.err;
  EXPECT_THAT(last.out, HasSubstr(destination));

  const Result json = Ask({"explain", "--last", "5", "--match", "model=demo", "--json"});
  const auto list = nlohmann::json::parse(json.out, nullptr, false);
  ASSERT_TRUE(list.is_object()) << json.out;
  EXPECT_EQ(list["schema"], "epp.decisions/1");
  ASSERT_EQ(list["decisions"].size(), 1u);
  EXPECT_EQ(list["decisions"][0]["destination"], destination);
  EXPECT_EQ(Ask({"explain", "--last", "--match", "model=other"}).exit_code, 1);
  EXPECT_EQ(Ask({"explain", "--last", "--match", "colour=red"}).exit_code, 2);
  EXPECT_EQ(Ask({"explain", "no-such-request"}).exit_code, 1);

  const Result pool = Ask({"pool", "--sort", "waiting"});
  EXPECT_EQ(pool.exit_code, 0);
  EXPECT_THAT(pool.out, HasSubstr("default/vllm-0"));
  EXPECT_THAT(pool.out, HasSubstr("default/vllm-1"));

  serve_->Signal(SIGTERM);
  EXPECT_EQ(serve_->Wait(), 0) << serve_->output();
  EXPECT_THAT(serve_->output(), HasSubstr("\"msg\":\"stopped\""));
  EXPECT_EQ(Ask({"status"}).exit_code, 3);
}

TEST_F(LiveTest, FollowShowsDecisionsAsTheyAreMade) {
  ASSERT_NO_FATAL_FAILURE(Serve());
  Child follow({EPP_BINARY, "explain", "--follow", "--json", "--admin", admin_});
  ASSERT_FALSE(follow.WaitForLine("following unix:").empty()) << follow.output();
  ASSERT_FALSE(Decide("follow-1").empty());
  const std::string line = follow.WaitForLine("\"request_id\":\"follow-1\"");
  EXPECT_FALSE(line.empty()) << follow.output();
  EXPECT_TRUE(nlohmann::json::accept(line)) << line;
}

TEST_F(LiveTest, AnEndpointThatIsGoneMakesStatusCheckSayNo) {
  ASSERT_NO_FATAL_FAILURE(Serve());
  ASSERT_NO_FATAL_FAILURE(WaitUntilFresh());
  sims_[0]->Signal(SIGKILL);
  sims_[0]->Wait();
  const auto until = std::chrono::steady_clock::now() + kDeadline;
  Result result;
  do {
    result = Ask({"status", "--check"});
  } while (result.exit_code == 0 && std::chrono::steady_clock::now() < until);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("DEGRADED"));
}

std::string ConfigWithQueueWeight(const std::string& weight) {
  return "apiVersion: llm-d.ai/v1alpha1\n"
         "kind: EndpointPickerConfig\n"
         "plugins:\n"
         "- {type: queue-scorer}\n"
         "- {type: kv-cache-utilization-scorer}\n"
         "schedulingProfiles:\n"
         "- name: default\n"
         "  plugins:\n"
         "  - {pluginRef: queue-scorer, weight: " +
         weight +
         "}\n"
         "  - {pluginRef: kv-cache-utilization-scorer, weight: 1}\n";
}

TEST_F(LiveTest, ARefusedEndpointsFileIsAWarningUntilItIsMended) {
  ASSERT_NO_FATAL_FAILURE(Serve());
  ASSERT_NO_FATAL_FAILURE(WaitUntilFresh());
  const std::string path = dir_ + "/endpoints.yaml";
  std::ifstream in(path);
  const std::string good((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const auto until_check_says = [&](int exit_code) {
    const auto until = std::chrono::steady_clock::now() + kDeadline;
    Result result;
    do {
      result = Ask({"status", "--check"});
    } while (result.exit_code != exit_code && std::chrono::steady_clock::now() < until);
    EXPECT_EQ(result.exit_code, exit_code) << result.out;
    return result.out;
  };
  Replace(path, "endpoints: [{name: vllm-0, address: 127.0.0.1\n");
  EXPECT_THAT(until_check_says(1), HasSubstr("endpoints-file-refused"));
  EXPECT_THAT(Ask({"pool"}).out, HasSubstr("default/vllm-1"));
  Replace(path, good);
  until_check_says(0);
}

TEST_F(LiveTest, ReloadAppliesAGoodConfigAndRefusesABadOne) {
  const std::string config = dir_ + "/config.yaml";
  Replace(config, ConfigWithQueueWeight("1"));
  ASSERT_NO_FATAL_FAILURE(Serve({"--config-file", config}));
  ASSERT_NO_FATAL_FAILURE(WaitUntilFresh());

  Replace(config, ConfigWithQueueWeight("7"));
  const Result applied = Ask({"reload", "--wait"});  // or the file's watcher came first
  EXPECT_EQ(applied.exit_code, 0) << applied.out << applied.err;
  EXPECT_THAT(Ask({"status", "--section", "config"}).out, HasSubstr("generation 2"));
  const http::ClientTarget admin{.unix_path = dir_ + "/admin.sock"};
  const auto history = http::Call(admin, {.path = "/admin/generations"});
  ASSERT_TRUE(history.ok()) << history.status();
  const auto generations = nlohmann::json::parse(history->body, nullptr, false);
  bool kept = false;
  for (const auto& g : generations["generations"]) kept = kept || g.value("kept", 0) > 0;
  EXPECT_TRUE(kept) << history->body;
  EXPECT_FALSE(Decide("after-a-change").empty());

  Replace(config, ConfigWithQueueWeight("heavy"));
  const Result refused = Ask({"reload", "--wait"});
  EXPECT_EQ(refused.exit_code, 4) << refused.out << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("heavy"));
  EXPECT_THAT(refused.err, HasSubstr(config + ":9"));
  EXPECT_EQ(Ask({"status", "--check"}).exit_code, 1);
  EXPECT_THAT(Ask({"status"}).out, HasSubstr("generation 2"));
  EXPECT_FALSE(Decide("after-a-refusal").empty());

  Replace(config, "");
  const Result empty = Ask({"reload", "--wait"});
  EXPECT_EQ(empty.exit_code, 4) << empty.out;
  EXPECT_THAT(empty.err, HasSubstr("EPP-CFG-EMPTY"));

  Replace(config, ConfigWithQueueWeight("7"));
  EXPECT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
  const Result healthy = Ask({"status", "--check"});
  EXPECT_EQ(healthy.exit_code, 0) << healthy.out;
}

// The service manager's end of NOTIFY_SOCKET.
class Manager {
 public:
  explicit Manager(const std::string& path) : fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  ~Manager() { close(fd_); }
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  // The next message that contains `text`; those before it are dropped. Empty at the deadline.
  std::string WaitFor(const std::string& text) const {
    const auto until = std::chrono::steady_clock::now() + kDeadline;
    while (std::chrono::steady_clock::now() < until) {
      pollfd ready{fd_, POLLIN, 0};
      char buffer[1024];
      if (poll(&ready, 1, 100) <= 0) continue;
      const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
      const std::string message(buffer, n > 0 ? static_cast<size_t>(n) : 0);
      if (message.find(text) != std::string::npos) return message;
    }
    return "";
  }

 private:
  const int fd_;
};

TEST_F(LiveTest, TheServiceManagerIsToldHowItGoes) {
  const Manager manager(dir_ + "/notify");
  const std::string config = dir_ + "/config.yaml";
  Replace(config, ConfigWithQueueWeight("1"));
  std::vector<std::string> command = ServeCommand();
  command.insert(command.begin(),
                 {"/usr/bin/env", "NOTIFY_SOCKET=" + dir_ + "/notify", "WATCHDOG_USEC=4000000"});
  command.insert(command.end(), {"--config-file", config});
  serve_ = std::make_unique<Child>(command);

  EXPECT_THAT(manager.WaitFor("READY=1"), HasSubstr("\nSTATUS=generation 1, ")) << serve_->output();
  EXPECT_THAT(manager.WaitFor("2 of 2 endpoints fresh"), HasSubstr("STATUS="));
  EXPECT_EQ(manager.WaitFor("WATCHDOG"), "WATCHDOG=1");
  EXPECT_EQ(manager.WaitFor("WATCHDOG"), "WATCHDOG=1");

  // A change of the file is told as a status only; a reload that was asked for has a beginning and
  // an end.
  Replace(config, ConfigWithQueueWeight("2"));
  EXPECT_THAT(manager.WaitFor("generation 2"), HasSubstr("STATUS=generation 2"));
  EXPECT_EQ(Ask({"reload"}).exit_code, 0);
  EXPECT_THAT(manager.WaitFor("RELOADING=1"), HasSubstr("\nMONOTONIC_USEC="));
  EXPECT_THAT(manager.WaitFor("READY=1"), HasSubstr("STATUS=generation 2"));

  serve_->Signal(SIGTERM);
  EXPECT_THAT(manager.WaitFor("STOPPING=1"), HasSubstr("\nEXTEND_TIMEOUT_USEC="));
  EXPECT_EQ(serve_->Wait(), 0) << serve_->output();
}

TEST_F(LiveTest, IncludedFilesAreFollowed) {
  std::filesystem::create_directories(dir_ + "/base");
  const std::string config = dir_ + "/config.yaml";
  const std::string base = dir_ + "/base/queue.yaml";
  const std::string more = dir_ + "/more.yaml";
  Replace(base, ConfigWithQueueWeight("1"));
  Replace(config, "epp: {include: [base/queue.yaml]}\n");
  ASSERT_NO_FATAL_FAILURE(Serve({"--config-file", config}));
  const auto weight = [&] {
    const http::ClientTarget admin{.unix_path = dir_ + "/admin.sock"};
    const auto answer = http::Call(admin, {.path = "/admin/config"});
    if (!answer.ok()) return std::string(answer.status().message());
    return nlohmann::json::parse(answer->body)["profiles"][0]["plugins"][0]["weight"].dump();
  };
  const auto until_weight_is = [&](const std::string& want) {
    const auto until = std::chrono::steady_clock::now() + kDeadline;
    while (weight() != want && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(weight(), want) << serve_->output();
  };
  until_weight_is("1");
  Replace(base, ConfigWithQueueWeight("2"));
  until_weight_is("2");
  // A file that is not there yet: refused, and taken up when it comes.
  Replace(config, "epp: {include: [base/queue.yaml, more.yaml]}\n");
  EXPECT_THAT(Ask({"reload", "--wait"}).err,
              HasSubstr(config + ":1:34: error: include \"more.yaml\""));
  EXPECT_EQ(weight(), "2");
  Replace(more, ConfigWithQueueWeight("3"));
  until_weight_is("3");
  Replace(more, ConfigWithQueueWeight("4"));
  until_weight_is("4");
}

TEST_F(LiveTest, ReloadsUnderLoadDropNoRequest) {
  const std::string config = dir_ + "/config.yaml";
  Replace(config, ConfigWithQueueWeight("1"));
  ASSERT_NO_FATAL_FAILURE(Serve({"--config-file", config}));
  ASSERT_NO_FATAL_FAILURE(WaitUntilFresh());
  std::atomic<bool> stop{false};
  std::atomic<int> picked{0};
  std::atomic<int> dropped{0};
  std::vector<std::thread> load;
  for (int i = 0; i < 4; ++i) {
    load.emplace_back([&] {
      while (!stop) ++(Decide("").empty() ? dropped : picked);
    });
  }
  for (int weight = 2; weight < 22; ++weight) {
    const int before = picked;
    Replace(config, ConfigWithQueueWeight(std::to_string(weight)));
    EXPECT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
    const auto until = std::chrono::steady_clock::now() + kDeadline;
    while (picked < before + 8 && std::chrono::steady_clock::now() < until) {
      std::this_thread::yield();
    }
  }
  stop = true;
  for (std::thread& thread : load) thread.join();
  EXPECT_EQ(dropped, 0) << serve_->output();
  EXPECT_GE(picked, 20 * 8);
  EXPECT_THAT(Ask({"status", "--section", "config"}).out, HasSubstr("generation 21"));
  serve_->Signal(SIGTERM);
  EXPECT_EQ(serve_->Wait(), 0) << serve_->output();
}

TEST_F(LiveTest, APortInUseIsAnErrorThatNamesItsHolder) {
  ASSERT_NO_FATAL_FAILURE(Serve());
  const Result second = RunToEnd(ServeCommand(std::to_string(grpc_port_)));
  EXPECT_EQ(second.exit_code, 1) << second.err;
  EXPECT_THAT(second.err, HasSubstr("in use by process " + std::to_string(serve_->pid())));
}

}  // namespace
}  // namespace epp::testing
