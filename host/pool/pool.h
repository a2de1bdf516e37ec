// All endpoints and their latest attributes; the only writer of frames.
//
// Threads: any for all members. Writers are serialised by the pool's own mutex; readers never take
// it, they go through FrameReader. A thread of the pool publishes: at most one frame in
// publish_interval_ns, when something changed or an endpoint's sample grew stale.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "host/base/clock.h"
#include "host/base/interner.h"
#include "host/pool/frame.h"

namespace epp::pool {

// Told of changes, under no lock, one call at a time and in order: upserted before the first frame
// that has the endpoint (again when its fields changed), removed after the last frame that had it
// was released. Both come from whoever publishes: the pool's thread, or a caller of Publish.
// A call may use the pool; Publish then only asks for another round.
class PoolListener {
 public:
  virtual ~PoolListener() = default;
  virtual void EndpointUpserted(const Endpoint& endpoint) = 0;
  virtual void EndpointRemoved(const Endpoint& endpoint) = 0;
  // The pool does not have it any more, but frames may, for as long as somebody holds one. Between
  // the two others, unless the endpoint had left before the listener was added.
  virtual void EndpointLeft(const Endpoint& /*endpoint*/) {}
};

// A value of one attribute of one endpoint.
struct AttributeValue {
  AttributeId id = 0;
  bool present = true;
  int64_t i64 = 0;  // also bool and symbol
  double f64 = 0;
  std::vector<uint32_t> symbols = {};
};

class Pool {
 public:
  struct Options {
    uint64_t publish_interval_ns = 5'000'000;  // at most one frame in this time
    uint64_t stale_after_ns = 2'000'000'000;   // a sample older than this is stale
  };
  Pool(std::shared_ptr<AttributeRegistry> attributes, std::shared_ptr<Interner> interner,
       const Clock* clock, Options options);
  ~Pool();

  // Adds the endpoint, or replaces the one of the same namespace/name (id, slot and scraped values
  // stay). An equal one changes nothing.
  void Upsert(Endpoint::Fields fields);
  void Remove(std::string_view name_space, std::string_view name);
  // Makes the pool hold exactly these: upserts all, removes the others, in one frame.
  void Replace(std::vector<Endpoint::Fields> fields);

  // Values of one scrape of one endpoint; unknown ids (gone endpoint) are ignored. `good` marks a
  // sample: it refreshes sampled_ns and the state.
  void Update(uint64_t endpoint_id, std::span<const AttributeValue> values, bool good);
  void SetUnreachable(uint64_t endpoint_id);

  // Publishes now if anything changed (a newly registered attribute counts), whatever the interval,
  // and tells listeners what is due; tests and start-up.
  void Publish();
  // The current frame; never null.
  std::shared_ptr<const Frame> current() const;

  // The listener is first told of all endpoints that are present or still in some frame. Removal
  // waits for a running call, unless it is that call which removes.
  void AddListener(std::shared_ptr<PoolListener> listener);
  void RemoveListener(const PoolListener* listener);

  AttributeRegistry& attributes() { return *attributes_; }
  Interner& interner() { return *interner_; }

 private:
  friend class FrameReader;
  struct State;
  std::shared_ptr<AttributeRegistry> attributes_;
  std::shared_ptr<Interner> interner_;
  std::atomic<uint64_t> version_{0};  // of current(), for FrameReader
  std::unique_ptr<State> state_;
};

// A worker's own view of the current frame: one relaxed load when nothing changed, a short lock
// when a new frame was published. Not thread-safe; one per worker.
class FrameReader {
 public:
  explicit FrameReader(const Pool* pool) : pool_(pool) {}
  // Valid until the next call; copy the shared_ptr to keep it longer. Keeps the frame, and with it
  // removed endpoints and their slots, alive until the next call or Release.
  const std::shared_ptr<const Frame>& Get();
  // For a worker that goes idle.
  void Release();

 private:
  const Pool* pool_;
  uint64_t version_ = ~uint64_t{0};
  std::shared_ptr<const Frame> frame_;
};

}  // namespace epp::pool
