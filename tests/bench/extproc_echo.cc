// The floor under our ext-proc server: the same transport with the same settings (completion queues
// with a thread each, raw messages, arenas), the same sequence of messages, and no thought.
//
// Request headers are answered when the body is complete, with three headers, the cleared route
// cache and dynamic metadata; the body goes back in pieces of 62,000 bytes; response messages go
// back one for one. Prints the port, then serves until it is killed.

#include <google/protobuf/arena.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>
#include <sys/prctl.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "host/extproc/ext_proc.grpc.pb.h"

namespace {

namespace pb = envoy::service::ext_proc::v3;
using Service = pb::ExternalProcessor::WithRawMethod_Process<pb::ExternalProcessor::Service>;

constexpr size_t kPieceBytes = 62000;
constexpr int kAcceptsPerWorker = 4;

// What a queue's thread lends to its calls.
struct Worker {
  Service* service = nullptr;
  std::unique_ptr<grpc::ServerCompletionQueue> queue;
  std::unique_ptr<char[]> block = std::make_unique<char[]>(size_t{64} << 10);
  google::protobuf::Arena arena{block.get(), size_t{64} << 10};

  template <typename Message>
  Message* Fresh() {
    arena.Reset();
    return google::protobuf::Arena::CreateMessage<Message>(&arena);
  }
};

void FillHeaders(size_t body_bytes, pb::ProcessingResponse* response) {
  auto* common = response->mutable_request_headers()->mutable_response();
  common->set_clear_route_cache(true);
  const auto set = [&](const char* name, std::string value) {
    auto* header = common->mutable_header_mutation()->add_set_headers()->mutable_header();
    header->set_key(name);
    header->set_raw_value(std::move(value));
  };
  set("x-gateway-destination-endpoint", "10.0.0.1:8000");
  set("Content-Length", std::to_string(body_bytes));
  set("x-request-id", "5b7d64f0-58d2-4a6c-9b5e-0123456789ab");
  auto& lb = (*response->mutable_dynamic_metadata()->mutable_fields())["envoy.lb"];
  (*lb.mutable_struct_value()->mutable_fields())["x-gateway-destination-endpoint"].set_string_value(
      "10.0.0.1:8000");
}

class Call {
 public:
  explicit Call(Worker* worker) : worker_(worker) {
    worker_->service->RequestProcess(&context_, &io_, worker_->queue.get(), worker_->queue.get(),
                                     this);
  }

  void Complete(bool ok) {
    switch (step_) {
      case Step::kAccept:
        if (!ok) return delete this;
        new Call(worker_);
        return Read();
      case Step::kRead:
        return ok ? OnMessage() : End();
      case Step::kWriteBody:
        return ok ? WriteBody() : End();
      case Step::kWrite:
        return ok ? Read() : End();
      case Step::kFinish:
        return delete this;
    }
  }

 private:
  enum class Step { kAccept, kRead, kWriteBody, kWrite, kFinish };

  void Read() {
    step_ = Step::kRead;
    io_.Read(&incoming_, this);
  }
  void Write(const pb::ProcessingResponse& response, Step step) {
    step_ = step;
    const grpc::Slice slice(response.ByteSizeLong());
    response.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
    io_.Write(grpc::ByteBuffer(&slice, 1), this);
  }
  void End() {
    step_ = Step::kFinish;
    io_.Finish(grpc::Status::OK, this);
  }

