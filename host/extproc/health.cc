#include "host/extproc/health.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "host/extproc/health.grpc.pb.h"
#include "host/extproc/port_holder.h"

namespace epp::extproc {
namespace {

namespace health = ::grpc::health::v1;

constexpr std::string_view kLiveness = "liveness";
constexpr std::string_view kReadiness = "readiness";

health::HealthCheckResponse::ServingStatus ToProto(HealthStatus status) {
  return static_cast<health::HealthCheckResponse::ServingStatus>(status);
}

using Service = health::Health::AsyncService;

struct Answers {
  const HealthState& state;
  bool leader_election;
  Service service{};
  std::unique_ptr<grpc::ServerCompletionQueue> queue{};
};

// One call: waits for a request, answers it, deletes itself.
class AnyCall {
 public:
  explicit AnyCall(Answers& answers) : answers_(answers) {}
  virtual ~AnyCall() = default;
  void Complete(bool ok) {
    if (std::exchange(answered_, true) || !ok) {
      delete this;
    } else {
      Answer();
    }
  }

 protected:
  virtual void Answer() = 0;  // also replaces this call by the next to wait
  Answers& answers_;
  grpc::ServerContext context_;

 private:
  bool answered_ = false;
};

class CheckCall final : public AnyCall {
 public:
  explicit CheckCall(Answers& answers) : AnyCall(answers) {
    answers.service.RequestCheck(&context_, &request_, &writer_, answers.queue.get(),
                                 answers.queue.get(), static_cast<AnyCall*>(this));
  }

 private:
  void Answer() override {
    new CheckCall(answers_);
    health::HealthCheckResponse response;
    response.set_status(
        ToProto(EvaluateHealth(answers_.state, answers_.leader_election, request_.service())));
    writer_.Finish(response, grpc::Status::OK, static_cast<AnyCall*>(this));
  }
  health::HealthCheckRequest request_;
  grpc::ServerAsyncResponseWriter<health::HealthCheckResponse> writer_{&context_};
};

class ListCall final : public AnyCall {
 public:
  explicit ListCall(Answers& answers) : AnyCall(answers) {
    answers.service.RequestList(&context_, &request_, &writer_, answers.queue.get(),
                                answers.queue.get(), static_cast<AnyCall*>(this));
  }

 private:
  void Answer() override {
    new ListCall(answers_);
    health::HealthListResponse response;
    for (const auto& [name, status] : ListHealth(answers_.state, answers_.leader_election)) {
      (*response.mutable_statuses())[name].set_status(ToProto(status));
    }
    writer_.Finish(response, grpc::Status::OK, static_cast<AnyCall*>(this));
  }
  health::HealthListRequest request_;
  grpc::ServerAsyncResponseWriter<health::HealthListResponse> writer_{&context_};
};

// Not implemented: the statuses are computed when asked for.
class WatchCall final : public AnyCall {
 public:
  explicit WatchCall(Answers& answers) : AnyCall(answers) {
    answers.service.RequestWatch(&context_, &request_, &writer_, answers.queue.get(),
                                 answers.queue.get(), static_cast<AnyCall*>(this));
  }

