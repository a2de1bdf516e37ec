#include "tests/sim/server.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cmath>
#include <future>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/sim/model_server.h"

namespace epp::sim {
namespace {

absl::Status Check(const std::vector<ServerOptions>& servers) {
  for (auto it = servers.begin(); it != servers.end(); ++it) {
    const std::string& name = it->name;
    if (name.empty()) return absl::InvalidArgumentError("name: empty");
    if (std::any_of(servers.begin(), it, [&](const auto& other) { return other.name == name; })) {
      return absl::InvalidArgumentError(
          absl::StrCat("name: two servers are called \"", name, "\""));
    }
    if (it->models.empty()) return absl::InvalidArgumentError(absl::StrCat(name, ": no model"));
    if (!(it->speed > 0) || !std::isfinite(it->speed)) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": speed is ", it->speed, ", want more than 0"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

// Destroyed from the last member to the first: the servers go before what they run on.
struct Simulator::Impl {
  boost::asio::io_context io{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{io.get_executor()};
  TransferHub hub;
  std::vector<std::unique_ptr<ModelServer>> servers;
  std::vector<uint16_t> ports;
  std::thread thread;

  ~Impl() {
    io.stop();
    if (thread.joinable()) thread.join();
  }

  ModelServer* Find(std::string_view name) const {
    for (const auto& server : servers) {
      if (server->options().name == name) return server.get();
    }
    return nullptr;
  }

  // Runs `call` on the simulator's thread and returns its result.
  template <typename Call>
  auto Run(Call call) {
    std::packaged_task<decltype(call())()> task(std::move(call));
    auto result = task.get_future();
    boost::asio::post(io, std::move(task));
    return result.get();
  }
};

absl::StatusOr<std::unique_ptr<Simulator>> Simulator::Start(std::vector<ServerOptions> servers) {
  if (absl::Status status = Check(servers); !status.ok()) return status;
  auto impl = std::make_unique<Impl>();
  for (ServerOptions& options : servers) {
    auto server = std::make_unique<ModelServer>(
        impl->io, std::move(options), &impl->hub,
        [impl = impl.get()](std::string_view name) { return impl->Find(name); });
    if (absl::Status status = server->Listen(); !status.ok()) return status;
    impl->ports.push_back(server->port());
    impl->servers.push_back(std::move(server));
  }
  impl->thread = std::thread([impl = impl.get()] { impl->io.run(); });
  return std::unique_ptr<Simulator>(new Simulator(std::move(impl)));
}

Simulator::Simulator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Simulator::~Simulator() = default;

size_t Simulator::size() const { return impl_->servers.size(); }

const ServerOptions& Simulator::options(size_t server) const {
  return impl_->servers[server]->options();
}

uint16_t Simulator::port(size_t server) const { return impl_->ports[server]; }

absl::Status Simulator::SetFault(size_t server, const Fault& fault) {
  return impl_->Run([&] { return impl_->servers[server]->Apply(fault); });
}

void Simulator::PinMetrics(size_t server, const PinnedMetrics& pinned) {
  impl_->Run([&] { impl_->servers[server]->Pin(pinned); });
}

EngineStats Simulator::stats(size_t server) {
  return impl_->Run([&] { return impl_->servers[server]->stats(); });
}

}  // namespace epp::sim
