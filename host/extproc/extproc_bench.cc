// CPU time per stream of the ext-proc server, against a bare gRPC server that answers the same
// messages without looking at them. Both run in a process of their own, in turns, under the same
// load; the ratio is the result, because the absolute figures depend on the machine.
//
//   extproc_bench [rounds] [seconds a round]

#include <grpcpp/create_channel.h>
#include <grpcpp/grpcpp.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "host/extproc/ext_proc.grpc.pb.h"
#include "host/extproc/grpc_server.h"
#include "host/extproc/stream.h"

namespace {

using epp::extproc::GrpcServer;
using epp::extproc::ServerOptions;
namespace pb = epp::extproc::pb;

constexpr int kClientThreads = 32;
constexpr int kChannels = 4;

struct Shape {
  const char* name;
  size_t body_bytes;
  int response_chunks;
};
constexpr Shape kShapes[] = {{"1 KiB body", 1024, 0},
                             {"32 KiB body", 32768, 0},
                             {"1 KiB body, 20 response chunks", 1024, 20}};

// ---- The two servers

class ForwardExchange final : public epp::request::Exchange {
 public:
  epp::request::RequestVerdict OnRequestHeaders(std::span<const epp::request::Header>,
                                                const epp::request::Metadata&, bool) override {
    return {};
  }
  epp::request::RequestVerdict OnRequestBody(epp::request::Body body,
                                             const epp::request::Metadata&) override {
    epp::request::RequestVerdict verdict;
    verdict.kind = epp::request::RequestVerdict::Kind::kForward;
    verdict.headers.set = {{"x-gateway-destination-endpoint", "10.0.0.1:8000"},
                           {"Content-Length", std::to_string(body.size)},
                           {"traceparent", std::string(55, '0')}};
    verdict.metadata = {{"envoy.lb", "x-gateway-destination-endpoint", "10.0.0.1:8000"}};
    verdict.body = {body.view()};
    return verdict;
  }
  epp::request::RequestVerdict TakeVerdict() override { return {}; }
  epp::request::ResponseHeadersVerdict OnResponseHeaders(std::span<const epp::request::Header>,
                                                         const epp::request::Metadata&,
                                                         bool) override {
    return {};
  }
  epp::request::ResponseBodyVerdict OnResponseBody(std::string_view, bool) override { return {}; }
  void OnStreamEnd(epp::request::StreamEnd) override {}
};

class ForwardFactory final : public epp::request::ExchangeFactory {
 public:
  std::unique_ptr<epp::request::Exchange> NewExchange(
      uint32_t, std::shared_ptr<epp::request::Waker>) override {
    return std::make_unique<ForwardExchange>();
  }
  uint64_t max_body_bytes() const override { return 0; }
};

void FillHeadersResponse(size_t body_bytes, pb::ProcessingResponse* out) {
  auto* response = out->mutable_request_headers()->mutable_response();
  response->set_clear_route_cache(true);
  const std::pair<const char*, std::string> headers[] = {
      {"x-gateway-destination-endpoint", "10.0.0.1:8000"},
      {"Content-Length", std::to_string(body_bytes)},
      {"traceparent", std::string(55, '0')}};
  for (const auto& [name, value] : headers) {
    auto* header = response->mutable_header_mutation()->add_set_headers()->mutable_header();
    header->set_key(name);
    header->set_raw_value(value);
  }
  auto& space = (*out->mutable_dynamic_metadata()->mutable_fields())["envoy.lb"];
  (*space.mutable_struct_value()->mutable_fields())["x-gateway-destination-endpoint"]
      .set_string_value("10.0.0.1:8000");
}

// The least that a completion-queue server must do: read, answer, finish.
class BareCall {
 public:
  BareCall(pb::ExternalProcessor::AsyncService* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue) {
    service->RequestProcess(&context_, &io_, queue, queue, this);
  }

