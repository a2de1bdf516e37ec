// What `epp shadow` shows, as text and as the document "epp.shadow/1".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/shadow/tally.h"

namespace epp::shadow {

// A producer of the candidate alone.
struct OwnProducer {
  std::string name;
  bool inherited = false;  // began with what the live one of its name had learned
};

struct Report {
  enum class State { kNone, kRunning, kEnded };
  State state = State::kNone;
  bool from_config = false;  // named by the config, not started by an operator
  std::string ended;         // why it ended
  std::string file;          // as the operator named it
  std::string digest;        // first digits
  double sample = 0;         // share of requests
  uint64_t started_unix_ns = 0;
  uint64_t elapsed_ns = 0;
  uint64_t planned_ns = 0;                 // 0: until it is stopped
  uint64_t generation = 0;                 // that it is compared with
  uint64_t rebuilds = 0;                   // after changes of the live config
  uint32_t workers = 1;                    // threads that the CPU share is of
  std::vector<OwnProducer> own_producers;  // learn from sampled requests alone
  std::vector<std::string> unfed;          // attributes that nothing scrapes for the candidate
  Summary summary;
  // Endpoints in the pool, and the names of those in summary.picks, in its order.
  size_t endpoints = 0;
  std::vector<std::string> names;
};

std::string ReportJson(const Report& report);
std::string ReportText(const Report& report);
// "candidate.yaml, 10 % of requests, 12 min of 60"; empty when none runs.
std::string StatusLine(const Report& report);

}  // namespace epp::shadow
