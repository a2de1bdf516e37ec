#include "host/telemetry/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "host/base/unique_fd.h"

namespace epp::log {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

// A session that writes into a pipe.
class LogTest : public testing::Test {
 protected:
  LogTest() {
    int fds[2];
    EXPECT_EQ(::pipe(fds), 0);
    read_.reset(fds[0]);
    write_.reset(fds[1]);
    fcntl(read_.get(), F_SETFL, O_NONBLOCK);
    options_.fd = write_.get();
    options_.clock = &clock_;
    options_.format = Format::kJson;
  }
  ~LogTest() override { session_.reset(); }

  void Start() { session_ = std::make_unique<Session>(options_); }

  // Everything written so far.
  std::string Text() {
    Flush();
    std::string out;
    char buffer[4096];
    ssize_t n;
    while ((n = ::read(read_.get(), buffer, sizeof(buffer))) > 0) {
      out.append(buffer, static_cast<size_t>(n));
    }
    return out;
  }
  std::vector<json> Lines() {
    std::vector<json> out;
    std::string text = Text();
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      out.push_back(json::parse(text.substr(at, end - at)));
      at = end + 1;
    }
    return out;
  }

  FakeClock clock_{1'000'000'000'000, 1'700'000'000'123'456'000};
  UniqueFd read_, write_;
  Options options_;
  std::unique_ptr<Session> session_;
};

TEST_F(LogTest, JsonHasTheKnownKeys) {
  Start();
  const std::string id = "default/vllm-0";
  EPP_LOG(kInfo, "pool", "endpoint joined",
          {{"endpoint", id}, {"count", 3}, {"load", 0.5}, {"ready", true}, {"code", "EPP-X"}});
  EPP_LOG(kWarn, "pool", "no fields");
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], json::parse(R"({"level":"info","ts":1700000000.123456,"logger":"pool",
      "msg":"endpoint joined","endpoint":"default/vllm-0","count":3,"load":0.5,"ready":true,
      "code":"EPP-X"})"));
  EXPECT_EQ(lines[1]["level"], "warn");
}

TEST_F(LogTest, ForeignTextForgesNothing) {
  Start();
  const std::string evil = "a\n{\"level\":\"error\"}\x1b[31m\xFF";
  EPP_LOG(kError, "pool", "odd", {{"model", evil}, {"long", std::string(5000, 'x')}});
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["model"], "a\n{\"level\":\"error\"}\x1b[31m\xEF\xBF\xBD");
  EXPECT_EQ(lines[0]["long"], std::string(1024, 'x') + "... (5000 bytes)");
}

TEST_F(LogTest, TextForm) {
  options_.format = Format::kText;
  Start();
  EPP_LOG(
      kInfo, "pool", "joined",
      {{"endpoint", "default/a"}, {"model", "two words\n\x1b[1m"}, {"c1", "\xC2\x9B"}, {"n", 2}});
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("info  pool: joined endpoint=default/a "
                              "model=\"two words\\n\\u001b[1m\" c1=\"\\u009b\" n=2\n"));
  EXPECT_THAT(text, testing::MatchesRegex("^..:..:..\\.123 info .*\n"));
}

TEST_F(LogTest, JournalForm) {
  options_.format = Format::kJournal;
  Start();
  EPP_LOG(kError, "config", "refused", {{"code", "EPP-CFG"}});
  EXPECT_EQ(Text(), "<3>config: refused code=EPP-CFG\n");
}

TEST_F(LogTest, AutoIsJsonOffATerminal) {
  options_.format = Format::kAuto;
  Start();
  EPP_LOG(kInfo, "pool", "x");
  EXPECT_EQ(Lines().size(), 1u);
}

