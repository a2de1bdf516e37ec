#include "host/loader/host_services.h"

#include <set>
#include <thread>
#include <tuple>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::loader {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

epp_str Str(std::string_view s) { return {s.data(), s.size()}; }

class FakeLog final : public LogSink {
 public:
  bool Enabled(int32_t level) noexcept override { return level >= EPP_LOG_INFO; }
  void Log(std::string_view type, std::string_view name, int32_t level,
           std::string_view message) noexcept override {
    std::lock_guard lock(mutex);
    lines.push_back(std::string(type) + "/" + std::string(name) + " " + std::to_string(level) +
                    " " + std::string(message));
  }
  std::mutex mutex;
  std::vector<std::string> lines;
};

class FakeMetrics final : public MetricSink {
 public:
  absl::StatusOr<uint64_t> Register(const MetricSpec& spec) noexcept override {
    specs.push_back(spec);
    return specs.size();
  }
  uint64_t Series(uint64_t metric, std::span<const std::string_view> values) noexcept override {
    for (const std::string_view value : values) labels.emplace_back(value);
    return metric + 100;
  }
  void Add(uint64_t series, double value) noexcept override { adds.emplace_back(series, value); }
  std::vector<MetricSpec> specs;
  std::vector<std::string> labels;
  std::vector<std::pair<uint64_t, double>> adds;
};

class HostServicesTest : public testing::Test {
 protected:
  HostServicesOptions Options() {
    HostServicesOptions options;
    options.worker_count = 3;
    options.log = &log_;
    options.metrics = &metrics_;
    options.interner = &interner_;
    options.clock = &clock_;
    return options;
  }
  FakeLog log_;
  FakeMetrics metrics_;
  Interner interner_;
  FakeClock clock_{1000, 2000};
  HostServices services_{Options()};
};

TEST_F(HostServicesTest, BasicTable) {
  const auto host = services_.ForInstance("queue-scorer", "queue", true);
  const epp_host& h = *host->table();
  EXPECT_EQ(h.struct_size, sizeof(epp_host));
  EXPECT_EQ(h.abi_minor, EPP_ABI_MINOR);
  EXPECT_EQ(h.worker_count, 3u);
  EXPECT_EQ(h.mono_ns(h.ctx), 1000u);
  EXPECT_EQ(h.unix_ns(h.ctx), 2000u);
  EXPECT_EQ(h.get_extension(h.ctx, "epp.anything/1"), nullptr);
  EXPECT_NE(h.random_u64(h.ctx), h.random_u64(h.ctx));
}

