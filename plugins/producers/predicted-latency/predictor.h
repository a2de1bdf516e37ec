// The latency model's servers: what is predicted, and what they are taught.
//
// Calls that come within a moment go out as one request. Threads: any.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "epp/plugin.hpp"

namespace epp::latency {

// Where the servers are and how they are asked; from the environment.
struct ServerSettings {
  std::string training_url = "http://localhost:8000";
  std::vector<std::string> prediction_urls = {"http://localhost:8001"};
  uint64_t max_samples = 1000;  // that wait to be sent
  uint64_t flush_ns = 1'000'000'000;
  uint64_t timeout_ns = 10'000'000'000;
  uint64_t max_bulk = 100;  // rows of a call
  uint64_t window_ns = 1'000'000;
  uint64_t max_rows = 0;  // of coalesced calls; 0: max_bulk
  uint64_t max_dispatches = 36;

  // Values that make no sense are ignored.
  static ServerSettings FromEnvironment();
};

// What the model knows of a request on an endpoint.
struct Features {
  double kv_usage = 0;
  int64_t input_tokens = 0;
  int64_t waiting = 0;
  int64_t running = 0;
  double prefix_score = 0;
  int64_t encoder_input = 0;
  int64_t encoder_matched = 0;
  int64_t prefill_tokens = 0;
  epp_str pod_type{nullptr, 0};  // empty: left out
};
void AppendFeatures(const Features& features, std::string& json);

// One call, in milliseconds once it is answered.
struct Prediction {
  std::string rows;  // JSON objects, separated by commas
  size_t count = 0;
  epp::Completion done;
  std::vector<std::pair<double, double>> values;  // TTFT, TPOT; [count], or empty: it failed
};

class Predictor : public std::enable_shared_from_this<Predictor> {
 public:
  Predictor(epp::Host host, ServerSettings settings);

  bool ok() const { return http_.ok() && timers_.ok(); }
  const ServerSettings& settings() const { return settings_; }

  // Completes the prediction, perhaps without values.
  void Predict(std::shared_ptr<Prediction> prediction);
  // Adds a row; it is sent with others, or dropped when too many wait.
  void Teach(const Features& features, double ttft_ms, double tpot_ms);

 private:
  using Calls = std::vector<std::shared_ptr<Prediction>>;

  void Close(uint64_t number);
  void Dispatch(Calls calls);
  void Send(const Calls& calls);
  // `all`: for the rows of all calls, or too few: it failed.
  void Ended(const Calls& calls, const std::vector<std::pair<double, double>>& all);
  void Flush();

  const epp::Host host_;
  const epp::Http http_;
  const epp::Timers timers_;
  const ServerSettings settings_;

  std::mutex mutex_;
  Calls open_;
  uint64_t open_rows_ = 0;
  uint64_t open_number_ = 0;
  uint64_t dispatched_ = 0;
  std::deque<Calls> waiting_;  // for a dispatch to end
  std::vector<std::string> lessons_;
  bool flushing_ = false;  // a timer is set
};

}  // namespace epp::latency
