#include "host/serve/envoy_endpoints.h"

#include <chrono>
#include <set>

#include "host/base/atomic_file.h"
#include "host/base/hostport.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"

namespace epp::serve {
namespace {

constexpr std::chrono::seconds kRetryAfter{1};
constexpr std::string_view kAssignmentType =
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

using Members = std::set<std::pair<std::string, uint16_t>>;

std::string DiscoveryResponse(uint64_t version, const Members& members) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject().Field("version_info", std::to_string(version));
  w.Key("resources").BeginArray().BeginObject();
  w.Field("@type", kAssignmentType).Field("cluster_name", EnvoyEndpoints::kCluster);
  w.Key("endpoints").BeginArray().BeginObject().Key("lb_endpoints").BeginArray();
  for (const auto& [address, port] : members) {
    w.BeginObject().Key("endpoint").BeginObject().Key("address").BeginObject();
    w.Key("socket_address").BeginObject();
    w.Field("address", address).Field("port_value", port).EndObject();
    w.EndObject().EndObject().EndObject();
  }
  w.EndArray().EndObject().EndArray();
  w.EndObject().EndArray().EndObject();
  out += '\n';
  return out;
}

}  // namespace

EnvoyEndpoints::~EnvoyEndpoints() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void EnvoyEndpoints::Start() {
  {
    std::unique_lock lock(mutex_);
    ++version_;  // also an empty pool is worth a file: Envoy does not start without one
    Write(lock);
  }
  thread_ = std::thread([this] { Run(); });
}

void EnvoyEndpoints::EndpointUpserted(const pool::Endpoint& endpoint) {
  const pool::Endpoint::Fields& fields = endpoint.fields();
  std::lock_guard lock(mutex_);
  std::pair<std::string, uint16_t> member(fields.address, fields.port);
  auto& present = members_[endpoint.abi().id];
  if (present == member) return;
  present = std::move(member);
  ++version_;
  changed_.notify_one();
}

void EnvoyEndpoints::EndpointRemoved(const pool::Endpoint& endpoint) {
  std::lock_guard lock(mutex_);
  if (members_.erase(endpoint.abi().id) == 0) return;
  ++version_;
  changed_.notify_one();
}

std::string EnvoyEndpoints::problem() const {
  std::lock_guard lock(mutex_);
  if (!failure_.empty()) return failure_;
  if (unresolved_.empty()) return "";
  return StrCat("endpoint ", unresolved_, " is not in ", path_,
                ": it has a host name, want an IP address");
}

// Changes that come while a file is being written go into the next one.
void EnvoyEndpoints::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (version_ != written_) Write(lock);
    const auto due = [this] { return stopping_ || version_ != written_; };
    if (failure_.empty()) {
      changed_.wait(lock, due);
    } else {
      changed_.wait_for(lock, kRetryAfter, [this] { return stopping_; });
    }
  }
}

void EnvoyEndpoints::Write(std::unique_lock<std::mutex>& lock) {
  const uint64_t version = version_;
  Members members;
  std::string unresolved;
  for (const auto& [id, member] : members_) {
    if (IsIpLiteral(member.first)) {
      members.insert(member);
    } else {
      unresolved = JoinHostPort(member.first, member.second);
    }
  }
  lock.unlock();
  const absl::Status status = WriteFileAtomically(path_, DiscoveryResponse(version, members));
  lock.lock();
  unresolved_ = std::move(unresolved);
  failure_ = std::string(status.message());
  if (status.ok()) written_ = version;
}

}  // namespace epp::serve
