// What every request may use: the pool, the current generation, time, metrics, records.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "host/async/operations.h"
#include "host/base/arena.h"
#include "host/base/clock.h"
#include "host/base/siphash.h"
#include "host/objects/object_set.h"
#include "host/pool/pool.h"
#include "host/request/serving.h"
#include "host/request/shadow.h"
#include "host/telemetry/decisions.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::request {

// The operator's choices about requests. Fixed while the process runs.
struct RequestOptions {
  uint64_t max_body_bytes = 0;        // 0: no limit
  bool subset_filter = true;          // honour the proxy's subset hint
  bool emit_endpoint_scores = false;  // publish scores as dynamic metadata
  bool echo_headers = false;          // repeat all headers in the mutation, as the reference does
  bool single_destination = false;    // never send more than the first target
  bool strip_system_headers = false;  // remove the client's own control headers upstream
  bool own_denials = false;           // an admitter's own status instead of 500
  bool bodyless_unavailable = false;  // 503 instead of 500 when there is no endpoint
  uint64_t shed_stale_ns = 200'000'000;  // metrics older than this count as those of a full server
  bool observe_responses = false;        // ask for response bodies although no plugin wants them
};

struct Services {
  const Clock* clock = nullptr;
  pool::Pool* pool = nullptr;
  ServingSlot* serving = nullptr;
  const objects::ObjectSlot* objects = nullptr;  // null: there never are any
  telemetry::EppMetrics* metrics = nullptr;
  telemetry::DecisionRings* decisions = nullptr;
  const ShadowSlot* shadow = nullptr;  // null: there never is one
  // What requests wait for; null: they never wait.
  async::Operations* operations = nullptr;
  RequestOptions options;
  SipKey identifier_key;     // of the hash under which fairness ids are recorded
  uint64_t random_seed = 0;  // of the workers' generators
};

// A small fast generator, one per worker.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {  // splitmix64
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

// One worker's private part.
struct WorkerState {
  WorkerState(uint32_t number, const Services& services, uint64_t seed)
      : worker(number),
        frames(services.pool),
        serving(services.serving),
        objects(services.objects),
        random(seed),
        draft(std::make_unique<telemetry::DecisionRecord>()) {}
  uint32_t worker;
  uint32_t active = 0;  // exchanges alive
  BlockCache blocks;
  pool::FrameReader frames;
  ServingReader serving;
  objects::ObjectReader objects;
  Random random;
  // The record being written; a request uses it between its body and its verdict, which is one
  // call. A request that is suspended takes it along.
  std::unique_ptr<telemetry::DecisionRecord> draft;
  std::unique_ptr<telemetry::DecisionRecord> spare_draft;  // may be null
};

}  // namespace epp::request
