#include "host/extproc/grpc_server.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "host/extproc/health_calls.h"
#include "host/extproc/port_holder.h"
#include "host/extproc/process_call.h"
#include "host/extproc/tls.h"
#include "host/extproc/worker.h"

namespace epp::extproc {
namespace {

constexpr uint64_t kDefaultReceiveBytes = uint64_t{4} << 20;
// gRPC itself ends a stream whose message is above its limit with RESOURCE_EXHAUSTED, and does not
// say so here. Its limit is therefore kept this far above ours, which answers as the protocol
// wants.
constexpr uint64_t kReceiveHeadroomBytes = uint64_t{16} << 20;
// Streams that each worker is ready to take at once; each one taken is replaced.
constexpr int kAcceptsPerWorker = 4;

int ToInt(uint64_t bytes) {
  return static_cast<int>(std::min<uint64_t>(bytes, std::numeric_limits<int>::max()));
}

std::chrono::system_clock::time_point Deadline(absl::Duration from_now) {
  if (from_now == absl::InfiniteDuration()) return std::chrono::system_clock::time_point::max();
  return absl::ToChronoTime(absl::Now() + from_now);
}

}  // namespace

class GrpcServer::Impl {
 public:
  explicit Impl(request::ExchangeFactory& factory) { context_.factory = &factory; }

  absl::Status Start(const ServerOptions& options);
  void Drain(absl::Duration accept_for, absl::Duration finish_within);
  void Stop();

  int port() const { return port_; }
  uint32_t workers() const { return static_cast<uint32_t>(workers_.size()); }
  uint64_t open_streams() const {
    uint64_t sum = 0;
    for (const auto& worker : workers_) sum += worker->open_streams();
    return sum;
  }
  void Ping() {
    for (const auto& worker : workers_) worker->Ping();
  }
  uint64_t rounds() const {
    uint64_t least = std::numeric_limits<uint64_t>::max();
    for (const auto& worker : workers_) least = std::min(least, worker->rounds());
    return least;
  }

 private:
  ExtProcService service_;
  ExtProcHealthService health_;
  std::unique_ptr<CertificateStore> certificates_;
  std::shared_ptr<grpc::ServerCredentials> credentials_;  // asked by gRPC for the certificate
  ProcessContext context_{&service_, nullptr, nullptr, kDefaultReceiveBytes, false};
  std::vector<std::unique_ptr<Worker>> workers_;  // their queues outlive the server
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_asked_ = false;  // guarded by mutex_
  bool draining_ = false;    // guarded by mutex_
  bool gone_ = false;        // guarded by mutex_
};

absl::Status GrpcServer::Impl::Start(const ServerOptions& options) {
  // Debian's Abseil is a debug build: each lock that gRPC takes is entered into a graph.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  auto credentials = MakeCredentials(options.tls, options.log_error, &certificates_);
  if (!credentials.ok()) return credentials.status();
  credentials_ = *std::move(credentials);
  if (options.max_receive_bytes != 0) context_.max_receive_bytes = options.max_receive_bytes;
  context_.mode_override = options.mode_override;
  context_.observer = options.observer;

  grpc::ServerBuilder builder;
  // Two processes on one port would each get half of the connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(
      ToInt(std::min(context_.max_receive_bytes, uint64_t{1} << 40) + kReceiveHeadroomBytes));
  if (options.max_send_bytes != 0) builder.SetMaxSendMessageSize(ToInt(options.max_send_bytes));
  builder.AddListeningPort(absl::StrCat(options.address, ":", options.port), credentials_, &port_);
  builder.RegisterService(&service_);
  if (options.health_checking) builder.RegisterService(&health_);
  const uint32_t count =
      options.workers != 0 ? options.workers : std::max(1U, std::thread::hardware_concurrency());
  for (uint32_t i = 0; i < count; ++i) {
    workers_.push_back(std::make_unique<Worker>(i, builder.AddCompletionQueue()));
  }
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    return PortUnavailable("ext-proc", options.address, options.port);
  }
  for (const auto& worker : workers_) {
    const bool with_health = options.health_checking && worker == workers_.front();
    worker->Start([this, &worker = *worker, with_health] {
      for (int i = 0; i < kAcceptsPerWorker; ++i) ProcessCall::Accept(context_, worker);
      if (with_health) ServeHealth(health_, worker);
    });
  }
  return absl::OkStatus();
}

void GrpcServer::Impl::Drain(absl::Duration accept_for, absl::Duration finish_within) {
  {
    std::unique_lock lock(mutex_);
    if (server_ == nullptr) return;
    if (std::exchange(draining_, true)) {
      changed_.wait(lock, [&] { return gone_; });
      return;
    }
    if (accept_for > absl::ZeroDuration()) {
      const auto asked = [&] { return stop_asked_; };
      if (accept_for == absl::InfiniteDuration()) {
        changed_.wait(lock, asked);
      } else {
        changed_.wait_for(lock, absl::ToChronoNanoseconds(accept_for), asked);
      }
    }
    if (stop_asked_) finish_within = absl::ZeroDuration();
  }
  for (const auto& worker : workers_) worker->Drain();
  server_->Shutdown(Deadline(finish_within));
  for (const auto& worker : workers_) worker->Join();
  const std::lock_guard lock(mutex_);
  gone_ = true;
  changed_.notify_all();
}

void GrpcServer::Impl::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_asked_ = true;
    changed_.notify_all();
  }
  for (const auto& worker : workers_) worker->CancelAll();
  Drain(absl::ZeroDuration(), absl::ZeroDuration());
}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const ServerOptions& options,
                                                              request::ExchangeFactory& factory) {
  auto impl = std::make_unique<Impl>(factory);
  if (absl::Status status = impl->Start(options); !status.ok()) return status;
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));
}

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

GrpcServer::~GrpcServer() { impl_->Stop(); }

uint16_t GrpcServer::port() const { return static_cast<uint16_t>(impl_->port()); }

uint32_t GrpcServer::workers() const { return impl_->workers(); }

uint64_t GrpcServer::open_streams() const { return impl_->open_streams(); }

void GrpcServer::Ping() { impl_->Ping(); }

uint64_t GrpcServer::rounds() const { return impl_->rounds(); }

void GrpcServer::Drain(absl::Duration accept_for, absl::Duration finish_within) {
  impl_->Drain(accept_for, finish_within);
}

void GrpcServer::Stop() { impl_->Stop(); }

}  // namespace epp::extproc
