#include "host/extproc/health.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

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

// Watch is left unimplemented: the statuses are computed when asked for.
class Service final : public health::Health::Service {
 public:
  Service(const HealthState& state, bool leader_election)
      : state_(state), leader_election_(leader_election) {}

  grpc::Status Check(grpc::ServerContext*, const health::HealthCheckRequest* request,
                     health::HealthCheckResponse* response) override {
    response->set_status(ToProto(EvaluateHealth(state_, leader_election_, request->service())));
    return grpc::Status::OK;
  }

  grpc::Status List(grpc::ServerContext*, const health::HealthListRequest*,
                    health::HealthListResponse* response) override {
    for (const auto& [name, status] : ListHealth(state_, leader_election_)) {
      (*response->mutable_statuses())[name].set_status(ToProto(status));
    }
    return grpc::Status::OK;
  }

 private:
  const HealthState& state_;
  const bool leader_election_;
};

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

struct HealthServer::Impl {
  Impl(const HealthState& state, bool leader_election) : service(state, leader_election) {}
  Service service;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

absl::StatusOr<std::unique_ptr<HealthServer>> HealthServer::Start(const HealthOptions& options,
                                                                  const HealthState& state) {
  auto impl = std::make_unique<Impl>(state, options.leader_election);
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(absl::StrCat(options.address, ":", options.port),
                           grpc::InsecureServerCredentials(), &impl->port);
  builder.RegisterService(&impl->service);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || impl->port == 0) {
    return PortUnavailable("health", options.address, options.port);
  }
  return std::unique_ptr<HealthServer>(new HealthServer(std::move(impl)));
}

HealthServer::HealthServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HealthServer::~HealthServer() { Stop(absl::ZeroDuration()); }

uint16_t HealthServer::port() const { return static_cast<uint16_t>(impl_->port); }

void HealthServer::Stop(absl::Duration finish_within) {
  impl_->server->Shutdown(absl::ToChronoTime(absl::Now() + finish_within));
}

}  // namespace epp::extproc
