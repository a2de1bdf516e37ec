// The engine in real time, between parsed requests and connections: submits, delivers tokens as
// they come due, keeps the server's metrics.
//
// Threads: the thread that runs the io_context.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "tests/sim/api.h"
#include "tests/sim/connection.h"
#include "tests/sim/control.h"
#include "tests/sim/engine.h"
#include "tests/sim/metrics_page.h"
#include "tests/sim/server.h"
#include "tests/sim/transfer.h"

namespace epp::sim {

// How faults change an answer.
struct Delivery {
  std::optional<std::string> content_type;  // instead of the right one
  std::optional<uint32_t> truncate_after;   // tokens of a stream; half of a plain body
};

// `response` through `connection`, with the server's header and what `delivery` says.
void Deliver(Connection* connection, const std::string& server, const Delivery& delivery,
             HttpResponse response);

class Inference {
 public:
  // All of it must outlive it.
  Inference(boost::asio::io_context& io, const ServerOptions& options, RequestLog* log,
            TransferHub* hub, uint64_t incarnation);
  ~Inference();

  // Serves `request` on `connection` and keeps entry `log_number` up to date.
  void Start(const std::shared_ptr<Connection>& connection, ApiRequest request, Delivery delivery,
             uint64_t log_number);
  // The client of that connection has gone: its requests leave the engine.
  void Abandon(Connection* connection);

  [[nodiscard]] std::string Metrics(const PinnedMetrics& pinned);
  [[nodiscard]] EngineStats stats();
  [[nodiscard]] uint64_t MaxRequestTokens() const { return engine_.MaxRequestTokens(); }
  [[nodiscard]] const Transfers& transfers() const { return transfers_; }
  [[nodiscard]] int64_t started_s() const { return started_s_; }

 private:
  struct Alarm;
  struct Job;
  struct Waiter;  // for KV blocks of another server
  struct Part {
    Job* job = nullptr;
    size_t choice = 0;
  };

  [[nodiscard]] SimTime Now() const;
  void Drive();  // lets the engine live up to now, delivers what came of it
  void Arm();    // wakes up for its next event
  void OnEvent(const EngineEvent& event);
  void OnToken(Job* job, size_t choice, const EngineEvent& event);
  void OnFinished(Job* job, size_t choice, const EngineEvent& event);
  void Complete(Job* job);
  void Drop(Job* job);  // cancels what the engine still has of it and forgets it
  void CountAdapter(const std::string& adapter, int waiting, int running);
  // Decides lengths; the error is for the client.
  absl::Status Plan(ApiAnswer* answer, bool one_token) const;
  // What other engines have to do with it; what fails is for the client.
  absl::Status PlanTransfer(Job* job);
  // Whether its threshold was not met; then it is answered.
  bool Declines(Job* job);
  void Await(std::unique_ptr<Job> job);
  void Launch(std::unique_ptr<Job> job);
  void StartStream(const Job& job);
  void RefuseAs(const Job& job, const absl::Status& status);
  void Refuse(Connection* connection, const Job& job, int status, std::string_view message);
  HttpResponse Response(const Job& job, int status, std::string body) const;

  const ServerOptions& options_;
  RequestLog* const log_;
  boost::asio::io_context& io_;
  Engine engine_;
  Transfers transfers_;
  std::shared_ptr<Alarm> alarm_;
  const std::chrono::steady_clock::time_point epoch_;
  const int64_t started_s_;
  uint64_t next_id_ = 1;
  uint64_t next_answer_ = 1;
  absl::flat_hash_map<Connection*, std::unique_ptr<Job>> jobs_;
  absl::flat_hash_map<Connection*, std::shared_ptr<Waiter>> waiting_;
  absl::flat_hash_map<uint64_t, Part> parts_;  // by the engine's request id
  ServerMetrics metrics_;
  struct AdapterUse {
    int waiting = 0;
    int running = 0;
  };
  std::map<std::string, AdapterUse> adapters_;
  std::vector<LoraState> lora_states_;
};

}  // namespace epp::sim