TEST_F(HostServicesTest, LogsNameTheSpeaker) {
  const auto host = services_.ForInstance("queue-scorer", "queue", true);
  const epp_host& h = *host->table();
  EXPECT_TRUE(h.log_enabled(h.ctx, EPP_LOG_WARN));
  EXPECT_FALSE(h.log_enabled(h.ctx, EPP_LOG_DEBUG));
  h.log(h.ctx, EPP_LOG_DEBUG, Str("unheard"));
  h.log(h.ctx, EPP_LOG_WARN, Str("hello"));
  h.log(h.ctx, 99, Str("bad \xff text"));
  h.log(h.ctx, EPP_LOG_INFO, {nullptr, 0});
  EXPECT_THAT(log_.lines,
              ElementsAre("queue-scorer/queue 3 hello",
                          "queue-scorer/queue 4 bad \xEF\xBF\xBD text", "queue-scorer/queue 2 "));
  log_.lines.clear();
  h.log(h.ctx, EPP_LOG_INFO, Str(std::string(100'000, 'x')));
  EXPECT_LT(log_.lines[0].size(), LogSink::kMaxMessageBytes + 100);
}

TEST_F(HostServicesTest, Symbols) {
  const auto one = services_.ForInstance("a", "a", true);
  const auto two = services_.ForInstance("b", "b", true);
  const epp_host& h = *one->table();
  EXPECT_EQ(h.find(h.ctx, Str("lora")), 0u);
  const uint32_t symbol = h.intern(h.ctx, Str("lora"));
  EXPECT_NE(symbol, 0u);
  EXPECT_EQ(two->table()->find(two->table()->ctx, Str("lora")), symbol);
  const epp_str text = h.symbol_text(h.ctx, symbol);
  EXPECT_EQ(std::string_view(text.data, text.size), "lora");
}

TEST_F(HostServicesTest, Metrics) {
  const auto own = services_.ForInstance("a", "a", true);
  const auto foreign = services_.ForInstance("b", "b", false);
  const epp_str labels[] = {Str("model"), Str("pod")};
  const double bounds[] = {0.1, 1, 10};
  epp_error err{};
  err.struct_size = sizeof(err);
  const auto add = [&](const InstanceHost& host, int32_t kind, std::string_view name,
                       std::span<const double> b = {}) {
    const epp_host& h = *host.table();
    return h.metric_register(h.ctx, kind, Str(name), Str("help"), labels, 2, b.data(),
                             static_cast<uint32_t>(b.size()), &err);
  };
  EXPECT_EQ(add(*own, EPP_METRIC_COUNTER, "hits_total"), 1u);
  EXPECT_EQ(add(*foreign, EPP_METRIC_HISTOGRAM, "size", bounds), 2u);
  EXPECT_EQ(metrics_.specs[0].name, "hits_total");
  EXPECT_EQ(metrics_.specs[1].name, "epp_plugin_size");
  EXPECT_THAT(metrics_.specs[1].label_names, ElementsAre("model", "pod"));
  EXPECT_THAT(metrics_.specs[1].bounds, ElementsAre(0.1, 1, 10));

  const double falling[] = {2, 1};
  EXPECT_EQ(add(*own, EPP_METRIC_HISTOGRAM, "size", falling), 0u);
  EXPECT_EQ(err.code, EPP_INVALID_ARGUMENT);
  EXPECT_THAT(err.message, HasSubstr("rising bounds"));
  EXPECT_EQ(add(*own, EPP_METRIC_COUNTER, "size", bounds), 0u);
  EXPECT_EQ(add(*own, EPP_METRIC_COUNTER, "bad name"), 0u);
  EXPECT_EQ(add(*own, 17, "name"), 0u);
  EXPECT_THAT(metrics_.specs, SizeIs(2));

  const epp_host& h = *own->table();
  const epp_str values[] = {Str("m"), Str("\xff")};
  const uint64_t series = h.metric_series(h.ctx, 1, values, 2);
  EXPECT_EQ(series, 101u);
  EXPECT_THAT(metrics_.labels, ElementsAre("m", "\xEF\xBF\xBD"));
  h.metric_add(h.ctx, series, 2.5);
  h.metric_add(h.ctx, 0, 2.5);
  EXPECT_THAT(metrics_.adds, ElementsAre(std::pair<uint64_t, double>(101, 2.5)));

  own->EndCreate();
  EXPECT_EQ(add(*own, EPP_METRIC_COUNTER, "late_total"), 0u);
  EXPECT_EQ(err.code, EPP_FAILED_PRECONDITION);
}

TEST_F(HostServicesTest, LateCallsAreHarmlessAndReportedOnce) {
  auto host = services_.ForInstance("queue-scorer", "queue", true);
  const epp_host& h = *host->table();
  host.reset();
  EXPECT_FALSE(h.log_enabled(h.ctx, EPP_LOG_ERROR));
  h.log(h.ctx, EPP_LOG_ERROR, Str("unheard"));
  h.metric_add(h.ctx, 7, 1);
  EXPECT_EQ(h.intern(h.ctx, Str("x")), 0u);
  EXPECT_EQ(h.symbol_text(h.ctx, 1).size, 0u);
  EXPECT_GT(h.mono_ns(h.ctx), 0u);
  (void)h.random_u64(h.ctx);
  EXPECT_EQ(h.metric_register(h.ctx, 1, Str("x"), Str("x"), nullptr, 0, nullptr, 0, nullptr), 0u);
  EXPECT_THAT(log_.lines, ElementsAre(HasSubstr("queue-scorer/queue 4 misbehaves: called "
                                                "log_enabled after its instance was destroyed")));
  EXPECT_EQ(services_.late_calls(), 8u);
  EXPECT_THAT(metrics_.adds, IsEmpty());
}

TEST_F(HostServicesTest, ADeadTableIsNotHandedOutSoon) {
  const epp_host* dead = services_.ForInstance("a", "a", true)->table();
  for (int i = 0; i < 500; ++i) {
    EXPECT_NE(services_.ForInstance("b", "b", true)->table(), dead);
  }
  // Nor does the memory grow without end.
  std::set<const epp_host*> tables;
  for (int i = 0; i < 5000; ++i) tables.insert(services_.ForInstance("b", "b", true)->table());
  EXPECT_LT(tables.size(), 1100u);
}

TEST_F(HostServicesTest, RandomnessDiffersByThread) {
  const auto host = services_.ForInstance("a", "a", true);
  const epp_host& h = *host->table();
  std::mutex mutex;
  std::set<uint64_t> seen;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        const uint64_t value = h.random_u64(h.ctx);
        std::lock_guard lock(mutex);
        seen.insert(value);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(seen, SizeIs(4000));
}

}  // namespace
}  // namespace epp::loader