  void Complete(bool ok) {
    switch (step_) {
      case Step::kAccept:
        if (!ok) {
          delete this;
          return;
        }
        new BareCall(service_, queue_);
        Read();
        break;
      case Step::kRead:
        if (!ok) {
          step_ = Step::kFinish;
          io_.Finish(grpc::Status::OK, this);
          return;
        }
        Answer();
        break;
      case Step::kWriteHeaders: {
        pb::ProcessingResponse response;
        auto* piece = Streamed(response.mutable_request_body());
        piece->set_body(std::move(*request_.mutable_request_body()->mutable_body()));
        piece->set_end_of_stream(true);
        Write(response, Step::kWrite);
        break;
      }
      case Step::kWrite:
        Read();
        break;
      case Step::kFinish:
        delete this;
        break;
    }
  }

 private:
  enum class Step { kAccept, kRead, kWriteHeaders, kWrite, kFinish };

  static pb::StreamedBodyResponse* Streamed(pb::BodyResponse* body) {
    return body->mutable_response()->mutable_body_mutation()->mutable_streamed_response();
  }
  void Read() {
    step_ = Step::kRead;
    io_.Read(&request_, this);
  }
  void Write(const pb::ProcessingResponse& response, Step step) {
    step_ = step;
    io_.Write(response, this);
  }
  void Answer() {
    pb::ProcessingResponse response;
    switch (request_.request_case()) {
      case pb::ProcessingRequest::kRequestBody:
        FillHeadersResponse(request_.request_body().body().size(), &response);
        return Write(response, Step::kWriteHeaders);
      case pb::ProcessingRequest::kResponseHeaders:
        response.mutable_response_headers()->mutable_response();
        return Write(response, Step::kWrite);
      case pb::ProcessingRequest::kResponseBody: {
        auto* piece = Streamed(response.mutable_response_body());
        piece->set_end_of_stream(request_.response_body().end_of_stream());
        piece->set_body(std::move(*request_.mutable_response_body()->mutable_body()));
        return Write(response, Step::kWrite);
      }
      default:
        return Read();
    }
  }

  pb::ExternalProcessor::AsyncService* service_;
  grpc::ServerCompletionQueue* queue_;
  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<pb::ProcessingResponse, pb::ProcessingRequest> io_{&context_};
  pb::ProcessingRequest request_;
  Step step_ = Step::kAccept;
};

void AnnouncePort(int port) {
  std::printf("%d\n", port);
  std::fflush(stdout);
}

// Serves until standard input ends.
void Serve(const std::string& kind) {
  if (kind == "ours") {
    ForwardFactory factory;
    ServerOptions options;
    options.address = "127.0.0.1";
    options.port = 0;
    options.workers = 1;
    options.tls.secure = false;
    auto server = GrpcServer::Start(options, factory);
    if (!server.ok()) std::exit(1);
    AnnouncePort((*server)->port());
    while (std::getchar() != EOF) {
    }
    std::_Exit(0);
  }
  pb::ExternalProcessor::AsyncService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  auto queue = builder.AddCompletionQueue();
  auto server = builder.BuildAndStart();
  std::thread worker([&] {
    for (int i = 0; i < 4; ++i) new BareCall(&service, queue.get());
    void* tag;
    bool ok;
    while (queue->Next(&tag, &ok)) static_cast<BareCall*>(tag)->Complete(ok);
  });
  AnnouncePort(port);
  while (std::getchar() != EOF) {
  }
  std::_Exit(0);
}

// ---- The load

pb::ProcessingRequest RequestHeaders() {
  pb::ProcessingRequest message;
  auto* map = message.mutable_request_headers()->mutable_headers();
  for (int i = 0; i < 14; ++i) {
    auto* header = map->add_headers();
    header->set_key("x-some-header-" + std::to_string(i));
    header->set_raw_value("some value that is long enough " + std::to_string(i));
  }
  return message;
}

bool RunStream(pb::ExternalProcessor::Stub* stub, const Shape& shape,
               const pb::ProcessingRequest& headers, const std::string& body) {
  grpc::ClientContext context;
  auto stream = stub->Process(&context);
  pb::ProcessingRequest message;
  pb::ProcessingResponse response;
  stream->Write(headers);
  message.mutable_request_body()->set_body(body);
  message.mutable_request_body()->set_end_of_stream(true);
  stream->Write(message);
  bool good = stream->Read(&response) && response.has_request_headers() &&
              stream->Read(&response) && response.has_request_body();
  if (shape.response_chunks > 0) {
    message.mutable_response_headers();
    stream->Write(message);
    good = good && stream->Read(&response);
    for (int i = 0; i < shape.response_chunks; ++i) {
      message.mutable_response_body()->set_body(std::string(200, 'r'));
      message.mutable_response_body()->set_end_of_stream(i + 1 == shape.response_chunks);
      stream->Write(message);
      good = good && stream->Read(&response) && response.has_response_body();
    }
  }
  stream->WritesDone();
  return stream->Finish().ok() && good;
}

struct Child {
  pid_t pid = 0;
  int input = -1;
  int port = 0;
};

Child Spawn(const char* self, const char* kind) {
  int to_child[2];
  int from_child[2];
  if (pipe(to_child) != 0 || pipe(from_child) != 0) std::exit(1);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to_child[0], 0);
  posix_spawn_file_actions_adddup2(&actions, from_child[1], 1);
  for (int fd : {to_child[0], to_child[1], from_child[0], from_child[1]}) {
    posix_spawn_file_actions_addclose(&actions, fd);
  }
  std::string serve = std::string("--serve=") + kind;
  char* arguments[] = {const_cast<char*>(self), serve.data(), nullptr};
  Child child;
  if (posix_spawn(&child.pid, self, &actions, nullptr, arguments, environ) != 0) std::exit(1);
  posix_spawn_file_actions_destroy(&actions);
  close(to_child[0]);
  close(from_child[1]);
  child.input = to_child[1];
  char text[16] = {};
  if (read(from_child[0], text, sizeof(text) - 1) <= 0) std::exit(1);
  close(from_child[0]);
  child.port = std::atoi(text);
  return child;
}

