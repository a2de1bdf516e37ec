#include "host/extproc/grpc_server.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/extproc/ext_proc.grpc.pb.h"
#include "host/extproc/fake_exchange.h"
#include "host/extproc/health.grpc.pb.h"
#include "host/extproc/library_logs.h"
#include "host/extproc/stream.h"

namespace epp::extproc {
namespace {

using ::testing::Contains;
using testing::FakeExchange;
using testing::FakeFactory;
using ::testing::HasSubstr;
using Verdict = request::RequestVerdict;

// Waits until `condition` holds; false after ten seconds.
bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// One stream of a client. Ends cancelled when it is not finished.
class ClientStream {
 public:
  explicit ClientStream(const std::shared_ptr<grpc::Channel>& channel,
                        const std::function<void(grpc::ClientContext&)>& prepare = nullptr)
      : stub_(pb::ExternalProcessor::NewStub(channel)) {
    if (prepare) prepare(context_);
    stream_ = stub_->Process(&context_);
  }
  ~ClientStream() {
    if (!finished_) {
      context_.TryCancel();
      (void)stream_->Finish();
    }
  }

  bool Headers(bool end) {
    pb::ProcessingRequest message;
    message.mutable_request_headers()->set_end_of_stream(end);
    auto* path = message.mutable_request_headers()->mutable_headers()->add_headers();
    path->set_key(":path");
    path->set_raw_value("/v1/completions");
    return stream_->Write(message);
  }
  bool Body(std::string bytes, bool end) {
    pb::ProcessingRequest message;
    message.mutable_request_body()->set_body(std::move(bytes));
    message.mutable_request_body()->set_end_of_stream(end);
    return stream_->Write(message);
  }
  bool ResponseHeaders() {
    pb::ProcessingRequest message;
    message.mutable_response_headers();
    return stream_->Write(message);
  }
  bool ResponseBody(std::string bytes, bool end) {
    pb::ProcessingRequest message;
    message.mutable_response_body()->set_body(std::move(bytes));
    message.mutable_response_body()->set_end_of_stream(end);
    return stream_->Write(message);
  }
  bool Read(pb::ProcessingResponse* response) { return stream_->Read(response); }

  // Reads the answer to a request; its body, or "?" and what came instead.
  std::string ReadAnswer() {
    pb::ProcessingResponse response;
    if (!Read(&response)) return "? nothing";
    if (!response.has_request_headers()) return "? " + response.ShortDebugString();
    std::string body;
    do {
      if (!Read(&response)) return "? no body";
      body += response.request_body().response().body_mutation().streamed_response().body();
    } while (
        !response.request_body().response().body_mutation().streamed_response().end_of_stream());
    return body;
  }

  void HalfClose() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() {
    finished_ = true;
    pb::ProcessingResponse rest;
    while (stream_->Read(&rest)) {
    }
    return stream_->Finish();
  }
  grpc::Status Close() {
    HalfClose();
    return Finish();
  }

 private:
  std::unique_ptr<pb::ExternalProcessor::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<pb::ProcessingRequest, pb::ProcessingResponse>> stream_;
  bool finished_ = false;
};

class GrpcServerTest : public ::testing::Test {
 protected:
  void Start(ServerOptions options = {}) {
    options.address = "127.0.0.1";
    options.port = 0;
    options.tls.secure = false;
    if (options.workers == 0) options.workers = 2;
    auto started = GrpcServer::Start(options, factory);
    ASSERT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
    channel = Connect();
  }
  std::shared_ptr<grpc::Channel> Connect() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server->port()),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  FakeFactory factory;
  std::unique_ptr<GrpcServer> server;
  std::shared_ptr<grpc::Channel> channel;
};

TEST_F(GrpcServerTest, C020_WholeExchange) {
  Start();
  ClientStream client(channel);
  ASSERT_TRUE(client.Headers(false));
  ASSERT_TRUE(client.Body("{\"model\"", false));
  ASSERT_TRUE(client.Body(":1}", true));
  EXPECT_EQ(client.ReadAnswer(), "{\"model\":1}");
  ASSERT_TRUE(client.ResponseHeaders());
  pb::ProcessingResponse response;
  ASSERT_TRUE(client.Read(&response));
  EXPECT_TRUE(response.has_response_headers());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(client.ResponseBody(std::to_string(i), i == 99));
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(client.Read(&response));
    EXPECT_EQ(response.response_body().response().body_mutation().streamed_response().body(),
              std::to_string(i));
  }
  EXPECT_TRUE(client.Close().ok());
  EXPECT_TRUE(Eventually([&] { return factory.Count("end half-closed") == 1; }));
  EXPECT_TRUE(Eventually([&] { return server->open_streams() == 0; }));
}

