// The requests that this process has sent to each endpoint, with their TPOT limits. Threads: any.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

namespace epp::latency {

class Running {
 public:
  explicit Running(uint64_t ttl_ns) : ttl_ns_(ttl_ns) {}

  struct Load {
    int64_t requests = 0;
    double tightest_ms = 0;  // smallest limit; 0: none
  };
  Load Read(uint64_t endpoint);

  // The request's number, or 0 when the limit is negative. It is forgotten after the TTL.
  uint64_t Add(uint64_t endpoint, double limit_ms, uint64_t now_ns);
  void Remove(uint64_t number);
  // The endpoint left.
  void Forget(uint64_t endpoint);

 private:
  struct Request {
    uint64_t endpoint;
    double limit_ms;
    uint64_t expires_ns;
  };
  void Take(std::map<uint64_t, Request>::iterator it);

  const uint64_t ttl_ns_;
  std::mutex mutex_;
  uint64_t last_ = 0;
  std::map<uint64_t, Request> requests_;  // oldest first
  std::unordered_map<uint64_t, std::multiset<double>> limits_;
};

}  // namespace epp::latency