double CpuSeconds(pid_t pid) {
  clockid_t clock;
  timespec time = {};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) std::exit(1);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Microseconds of the server's CPU per stream.
double Measure(const char* self, const char* kind, const Shape& shape, double seconds) {
  const Child child = Spawn(self, kind);
  std::vector<std::unique_ptr<pb::ExternalProcessor::Stub>> stubs;
  for (int i = 0; i < kChannels; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stubs.push_back(pb::ExternalProcessor::NewStub(grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(child.port), grpc::InsecureChannelCredentials(), arguments)));
  }
  const pb::ProcessingRequest headers = RequestHeaders();
  const std::string body(shape.body_bytes, 'b');
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> streams{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kClientThreads; ++t) {
    threads.emplace_back([&, t] {
      while (!stop) {
        if (!RunStream(stubs[static_cast<size_t>(t % kChannels)].get(), shape, headers, body)) {
          std::fprintf(stderr, "a stream failed\n");
          std::exit(1);
        }
        ++streams;
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const double cpu = CpuSeconds(child.pid);
  const uint64_t before = streams;
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const double used = CpuSeconds(child.pid) - cpu;
  const uint64_t done = streams - before;
  stop = true;
  for (std::thread& thread : threads) thread.join();
  close(child.input);
  waitpid(child.pid, nullptr, 0);
  return used * 1e6 / static_cast<double>(std::max<uint64_t>(done, 1));
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strncmp(argv[1], "--serve=", 8) == 0) {
    Serve(argv[1] + 8);
    return 0;
  }
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 5;
  const double seconds = argc > 2 ? std::atof(argv[2]) : 1.5;
  for (const Shape& shape : kShapes) {
    std::vector<double> ours;
    std::vector<double> bare;
    std::vector<double> ratios;
    for (int i = 0; i < rounds; ++i) {
      ours.push_back(Measure("/proc/self/exe", "ours", shape, seconds));
      bare.push_back(Measure("/proc/self/exe", "bare", shape, seconds));
      ratios.push_back(ours.back() / bare.back());
    }
    std::printf("%-32s ours %6.1f us/stream, bare %6.1f, ratio %.2f\n", shape.name, Median(ours),
                Median(bare), Median(ratios));
    std::fflush(stdout);
  }
  return 0;
}