TEST_F(LogTest, LevelsByComponent) {
  Start();
  int built = 0;
  const auto expensive = [&built] { return ++built; };
  EPP_LOG(kDebug, "sched", "hidden", {{"n", expensive()}});
  EXPECT_EQ(built, 0) << "arguments of a disabled line are not evaluated";
  SetComponentLevel("sched", Level::kTrace);
  EPP_LOG(kTrace, "sched", "shown", {{"n", expensive()}});
  EPP_LOG(kDebug, "pool", "hidden");
  SetComponentLevel("sched", std::nullopt);
  EPP_LOG(kDebug, "sched", "hidden");
  SetLevel(Level::kError);
  EPP_LOG(kWarn, "sched", "hidden");
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["msg"], "shown");
  EXPECT_THAT(lines[0]["caller"].get<std::string>(), testing::StartsWith("log_test.cc:"));
}

TEST_F(LogTest, SiteLimitAndFoldedCount) {
  Start();
  const auto line = [] { EPP_LOG(kInfo, "scrape", "failed"); };
  for (int i = 0; i < 25; ++i) line();
  EXPECT_EQ(Lines().size(), 10u);
  clock_.Advance(1'000'000'000);
  line();
  line();
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["suppressed"], 15);
  EXPECT_EQ(GetStats().suppressed, 16u);
  for (int i = 0; i < 25; ++i) EPP_LOG_EXEMPT(kInfo, "admin", "operator action");
  EXPECT_EQ(Lines().size(), 25u);
}

TEST_F(LogTest, ProcessLimit) {
  options_.lines_per_second = 20;
  Start();
  std::vector<std::unique_ptr<Site>> sites;
  for (int i = 0; i < 50; ++i) {
    sites.push_back(std::make_unique<Site>());
    Write(Level::kInfo, *sites.back(), false, "plugin.x", "m", "f.cc", 1);
  }
  EXPECT_EQ(Lines().size(), 20u);
}

TEST_F(LogTest, RemembersWarnings) {
  Start();
  for (int i = 0; i < 600; ++i) EPP_LOG_EXEMPT(kWarn, "pool", "w", {{"i", i}});
  EPP_LOG_EXEMPT(kInfo, "pool", "not kept");
  const auto recent = Recent();
  ASSERT_EQ(recent.size(), 512u);
  EXPECT_EQ(json::parse(recent.back().json)["i"], 599);
  EXPECT_EQ(recent.front().component, "pool");
}

// Nobody reads the pipe: writers go on, and the end of the session does not hang.
TEST_F(LogTest, StuckReaderDropsAndNeverBlocks) {
  options_.queue_lines = 64;
  Start();
  const std::string filler(1000, 'x');
  for (int i = 0; i < 2000; ++i) EPP_LOG_EXEMPT(kInfo, "pool", "m", {{"filler", filler}});
  EXPECT_GT(GetStats().dropped, 0u);
  session_.reset();
}

TEST_F(LogTest, ManyThreads) {
  options_.queue_lines = 10'000;
  Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 100; ++i) EPP_LOG_EXEMPT(kInfo, "pool", "m", {{"i", i}});
    });
  }
  for (int i = 0; i < 10; ++i) SetComponentLevel("x", Level::kDebug);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(Lines().size(), 400u);
  SetComponentLevel("x", std::nullopt);
}

TEST(LogLevelTest, Parsing) {
  EXPECT_EQ(LevelFromVerbosity(-3), Level::kInfo);
  EXPECT_EQ(LevelFromVerbosity(2), Level::kInfo);
  EXPECT_EQ(LevelFromVerbosity(3), Level::kInfo);
  EXPECT_EQ(LevelFromVerbosity(4), Level::kDebug);
  EXPECT_EQ(LevelFromVerbosity(9), Level::kTrace);
  EXPECT_EQ(ParseLevel("warn"), Level::kWarn);
  EXPECT_EQ(ParseLevel("panic"), Level::kError);
  EXPECT_EQ(ParseLevel("5"), Level::kTrace);
  EXPECT_FALSE(ParseLevel("loud").has_value());
  EXPECT_FALSE(ParseLevel("").has_value());
  EXPECT_FALSE(ParseLevel("5x").has_value());
}

}  // namespace
}  // namespace epp::log