TEST_F(GrpcServerTest, C100_BodylessRequestIsRefused) {
  factory.on_bodyless = [](FakeExchange&) {
    return FakeFactory::Immediate(500,
                                  "inference error: Internal - no pods available in datastore");
  };
  Start();
  ClientStream client(channel);
  ASSERT_TRUE(client.Headers(true));
  pb::ProcessingResponse response;
  ASSERT_TRUE(client.Read(&response));
  EXPECT_EQ(response.immediate_response().status().code(), 500);
  EXPECT_EQ(response.immediate_response().body(),
            "inference error: Internal - no pods available in datastore");
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(GrpcServerTest, AStuckWorkerGivesNoSignOfLife) {
  std::atomic<bool> entered{false};
  std::atomic<bool> leave{false};
  factory.on_bodyless = [&](FakeExchange&) {
    entered = true;
    Eventually([&] { return leave.load(); });
    return FakeFactory::Immediate(500, "");
  };
  Start();
  server->Ping();
  ASSERT_TRUE(Eventually([&] { return server->rounds() == 1; }));
  ClientStream client(channel);
  ASSERT_TRUE(client.Headers(true));
  ASSERT_TRUE(Eventually([&] { return entered.load(); }));
  for (int i = 0; i < 100; ++i) server->Ping();
  EXPECT_EQ(server->rounds(), 1u) << "the other worker alone does not count";
  leave = true;
  EXPECT_TRUE(Eventually([&] { return server->rounds() == 2; }));
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(GrpcServerTest, HalfCloseBeforeTheAnswer) {
  Start();
  ClientStream client(channel);
  ASSERT_TRUE(client.Headers(false));
  ASSERT_TRUE(client.Body(std::string(200000, 'x'), true));
  client.HalfClose();
  EXPECT_EQ(client.ReadAnswer().size(), 200000U);
  EXPECT_TRUE(client.Finish().ok());
  EXPECT_TRUE(Eventually([&] { return factory.Count("end half-closed") == 1; }));
}

TEST_F(GrpcServerTest, ConcurrentStreams) {
  Start({.workers = 3});
  constexpr int kThreads = 8;
  constexpr int kStreams = 40;
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto own = t % 2 == 0 ? channel : Connect();
      for (int i = 0; i < kStreams; ++i) {
        ClientStream client(own);
        const std::string body(static_cast<size_t>(1) << (i % 19), static_cast<char>('a' + t));
        client.Headers(false);
        client.Body(body, false);
        client.Body("", true);
        const bool same = client.ReadAnswer() == body;
        if (i % 5 == 4) continue;  // leaves without a word
        if (same && client.Close().ok()) ++good;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, kThreads * kStreams * 4 / 5);
  EXPECT_TRUE(Eventually([&] { return server->open_streams() == 0; }));
  EXPECT_EQ(factory.Count("padding is not zero"), 0U);
  EXPECT_EQ(factory.Count("end half-closed") + factory.Count("end cancelled"),
            size_t{kThreads * kStreams});
}

TEST_F(GrpcServerTest, AnExchangeStaysOnItsWorker) {
  std::mutex mutex;
  std::vector<std::pair<uint32_t, std::thread::id>> seen;
  factory.on_body = [&](FakeExchange& exchange) {
    const std::lock_guard lock(mutex);
    seen.emplace_back(exchange.worker(), std::this_thread::get_id());
    return FakeFactory::Forward(exchange);
  };
  Start({.workers = 2});
  for (int i = 0; i < 8; ++i) {
    ClientStream client(Connect());
    client.Headers(false);
    client.Body("x", true);
    EXPECT_EQ(client.ReadAnswer(), "x");
  }
  const std::lock_guard lock(mutex);
  for (const auto& a : seen) {
    EXPECT_LT(a.first, server->workers());
    for (const auto& b : seen) EXPECT_EQ(a.first == b.first, a.second == b.second);
  }
}

TEST_F(GrpcServerTest, C143_ResetMidStream) {
  Start();
  ClientStream client(channel);
  client.Headers(false);
  client.Body("{}", true);
  EXPECT_EQ(client.ReadAnswer(), "{}");
  client.ResponseHeaders();
  pb::ProcessingResponse response;
  ASSERT_TRUE(client.Read(&response));
  client.Cancel();
  EXPECT_TRUE(Eventually([&] { return factory.Count("end cancelled") == 1; }));
  EXPECT_TRUE(Eventually([&] { return server->open_streams() == 0; }));
}

TEST_F(GrpcServerTest, C142_ResetWhilePending) {
  std::shared_ptr<request::Waker> waker;
  std::atomic<bool> pending{false};
  factory.on_body = [&](FakeExchange& exchange) {
    waker = exchange.waker();
    pending = true;
    return Verdict();
  };
  Start();
  ClientStream client(channel);
  client.Headers(false);
  client.Body("{}", true);
  ASSERT_TRUE(Eventually([&] { return pending.load(); }));
  client.Cancel();
  EXPECT_TRUE(Eventually([&] { return factory.Count("end cancelled") == 1; }));
  waker->Wake();
  server->Stop();
  waker->Wake();
  EXPECT_EQ(factory.Count("take-verdict"), 0U);
}

TEST_F(GrpcServerTest, C111_PendingVerdictIsWokenFromAnotherThread) {
  std::mutex mutex;
  std::vector<std::shared_ptr<request::Waker>> wakers;
  factory.on_body = [&](FakeExchange& exchange) {
    const std::lock_guard lock(mutex);
    wakers.push_back(exchange.waker());
    return Verdict();
  };
  Start();
  std::vector<std::unique_ptr<ClientStream>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<ClientStream>(channel));
    clients.back()->Headers(false);
    clients.back()->Body(std::to_string(i), true);
  }
  ASSERT_TRUE(Eventually([&] {
    const std::lock_guard lock(mutex);
    return wakers.size() == clients.size();
  }));
  EXPECT_EQ(factory.Count("take-verdict"), 0U);
  std::thread waking([&] {
    const std::lock_guard lock(mutex);
    for (const auto& waker : wakers) waker->Wake();
  });
  for (size_t i = 0; i < clients.size(); ++i) {
    EXPECT_EQ(clients[i]->ReadAnswer(), std::to_string(i));
  }
  waking.join();
}

