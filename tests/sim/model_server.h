// One simulated server: routes, faults and the /sim/ endpoints on top of Inference.
//
// Threads: the thread that runs the io_context, except Listen before it runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/sim/connection.h"
#include "tests/sim/control.h"
#include "tests/sim/inference.h"
#include "tests/sim/server.h"

namespace epp::sim {

class ModelServer : public ConnectionHandler {
 public:
  // Finds a server of the same process by name; null when there is none.
  using FindSibling = std::function<ModelServer*(std::string_view name)>;

  ModelServer(boost::asio::io_context& io, ServerOptions options, TransferHub* hub,
              FindSibling find_sibling);
  ~ModelServer() override;

  // Opens the listener; a port of 0 is replaced by the one found.
  [[nodiscard]] absl::Status Listen();

  // Sets or clears a fault of this server, dies or revives. Errors: Unavailable when reviving
  // found its port taken.
  absl::Status Apply(const Fault& fault);
  void Pin(const PinnedMetrics& pinned) { pinned_ = pinned; }
  [[nodiscard]] EngineStats stats() { return inference_->stats(); }
  [[nodiscard]] const ServerOptions& options() const { return options_; }
  [[nodiscard]] uint16_t port() const { return options_.port; }

  void OnRequest(const std::shared_ptr<Connection>& connection, HttpRequest request) override;
  void OnAbandoned(Connection* connection) override;

 private:
  struct Timers;

  void Serve(const std::shared_ptr<Connection>& connection, const HttpRequest& request,
             uint64_t log_number);
  void ServeApi(const std::shared_ptr<Connection>& connection, ApiKind kind,
                const HttpRequest& request, const Delivery& delivery, uint64_t log_number);
  HttpResponse Render(ApiKind kind, std::string_view body, uint64_t log_number);
  void ServeMetrics(const std::shared_ptr<Connection>& connection, const Delivery& delivery);
  void Control(const std::shared_ptr<Connection>& connection, const HttpRequest& request);
  void ControlFault(const std::shared_ptr<Connection>& connection, const HttpRequest& request);
  void Answer(Connection* connection, const Delivery& delivery, uint64_t log_number,
              HttpResponse response);
  [[nodiscard]] bool KnowsModel(std::string_view model) const;
  [[nodiscard]] std::string Models() const;
  [[nodiscard]] std::string State();
  void Die(const Fault& fault);

  boost::asio::io_context& io_;
  ServerOptions options_;
  TransferHub* const hub_;
  const FindSibling find_sibling_;
  uint64_t lives_ = 1;
  RequestLog log_;
  FaultSet faults_;
  PinnedMetrics pinned_;
  uint64_t scrapes_ = 0;
  bool stopping_ = false;
  std::unique_ptr<Timers> timers_;
  std::unique_ptr<Inference> inference_;
  std::unique_ptr<Listener> listener_;  // null while dead
};

}  // namespace epp::sim
