// The loop against servers on the loopback interface that behave, and some that do not.
#include "host/scrape/scrape_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <map>
#include <mutex>
#include <string>

#include "host/http/test_support.h"

namespace epp::scrape {
namespace {

using http::test::Eventually;
using http::test::RawServer;
using http::test::ReadRequest;
using http::test::SendAll;
using http::test::WaitForClose;
using pool::EndpointState;
using testing::HasSubstr;

std::string Ok(std::string_view body) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

// Answers every request of a connection with what `answer` says.
RawServer::Serve Answering(std::function<std::string()> answer) {
  return [answer = std::move(answer)](int fd, int) {
    while (ReadRequest(fd)) SendAll(fd, answer());
  };
}

// Reads a page that is a number into its attribute 0.
struct NumberExtractor {
  static epp_status Scrape(void* self, const epp_scrape* in, const epp_sink* out,
                           epp_error* err) noexcept {
    auto& me = *static_cast<NumberExtractor*>(self);
    ++me.calls;
    const char* const end = in->body.data + in->body.size;
    for (int i = 0; i < 64; ++i) me.padded = me.padded && end[i] == '\0';
    int64_t value = 0;
    if (std::from_chars(in->body.data, end, value).ptr != end || in->body.size == 0) {
      std::snprintf(err->message, sizeof(err->message), "not a number");
      return EPP_INVALID_ARGUMENT;
    }
    out->set_i64(out->ctx, me.wrong_attribute ? 9 : 0, value);
    return EPP_OK;
  }
  std::atomic<int> calls{0};
  std::atomic<bool> padded{true};
  bool wrong_attribute = false;
  epp_scraper table{sizeof(epp_scraper), 0, "prometheus-text", &Scrape};
};

class Counts : public Observer {
 public:
  void PollFailed(const std::string& source) override { Add("poll " + source); }
  void ExtractFailed(const std::string& source, const std::string& extractor) override {
    Add("extract " + source + " " + extractor);
  }
  int of(const std::string& what) {
    std::lock_guard lock(mutex_);
    return counts_[what];
  }

 private:
  void Add(const std::string& what) {
    std::lock_guard lock(mutex_);
    ++counts_[what];
  }
  std::mutex mutex_;
  std::map<std::string, int> counts_;
};

class ScrapeLoopTest : public testing::Test {
 protected:
  ScrapeLoopTest() {
    options.tick_ns = 2'000'000;
    options.timeout_ns = 150'000'000;
    options.max_backoff_ns = 20'000'000;
  }
  void Start() { loop = std::make_unique<ScrapeLoop>(pool.get(), options, &counts); }

  Source NumberSource(NumberExtractor* extractor, std::string_view path = "/metrics") {
    Source source;
    source.name = "numbers";
    source.type = "number-source";
    source.plan.struct_size = sizeof(epp_fetch_plan);
    source.plan.path = {path.data(), path.size()};
    source.plan.payload = {extractor->table.payload, std::strlen(extractor->table.payload)};
    Extractor e;
    e.type = "number-extractor";
    e.self = extractor;
    e.table = &extractor->table;
    e.attributes = {number};
    e.types = {EPP_T_I64};
    source.extractors.push_back(std::move(e));
    return source;
  }
  void Join(std::string name, uint16_t port, std::string address = "127.0.0.1",
            std::vector<std::pair<std::string, std::string>> labels = {}) {
    pool->Upsert({"ns", std::move(name), std::move(address), port, 0, std::move(labels)});
  }
  size_t Row(const pool::Frame& frame, const std::string& name) {
    for (size_t row = 0; row < frame.size(); ++row) {
      if (frame.owners()[row]->fields().name == name) return row;
    }
    return frame.size();
  }
  bool HasState(const std::string& name, EndpointState state) {
    const auto frame = pool->current();
    const size_t row = Row(*frame, name);
    return row < frame->size() && frame->states()[row] == state;
  }
  std::optional<int64_t> Value(const std::string& name) {
    const auto frame = pool->current();
    const size_t row = Row(*frame, name);
    const epp_column& column = frame->column(number);
    if (row == frame->size() || column.values == nullptr) return std::nullopt;
    if ((column.validity[row / 64] >> (row % 64) & 1) == 0) return std::nullopt;
    return static_cast<const int64_t*>(column.values)[row];
  }
  FetchStatus StatusOf(const std::string& name) {
    for (const FetchStatus& status : loop->status()) {
      if (status.endpoint == "ns/" + name) return status;
    }
    return {};
  }