TEST_F(GrpcServerTest, VerdictWokenBeforeTheCallReturns) {
  factory.on_body = [&](FakeExchange& exchange) {
    exchange.waker()->Wake();
    return Verdict();
  };
  Start();
  ClientStream client(channel);
  client.Headers(false);
  client.Body("{}", true);
  EXPECT_EQ(client.ReadAnswer(), "{}");
}

TEST_F(GrpcServerTest, C029_Eviction) {
  std::mutex mutex;
  std::shared_ptr<request::Waker> waker;
  factory.on_body = [&](FakeExchange& exchange) {
    const std::lock_guard lock(mutex);
    waker = exchange.waker();
    return FakeFactory::Forward(exchange);
  };
  factory.take_verdict = [](FakeExchange&) {
    return FakeFactory::Immediate(429, "request evicted by flow control");
  };
  Start();
  ClientStream client(channel);
  client.Headers(false);
  client.Body("{}", true);
  EXPECT_EQ(client.ReadAnswer(), "{}");
  {
    const std::lock_guard lock(mutex);
    waker->Wake();
  }
  pb::ProcessingResponse response;
  ASSERT_TRUE(client.Read(&response));
  EXPECT_EQ(response.immediate_response().status().code(), 429);
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(GrpcServerTest, Deadline) {
  factory.on_body = [](FakeExchange&) { return Verdict(); };
  Start();
  ClientStream client(channel, [](grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  });
  client.Headers(false);
  client.Body("{}", true);
  EXPECT_EQ(client.Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  // The client may reset the stream before the server's own clock says so.
  EXPECT_TRUE(Eventually(
      [&] { return factory.Count("end deadline") + factory.Count("end cancelled") == 1; }));
}

TEST_F(GrpcServerTest, C028_MessageOverTheReceiveLimit) {
  Start();
  ClientStream client(channel);
  client.Headers(false);
  client.Body(std::string(size_t{5} << 20, 'x'), true);
  const grpc::Status status = client.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_THAT(status.error_message(), HasSubstr("cannot receive stream request: received message"));
  EXPECT_EQ(factory.Count("end receive-error"), 1U);
}

TEST_F(GrpcServerTest, LargerReceiveLimit) {
  Start({.max_receive_bytes = uint64_t{8} << 20});
  ClientStream client(channel);
  client.Headers(false);
  client.Body(std::string(size_t{5} << 20, 'x'), true);
  EXPECT_EQ(client.ReadAnswer().size(), size_t{5} << 20);
}

TEST_F(GrpcServerTest, MessageFarOverTheReceiveLimitEndsTheStream) {
  Start({.max_receive_bytes = 1000});
  ClientStream client(channel);
  client.Headers(false);
  client.Body(std::string(size_t{20} << 20, 'x'), true);
  EXPECT_FALSE(client.Finish().ok());
  EXPECT_TRUE(Eventually([&] { return server->open_streams() == 0; }));
}

TEST_F(GrpcServerTest, UnreadableMessage) {
  Start();
  ClientStream client(channel);
  pb::ProcessingRequest message;
  // A string field that is not UTF-8 is written, with a complaint, but not read.
  auto stub = pb::ExternalProcessor::NewStub(channel);
  grpc::ClientContext context;
  auto stream = stub->Process(&context);
  message.mutable_request_headers()->mutable_headers()->add_headers()->set_value("\xff");
  ASSERT_TRUE(stream->Write(message));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_EQ(status.error_message(),
            "cannot receive stream request: message is not a ProcessingRequest");
}

std::atomic<int> g_library_errors{0};

TEST_F(GrpcServerTest, LibraryLogsAreRouted) {
  RouteLibraryLogs([](LibraryLogLevel level, std::string_view) {
    if (level == LibraryLogLevel::kError) ++g_library_errors;
  });
  g_library_errors = 0;
  pb::HeaderValue header;
  EXPECT_FALSE(header.ParseFromString("\x12\x01\xff"));
  EXPECT_EQ(g_library_errors, 1);
  Start();
  ServerOptions options;
  options.address = "127.0.0.1";
  options.port = server->port();
  options.tls.secure = false;
  EXPECT_FALSE(GrpcServer::Start(options, factory).ok());
  EXPECT_GT(g_library_errors, 1);
}

TEST_F(GrpcServerTest, MessagesOutOfOrder) {
  Start();
  ClientStream client(channel);
  client.Body("x", true);
  const grpc::Status status = client.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "ext-proc stream: got request_body, want request_headers");
}

TEST_F(GrpcServerTest, C017_Failure) {
  factory.on_body = [](FakeExchange&) {
    Verdict verdict;
    verdict.kind = Verdict::Kind::kFail;
    verdict.failure = absl::UnknownError("failed to handle request: boom");
    return verdict;
  };
  Start();
  ClientStream client(channel);
  client.Headers(false);
  client.Body("x", true);
  const grpc::Status status = client.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_EQ(status.error_message(), "failed to handle request: boom");
}

TEST_F(GrpcServerTest, CompressedRequestsAreRead) {
  Start();
  ClientStream client(channel, [](grpc::ClientContext& context) {
    context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  });
  client.Headers(false);
  client.Body(std::string(100000, 'x'), true);
  EXPECT_EQ(client.ReadAnswer(), std::string(100000, 'x'));
  EXPECT_TRUE(client.Close().ok());
}

TEST_F(GrpcServerTest, SlowReaderHoldsTheServerBack) {
  Start();
  ClientStream client(channel);
  client.Headers(false);
  client.Body(std::string(size_t{3} << 20, 'x'), false);
  client.Body(std::string(size_t{3} << 20, 'x'), false);
  client.Body("", true);
  EXPECT_EQ(client.ReadAnswer().size(), size_t{6} << 20);
  EXPECT_TRUE(client.Close().ok());
}

TEST_F(GrpcServerTest, DrainWaitsForRunningStreams) {
  Start();
  ClientStream client(channel);
  client.Headers(false);
  client.Body("{}", true);
  EXPECT_EQ(client.ReadAnswer(), "{}");
  std::atomic<bool> drained{false};
  std::thread draining([&] {
    server->Drain(absl::ZeroDuration(), absl::InfiniteDuration());
    drained = true;
  });
  ASSERT_TRUE(Eventually([&] {
    ClientStream late(Connect());
    late.Headers(true);
    return late.Close().error_code() == grpc::StatusCode::UNAVAILABLE;
  }));
  EXPECT_FALSE(drained);
  client.ResponseHeaders();
  pb::ProcessingResponse response;
  EXPECT_TRUE(client.Read(&response));
  EXPECT_TRUE(client.Close().ok());
  draining.join();
  EXPECT_EQ(factory.Count("end half-closed"), 1U);
}

TEST_F(GrpcServerTest, DrainCancelsWhatDoesNotEnd) {
  Start();
  ClientStream client(channel);
  client.Headers(false);
  client.Body("{}", true);
  EXPECT_EQ(client.ReadAnswer(), "{}");
  server->Drain(absl::Milliseconds(10), absl::Milliseconds(50));
  EXPECT_FALSE(client.Finish().ok());
  EXPECT_EQ(factory.Count("end cancelled"), 1U);
  EXPECT_EQ(server->open_streams(), 0U);
}

TEST_F(GrpcServerTest, StopCutsADrainShort) {
  Start();
  factory.on_body = [](FakeExchange&) { return Verdict(); };
  std::vector<std::unique_ptr<ClientStream>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<ClientStream>(channel));
    clients.back()->Headers(false);
    clients.back()->Body("{}", i % 2 == 0);
  }
  ASSERT_TRUE(Eventually([&] { return server->open_streams() == clients.size(); }));
  std::thread draining([&] { server->Drain(absl::InfiniteDuration(), absl::InfiniteDuration()); });
  std::thread stopping([&] { server->Stop(); });
  draining.join();
  stopping.join();
  EXPECT_EQ(server->open_streams(), 0U);
}

