// One scheduling decision: producers, then profiles of filters, scorers and a picker.
//
// Runs to completion on the calling worker. One ABI call per plugin, never one per endpoint; all
// memory comes from the request's arena.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "epp/abi.h"
#include "host/async/operations.h"
#include "host/base/arena.h"
#include "host/base/clock.h"
#include "host/pool/frame.h"
#include "host/scheduling/candidates.h"
#include "host/scheduling/errors.h"
#include "host/scheduling/wiring.h"
#include "host/telemetry/decisions.h"

namespace epp::scheduling {

enum class Point : uint8_t {
  kParseRequest,
  kParseResponse,
  kRequestHeader,
  kScreener,
  kProducer,
  kAdmitter,
  kProfilePicker,
  kFilter,
  kScorer,
  kPicker,
  kDecider,
  kProcessResults,
  kPreRequest,
  kResponseHeaders,
  kResponseBody,
};

// Told of every plugin call. Threads: concurrent, each worker for itself.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void Called(uint32_t worker, const BoundPlugin& plugin, Point point, uint64_t ns) = 0;
  virtual void Failed(uint32_t worker, const BoundPlugin& plugin, Point point, epp_status status,
                      std::string_view message) = 0;
  // Scores that were not finite; counted as 0.
  virtual void BadScores(uint32_t worker, const BoundPlugin& plugin, uint64_t count) = 0;
};

// How far the producers of a request are.
struct Producing {
  size_t next = 0;       // into Wiring::producers
  bool stopped = false;  // a failure: no later one runs
  // Of a producer that waits, while it does.
  void* operation = nullptr;
  uint64_t token = 0;
  uint64_t began_ns = 0;
  uint64_t deadline_ns = 0;
};

// What a request carries through its life. Owned by the request, used by one thread at a time.
struct RequestContext {
  const Wiring* wiring = nullptr;
  Arena* arena = nullptr;  // of the request phase, then of one response hook
  Arena* kept = nullptr;   // of the whole request
  const Clock* clock = nullptr;
  Observer* observer = nullptr;
  uint32_t worker = 0;
  epp_request request{};

  // Pins the endpoints that candidates and results point to.
  std::shared_ptr<const pool::Frame> frame;
  CandidateList* candidates = nullptr;
  void** states = nullptr;                // [plugins]
  epp_column* request_columns = nullptr;  // [produced], request scope
  uint64_t* produced_ok = nullptr;        // bitmap over produced

  const epp_profile_result** results = nullptr;  // [profiles]
  epp_scheduling scheduling{};
  // For every profile that ran: its list after filters and the totals over it.
  struct Scored {
    CandidateList* list = nullptr;
    const double* totals = nullptr;
  };
  Scored* scored = nullptr;  // [profiles]
  // What the proxy is told in place of every target's own.
  std::optional<uint16_t> destination_port;

  telemetry::DecisionRecord* record = nullptr;  // may be null

  // Where producers that wait report to. Null: nobody can wait, and such a producer fails.
  async::Operations* operations = nullptr;
  std::shared_ptr<Waker> waker;
  Producing producing;

  // Call once `arena`, `kept`, `wiring` and `request` are set.
  void Prepare();
  // The request was sent on: forgets candidates, columns and results, whose memory goes. What is
  // left serves the response hooks.
  void Release();
  // The call struct for one plugin.
  epp_call CallFor(const BoundPlugin& plugin, uint64_t now_ns);
};

// Sets the candidates: all endpoints of the frame, or the given rows.
void SetCandidates(RequestContext& context, std::shared_ptr<const pool::Frame> frame,
                   const uint32_t* rows, uint32_t count);

// Runs the producers, in order, from where they are. Never fails the request. False: one of them
// waits; call again once the waker was woken, however often. True: all are done.
[[nodiscard]] bool Produce(RequestContext& context);
// The request is over: ends an operation that still runs. Whose it was, or null.
const BoundPlugin* Abandon(RequestContext& context);

// Runs the profiles. On success results and primary are set.
std::optional<Error> Schedule(RequestContext& context);

}  // namespace epp::scheduling