  static pool::Pool::Options PoolOptions() {
    pool::Pool::Options options;
    options.publish_interval_ns = 1'000'000;
    return options;
  }

  std::shared_ptr<pool::AttributeRegistry> attributes = std::make_shared<pool::AttributeRegistry>();
  pool::AttributeId number = *attributes->Register("number", "test", EPP_T_I64);
  std::unique_ptr<pool::Pool> pool = std::make_unique<pool::Pool>(
      attributes, std::make_shared<Interner>(), &Clock::Real(), PoolOptions());
  ScrapeLoop::Options options;
  Counts counts;
  NumberExtractor extractor;
  std::unique_ptr<ScrapeLoop> loop;
};

TEST_F(ScrapeLoopTest, FollowsAPage) {
  std::atomic<int> value{5};
  RawServer server(Answering([&] { return Ok(std::to_string(value.load())); }));
  Start();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  Join("a", server.port());
  ASSERT_TRUE(Eventually([&] { return Value("a") == 5; }));
  EXPECT_TRUE(HasState("a", EndpointState::kFresh));
  value = 6;
  EXPECT_TRUE(Eventually([&] { return Value("a") == 6; }));
  EXPECT_TRUE(extractor.padded.load());
  EXPECT_EQ(server.connections(), 1) << "the connection is kept";
  const FetchStatus status = StatusOf("a");
  EXPECT_EQ(status.failures, 0u);
  EXPECT_GT(status.last_good_ns, 0u);
  EXPECT_EQ(status.source, "numbers");
}

TEST_F(ScrapeLoopTest, ANewEndpointIsScrapedAtOnce) {
  RawServer server(Answering([] { return Ok("1"); }));
  options.tick_ns = 3'600'000'000'000;
  Start();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  Join("a", server.port());
  EXPECT_TRUE(Eventually([&] { return Value("a") == 1; }));
  EXPECT_EQ(extractor.calls.load(), 1);
}

TEST_F(ScrapeLoopTest, GivesASignOfLife) {
  Start();
  EXPECT_EQ(loop->rounds(), 0u);
  loop->Ping();
  EXPECT_TRUE(Eventually([&] { return loop->rounds() == 1; }));
}

TEST_F(ScrapeLoopTest, OneFetchAtATime) {
  std::atomic<int> open{0}, most{0}, served{0};
  RawServer server([&](int fd, int) {
    while (ReadRequest(fd)) {
      most = std::max(most.load(), ++open);
      ::usleep(10'000);  // longer than several ticks: the server is slow, the test does not wait
      --open;
      SendAll(fd, Ok("1"));
      ++served;
    }
  });
  Start();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  Join("a", server.port());
  EXPECT_TRUE(Eventually([&] { return served.load() > 5; }));
  loop.reset();
  EXPECT_EQ(most.load(), 1);
}

TEST_F(ScrapeLoopTest, ADeadEndpointIsUnreachableAtOnceAndComesBack) {
  uint16_t port = 0;
  {
    port = RawServer([](int, int) {}).port();
  }
  Start();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  Join("a", port);
  ASSERT_TRUE(Eventually([&] { return HasState("a", EndpointState::kUnreachable); }));
  EXPECT_THAT(StatusOf("a").last_error, HasSubstr("connect"));
  EXPECT_GT(counts.of("poll number-source"), 0);

  RawServer server(Answering([] { return Ok("1"); }));
  Join("a", server.port());
  EXPECT_TRUE(Eventually([&] { return HasState("a", EndpointState::kFresh); }));
  EXPECT_EQ(StatusOf("a").failures_in_a_row, 0u);
}

struct BadServer {
  const char* name;
  RawServer::Serve serve;
  const char* error;
};

TEST_F(ScrapeLoopTest, BadServersAreUnreachableAfterThreeFailures) {
  const std::string huge(300'000, '1');
  const BadServer servers[] = {
      {"hanging", [](int fd, int) { WaitForClose(fd); }, "timeout"},
      {"closing", [](int fd, int) { ReadRequest(fd); }, "closed"},
      {"lying",
       [](int fd, int) {
         ReadRequest(fd);
         SendAll(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n123");
       },
       "closed"},
      {"garbage",
       [](int fd, int) {
         ReadRequest(fd);
         SendAll(fd, "\x16\x03\x01 this is not HTTP\r\n\r\n");
         WaitForClose(fd);
       },
       "malformed"},
      {"huge", Answering([huge] { return Ok(huge); }), "too-large"},
      {"failing", Answering([] { return "HTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\n1"; }),
       "HTTP status 503"},
  };
  options.max_body_bytes = 100'000;
  std::vector<std::unique_ptr<RawServer>> running;
  Start();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  for (const BadServer& bad : servers) {
    running.push_back(std::make_unique<RawServer>(bad.serve));
    Join(bad.name, running.back()->port());
  }
  for (const BadServer& bad : servers) {
    EXPECT_TRUE(Eventually([&] { return HasState(bad.name, EndpointState::kUnreachable); }))
        << bad.name;
    const FetchStatus status = StatusOf(bad.name);
    EXPECT_GE(status.failures_in_a_row, options.unreachable_after) << bad.name;
    EXPECT_THAT(status.last_error, HasSubstr(bad.error)) << bad.name;
    EXPECT_EQ(Value(bad.name), std::nullopt) << bad.name;
  }
  EXPECT_EQ(extractor.calls.load(), 0);
  loop.reset();
}

TEST_F(ScrapeLoopTest, FailuresSlowDown) {
  std::atomic<int> requests{0};
  RawServer server(Answering([&] {
    ++requests;
    return std::string("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
  }));
  options.tick_ns = 1'000'000;
  options.max_backoff_ns = 3'600'000'000'000;
  Start();
  const uint64_t start = Clock::Real().mono_ns();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  Join("a", server.port());
  ASSERT_TRUE(Eventually([&] { return requests.load() == 7; }));
  // 2 + 4 + ... + 64 ms, the first of them anywhere in its period, the others less a tenth.
  EXPECT_GE(Clock::Real().mono_ns() - start, uint64_t{100'000'000});
}

TEST_F(ScrapeLoopTest, AnUnreadablePageIsNoSampleButNoOutage) {
  RawServer server(Answering([] { return Ok("not a number"); }));
  Start();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  Join("a", server.port());
  ASSERT_TRUE(Eventually([&] { return counts.of("extract number-source number-extractor") > 5; }));
  EXPECT_TRUE(HasState("a", EndpointState::kUnknown));
  EXPECT_EQ(StatusOf("a").last_error, "number-extractor: not a number");
  EXPECT_EQ(counts.of("poll number-source"), 0);
}

TEST_F(ScrapeLoopTest, AnUndeclaredAttributeIsRefusedAndCounted) {
  RawServer server(Answering([] { return Ok("1"); }));
  extractor.wrong_attribute = true;
  Start();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  Join("a", server.port());
  EXPECT_TRUE(Eventually([&] { return counts.of("extract number-source number-extractor") > 0; }));
  EXPECT_EQ(Value("a"), std::nullopt);
}

TEST_F(ScrapeLoopTest, ARemovedEndpointIsLeftAlone) {
  std::atomic<int> requests{0};
  RawServer server(Answering([&] {
    ++requests;
    return Ok("1");
  }));
  Start();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  Join("a", server.port());
  ASSERT_TRUE(Eventually([&] { return requests.load() > 2; }));
  const auto held = pool->current();  // as a worker without requests does
  pool->Remove("ns", "a");
  ASSERT_TRUE(Eventually([&] { return loop->status().empty(); }));
  const int before = extractor.calls.load();
  Join("b", server.port());
  ASSERT_TRUE(Eventually([&] { return Value("b") == 1; }));
  EXPECT_GE(extractor.calls.load(), before + 1);
}

TEST_F(ScrapeLoopTest, SourcesAreReplacedAndReleasedHere) {
  RawServer server(Answering([] { return Ok("1"); }));
  std::thread::id released;
  {
    Source source = NumberSource(&extractor);
    source.owner = std::shared_ptr<int>(new int(0), [&](int* p) {
      released = std::this_thread::get_id();
      delete p;
    });
    Start();
    Join("a", server.port());
    ASSERT_TRUE(loop->SetSources({std::move(source)}).ok());
  }
  ASSERT_TRUE(Eventually([&] { return Value("a") == 1; }));
  NumberExtractor second;
  ASSERT_TRUE(loop->SetSources({NumberSource(&second)}).ok());
  EXPECT_EQ(released, std::this_thread::get_id());
  const int calls = extractor.calls.load();
  EXPECT_TRUE(Eventually([&] { return second.calls.load() > 2; }));
  EXPECT_EQ(extractor.calls.load(), calls);
  EXPECT_EQ(server.connections(), 1) << "the same plan goes on over the same connection";
  NumberExtractor third;
  ASSERT_TRUE(loop->SetSources({NumberSource(&third, "/other")}).ok());
  EXPECT_TRUE(Eventually([&] { return third.calls.load() > 0; }));
  EXPECT_EQ(loop->status().size(), 1u);
  ASSERT_TRUE(loop->SetSources({}).ok());
  EXPECT_TRUE(loop->status().empty());
}

TEST_F(ScrapeLoopTest, OnlyPrometheusPagesDecideOnFreshness) {
  RawServer server([](int fd, int) {
    std::string head;
    while (ReadRequest(fd, &head)) {
      SendAll(fd, head.find("/models") != std::string::npos
                      ? Ok("7")
                      : "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
      head.clear();
    }
  });
  NumberExtractor models;
  models.table.payload = "openai-models";
  Start();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor), NumberSource(&models, "/models")}).ok());
  Join("a", server.port());
  ASSERT_TRUE(Eventually([&] { return Value("a") == 7; }));
  EXPECT_TRUE(Eventually([&] { return HasState("a", EndpointState::kUnreachable); }));
  ASSERT_TRUE(loop->SetSources({NumberSource(&models, "/models")}).ok());
  EXPECT_TRUE(Eventually([&] { return HasState("a", EndpointState::kFresh); }))
      << "without a source of Prometheus pages all decide";
  loop.reset();  // before what it calls
}

TEST_F(ScrapeLoopTest, WhereAnEndpointIsAsked) {
  RawServer own(Answering([] { return Ok("1"); }));
  RawServer other(Answering([] { return Ok("2"); }));
  options.metrics_labels = true;
  Start();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  Join("plain", own.port());
  Join("name", own.port(), "localhost");
  Join("labelled", own.port(), "127.0.0.99",
       {{"metricsAddress", "127.0.0.1"}, {"metricsPort", std::to_string(other.port())}});
  EXPECT_TRUE(Eventually(
      [&] { return Value("plain") == 1 && Value("name") == 1 && Value("labelled") == 2; }));
  Source fixed = NumberSource(&extractor);
  fixed.plan.port = other.port();
  ASSERT_TRUE(loop->SetSources({fixed}).ok());
  EXPECT_TRUE(Eventually([&] { return Value("plain") == 2; }));
}

TEST_F(ScrapeLoopTest, PlansThatCannotBeFollowed) {
  Start();
  const auto error = [&](const std::function<void(Source&)>& change) {
    Source source = NumberSource(&extractor);
    change(source);
    return std::string(loop->SetSources({source}).message());
  };
  EXPECT_THAT(error([](Source& s) { s.plan.port = 70000; }), HasSubstr("port is 70000"));
  EXPECT_THAT(error([](Source& s) { s.plan.path = {"x", 1}; }), HasSubstr("path is \"x\""));
  EXPECT_THAT(error([](Source& s) {
                s.plan.payload = {"json", 4};
              }),
              HasSubstr("it delivers json, but extractor number-extractor reads prometheus-text"));
  EXPECT_THAT(error([](Source& s) {
                s.plan.flags = EPP_SOURCE_TLS;
                s.plan.ca_file = {"/nonexistent", 12};
              }),
              HasSubstr("/nonexistent: not readable"));
}

TEST_F(ScrapeLoopTest, ManyEndpointsComeAndGo) {
  RawServer server(Answering([] { return Ok("1"); }));
  Start();
  ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 20; ++i) Join("e" + std::to_string(i), server.port());
    ASSERT_TRUE(Eventually([&] { return Value("e" + std::to_string(round)) == 1; }));
    NumberExtractor once;
    ASSERT_TRUE(loop->SetSources({NumberSource(&extractor), NumberSource(&once, "/once")}).ok());
    for (int i = 0; i < 20; ++i) pool->Remove("ns", "e" + std::to_string(i));
    ASSERT_TRUE(loop->SetSources({NumberSource(&extractor)}).ok());
  }
}

}  // namespace
}  // namespace epp::scrape