TEST_F(GrpcServerTest, StopDuringTraffic) {
  Start();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        ClientStream client(channel);
        if (client.Headers(false) && client.Body("{}", true)) (void)client.ReadAnswer();
      }
    });
  }
  ASSERT_TRUE(Eventually([&] { return factory.Count("request-body 2") > 50; }));
  server->Stop();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  server.reset();
}

TEST_F(GrpcServerTest, PortInUseNamesTheHolder) {
  Start();
  ServerOptions options;
  options.address = "127.0.0.1";
  options.port = server->port();
  options.tls.secure = false;
  const auto second = GrpcServer::Start(options, factory);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("port is in use by process " + std::to_string(getpid()) + " ("));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("extproc_test"));
}

TEST_F(GrpcServerTest, HealthIsOffByDefault) {
  Start();
  auto stub = grpc::health::v1::Health::NewStub(channel);
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckResponse response;
  EXPECT_EQ(stub->Check(&context, {}, &response).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(GrpcServerTest, HealthOnTheExtProcPort) {
  Start({.health_checking = true});
  auto stub = grpc::health::v1::Health::NewStub(channel);
  for (const auto& [service, known] : {std::pair<std::string, bool>{"", true},
                                       {"envoy.service.ext_proc.v3.ExternalProcessor", true},
                                       {"unknown", false}}) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub->Check(&context, request, &response);
    EXPECT_EQ(status.error_code(), known ? grpc::StatusCode::OK : grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(response.status(), known ? grpc::health::v1::HealthCheckResponse::SERVING
                                       : grpc::health::v1::HealthCheckResponse::UNKNOWN);

    grpc::ClientContext watching;
    auto watch = stub->Watch(&watching, request);
    ASSERT_TRUE(watch->Read(&response));
    EXPECT_EQ(response.status(), known ? grpc::health::v1::HealthCheckResponse::SERVING
                                       : grpc::health::v1::HealthCheckResponse::SERVICE_UNKNOWN);
    watching.TryCancel();
    EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  grpc::ClientContext context;
  grpc::health::v1::HealthListResponse list;
  EXPECT_TRUE(stub->List(&context, {}, &list).ok());
  EXPECT_EQ(list.statuses_size(), 2);

  // A watch does not hold up a drain without bound.
  grpc::ClientContext watching;
  auto watch = stub->Watch(&watching, {});
  grpc::health::v1::HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  server->Drain(absl::ZeroDuration(), absl::InfiniteDuration());
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  EXPECT_TRUE(watch->Finish().ok());
}

class CountingObserver : public StreamObserver {
 public:
  void OnStreamStart(uint32_t) override { ++started; }
  void OnStreamEnd(uint32_t, int code, int64_t duration_ns) override {
    EXPECT_GE(duration_ns, 0);
    const std::lock_guard lock(mutex_);
    codes_.push_back(code);
  }
  std::vector<int> codes() {
    const std::lock_guard lock(mutex_);
    return codes_;
  }
  std::atomic<int> started{0};

 private:
  std::mutex mutex_;
  std::vector<int> codes_;
};

TEST_F(GrpcServerTest, C122_StreamsAreObserved) {
  CountingObserver observer;
  Start({.observer = &observer});
  {
    ClientStream client(channel);
    client.Headers(true);
    EXPECT_TRUE(client.Close().ok());
  }
  EXPECT_TRUE(Eventually([&] { return observer.codes().size() == 1; }));
  {
    ClientStream client(channel);
    client.Headers(true);
    pb::ProcessingResponse response;
    client.Read(&response);
    client.Cancel();
  }
  EXPECT_TRUE(Eventually([&] { return observer.codes().size() == 2; }));
  {
    ClientStream client(channel);
    client.Body("x", true);
    EXPECT_FALSE(client.Finish().ok());
  }
  EXPECT_TRUE(Eventually([&] { return observer.codes().size() == 3; }));
  EXPECT_EQ(observer.codes(), (std::vector<int>{0, 1, 3}));
  EXPECT_EQ(observer.started, 3);
  server.reset();
}

}  // namespace
}  // namespace epp::extproc