 private:
  void Answer() override {
    new WatchCall(answers_);
    writer_.Finish({grpc::StatusCode::UNIMPLEMENTED, ""}, static_cast<AnyCall*>(this));
  }
  health::HealthCheckRequest request_;
  grpc::ServerAsyncWriter<health::HealthCheckResponse> writer_{&context_};
};

constexpr std::chrono::milliseconds kLookEvery{20};
constexpr std::chrono::milliseconds kLookOftenEvery{1};
constexpr std::chrono::milliseconds kLookOftenFor{50};

}  // namespace

HealthStatus EvaluateHealth(const HealthState& state, bool leader_election,
                            std::string_view service) {
  const bool readiness = service.empty() || service == kReadiness || service == kExtProcService;
  if (leader_election) {
    if (service == kLiveness) return HealthStatus::kServing;
    if (!readiness) return HealthStatus::kServiceUnknown;
  }
  const bool serving = !state.Draining() && state.Live() && state.ProtocolOk() &&
                       (!leader_election || state.Leader()) && (!readiness || state.PluginsReady());
  return serving ? HealthStatus::kServing : HealthStatus::kNotServing;
}

std::vector<std::pair<std::string, HealthStatus>> ListHealth(const HealthState& state,
                                                             bool leader_election) {
  std::vector<std::string_view> names = {kExtProcService};
  if (leader_election) names.insert(names.end(), {kLiveness, kReadiness});
  std::vector<std::pair<std::string, HealthStatus>> out;
  for (std::string_view name : names) {
    out.emplace_back(name, EvaluateHealth(state, leader_election, name));
  }
  return out;
}

// gRPC has one epoll set for a process, and whichever thread waits on any of its queues gets the
// events of all. A thread that waited for health checks would take every other event of the
// ext-proc connections and hand it over to the worker concerned, which nearly doubles the cost of
// an exchange. So this one looks for events now and then, and never waits inside gRPC.
struct HealthServer::Impl {
  Impl(const HealthState& state, bool leader_election) : answers{state, leader_election} {}
  void Run();
  void Stop(absl::Duration finish_within);

  Answers answers;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
  std::mutex mutex;
  std::condition_variable stopped;
  bool stop = false;  // guarded by mutex
  std::thread thread;
};

void HealthServer::Impl::Run() {
  new CheckCall(answers);
  new ListCall(answers);
  new WatchCall(answers);
  using Clock = std::chrono::steady_clock;
  Clock::time_point look_often_until{};
  bool stopping = false;
  for (;;) {
    void* tag;
    bool ok;
    switch (answers.queue->AsyncNext(&tag, &ok, gpr_inf_past(GPR_CLOCK_MONOTONIC))) {
      case grpc::CompletionQueue::SHUTDOWN:
        return;
      case grpc::CompletionQueue::GOT_EVENT:
        static_cast<AnyCall*>(tag)->Complete(ok);
        look_often_until = Clock::now() + kLookOftenFor;
        break;
      case grpc::CompletionQueue::TIMEOUT: {
        // The server was gone before the queue was found empty: no call asks for more.
        if (stopping) {
          answers.queue->Shutdown();
          while (answers.queue->Next(&tag, &ok)) static_cast<AnyCall*>(tag)->Complete(ok);
          return;
        }
        std::unique_lock lock(mutex);
        const auto pause = Clock::now() < look_often_until ? kLookOftenEvery : kLookEvery;
        stopping = stopped.wait_for(lock, pause, [&] { return stop; });
        break;
      }
    }
  }
}

void HealthServer::Impl::Stop(absl::Duration finish_within) {
  if (!thread.joinable()) return;
  server->Shutdown(absl::ToChronoTime(absl::Now() + finish_within));
  {
    const std::lock_guard lock(mutex);
    stop = true;
  }
  stopped.notify_one();
  thread.join();
}

absl::StatusOr<std::unique_ptr<HealthServer>> HealthServer::Start(const HealthOptions& options,
                                                                  const HealthState& state) {
  auto impl = std::make_unique<Impl>(state, options.leader_election);
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(absl::StrCat(options.address, ":", options.port),
                           grpc::InsecureServerCredentials(), &impl->port);
  builder.RegisterService(&impl->answers.service);
  impl->answers.queue = builder.AddCompletionQueue();
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || impl->port == 0) {
    return PortUnavailable("health", options.address, options.port);
  }
  impl->thread = std::thread([&impl = *impl] { impl.Run(); });
  return std::unique_ptr<HealthServer>(new HealthServer(std::move(impl)));
}

HealthServer::HealthServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HealthServer::~HealthServer() { Stop(absl::ZeroDuration()); }

uint16_t HealthServer::port() const { return static_cast<uint16_t>(impl_->port); }

void HealthServer::Stop(absl::Duration finish_within) { impl_->Stop(finish_within); }

}  // namespace epp::extproc