  void OnMessage() {
    auto* message = worker_->Fresh<pb::ProcessingRequest>();
    bool parsed;
    {
      grpc::Slice slice;
      if (incoming_.TrySingleSlice(&slice).ok()) {
        parsed = message->ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
      } else {
        grpc::ProtoBufferReader reader(&incoming_);
        parsed = message->ParseFromZeroCopyStream(&reader);
      }
    }
    incoming_.Clear();
    if (!parsed) return End();
    switch (message->request_case()) {
      case pb::ProcessingRequest::kRequestBody: {
        auto* body = message->mutable_request_body();
        body_bytes_ += body->body().size();
        received_.push_back(std::move(*body->mutable_body()));
        if (!body->end_of_stream()) return Read();
        auto* response = worker_->Fresh<pb::ProcessingResponse>();
        FillHeaders(body_bytes_, response);
        return Write(*response, Step::kWriteBody);
      }
      case pb::ProcessingRequest::kResponseHeaders: {
        auto* response = worker_->Fresh<pb::ProcessingResponse>();
        auto* header = response->mutable_response_headers()
                           ->mutable_response()
                           ->mutable_header_mutation()
                           ->add_set_headers()
                           ->mutable_header();
        header->set_key("x-went-into-resp-headers");
        header->set_raw_value("true");
        return Write(*response, Step::kWrite);
      }
      case pb::ProcessingRequest::kResponseBody: {
        std::string chunk = std::move(*message->mutable_response_body()->mutable_body());
        const bool end = message->response_body().end_of_stream();
        auto* response = worker_->Fresh<pb::ProcessingResponse>();
        auto* piece = response->mutable_response_body()
                          ->mutable_response()
                          ->mutable_body_mutation()
                          ->mutable_streamed_response();
        piece->set_body(std::move(chunk));
        piece->set_end_of_stream(end);
        return Write(*response, Step::kWrite);
      }
      default:
        return Read();
    }
  }

  // The next piece, cut across the received messages.
  void WriteBody() {
    auto* response = worker_->Fresh<pb::ProcessingResponse>();
    auto* piece = response->mutable_request_body()
                      ->mutable_response()
                      ->mutable_body_mutation()
                      ->mutable_streamed_response();
    std::string* out = piece->mutable_body();
    while (out->size() < kPieceBytes && next_ < received_.size()) {
      const std::string& from = received_[next_];
      const size_t n = std::min(kPieceBytes - out->size(), from.size() - offset_);
      if (out->empty() && n == from.size()) {
        *out = std::move(received_[next_++]);
        continue;
      }
      out->append(from, offset_, n);
      offset_ += n;
      if (offset_ == from.size()) {
        ++next_;
        offset_ = 0;
      }
    }
    const bool last = next_ == received_.size();
    piece->set_end_of_stream(last);
    Write(*response, last ? Step::kWrite : Step::kWriteBody);
  }

  Worker* const worker_;
  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer> io_{&context_};
  grpc::ByteBuffer incoming_;
  std::vector<std::string> received_;
  size_t body_bytes_ = 0;
  size_t next_ = 0;    // into received_
  size_t offset_ = 0;  // into received_[next_]
  Step step_ = Step::kAccept;
};

}  // namespace

int main(int argc, char** argv) {
  int wanted_port = 0;
  size_t worker_count = 1;
  CLI::App app("Bare ext-proc echo server, the floor that benchmarks compare with");
  app.add_option("--port", wanted_port, "port on 127.0.0.1; 0: a free one")->capture_default_str();
  app.add_option("--workers", worker_count, "completion queues, a thread each")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  prctl(PR_SET_PDEATHSIG, SIGTERM);

  // As our server does.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  Service service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(wanted_port),
                           grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  builder.SetMaxReceiveMessageSize(20 << 20);
  std::vector<std::unique_ptr<Worker>> workers;
  for (size_t i = 0; i < worker_count; ++i) {
    workers.push_back(std::make_unique<Worker>());
    workers.back()->service = &service;
    workers.back()->queue = builder.AddCompletionQueue();
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    std::fprintf(stderr, "extproc_echo: port %d cannot be used\n", wanted_port);
    return 1;
  }
  std::vector<std::thread> threads;
  for (const auto& worker : workers) {
    threads.emplace_back([worker = worker.get()] {
      for (int i = 0; i < kAcceptsPerWorker; ++i) new Call(worker);
      void* tag;
      bool ok;
      while (worker->queue->Next(&tag, &ok)) static_cast<Call*>(tag)->Complete(ok);
    });
  }
  std::printf("%d\n", port);
  std::fflush(stdout);
  for (std::thread& thread : threads) thread.join();
  return 0;
}
