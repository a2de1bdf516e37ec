// One record per scheduling decision, in bounded rings, for `epp explain` and friends.
//
// A record is a plain block of fixed size: writing one allocates nothing and takes no lock. Names
// are kept as numbers (endpoint ids, plugin indices of a generation) and resolved by whoever reads.
// No prompt, no header value except ids, model names and the path.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace epp::telemetry {

// A text of at most N - 1 bytes, cut at a UTF-8 boundary.
template <size_t N>
class FixedText {
 public:
  void Set(std::string_view text) {
    size_t n = text.size() < N ? text.size() : N - 1;
    if (n < text.size()) {
      while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xC0) == 0x80) --n;
    }
    if (n) std::memcpy(data_, text.data(), n);
    size_ = static_cast<uint16_t>(n);
  }
  std::string_view view() const { return {data_, size_}; }

 private:
  uint16_t size_ = 0;
  char data_[N];
};

enum class Outcome : uint8_t {
  kPending,   // sent on, no end seen yet
  kOk,        // the response ended in order
  kAborted,   // sent on, the stream ended before the response did
  kRejected,  // answered by us: shed, or no endpoint
  kError,     // answered by us: a fault of request or configuration
};

struct FilterRecord {
  uint16_t plugin = 0;  // index into the generation's plugins
  uint32_t in = 0;
  uint32_t out = 0;
};

struct ScorerRecord {
  uint16_t plugin = 0;
  double weight = 0;
};

// One profile's run. Its rows live in DecisionRecord::cells from `cells_begin`, `row_count` rows of
// stride() doubles: the endpoint id (bit pattern), the total, a score per scorer, a column per
// scorer (its first endpoint column as a number, NaN when it has none).
struct ProfileRecord {
  static constexpr size_t kMaxSteps = 8;
  static constexpr size_t kMaxPicks = 4;
  uint16_t profile = 0;
  uint8_t filter_count = 0;
  uint8_t scorer_count = 0;
  uint8_t pick_count = 0;
  bool failed = false;
  uint16_t picker = 0;
  uint16_t ties = 0;  // endpoints that share the best total
  uint16_t row_count = 0;
  uint16_t cells_begin = 0;
  uint32_t candidates = 0;
  uint32_t omitted = 0;     // scored endpoints without a row
  double omitted_best = 0;  // their best total
  std::array<FilterRecord, kMaxSteps> filters;
  std::array<ScorerRecord, kMaxSteps> scorers;
  std::array<uint64_t, kMaxPicks> picks;  // endpoint ids, best first
  size_t stride() const { return 2 + 2 * size_t{scorer_count}; }
};

enum class GateKind : uint8_t { kHeaders, kScreener, kAdmitter };

// A screener that ran, or a header plugin or admitter that ended the request.
struct GateRecord {
  uint16_t plugin = 0;  // index into the generation's plugins
  GateKind kind = GateKind::kScreener;
  uint32_t in = 0;   // endpoints shown
  uint32_t out = 0;  // of them kept
};

struct DecisionRecord {
  static constexpr size_t kMaxProfiles = 3;
  static constexpr size_t kMaxGates = 4;
  static constexpr size_t kMaxCells = 640;
  static constexpr size_t kMaxDropped = 24;

  uint64_t number = 0;  // unique in this process, 0: empty slot
  uint64_t unix_ns = 0;
  uint64_t generation = 0;
  uint64_t frame = 0;
  uint64_t frame_age_ns = 0;
  FixedText<64> request_id;
  FixedText<80> model;
  FixedText<80> target_model;
  FixedText<64> path;
  FixedText<48> objective;
  uint64_t fairness_hash = 0;
  uint64_t body_bytes = 0;
  int64_t tokens = -1;
  int32_t priority = 0;
  bool streaming = false;
  bool bodyless = false;
  bool response_seen = false;  // response bodies passed through us
  Outcome outcome = Outcome::kPending;
  int16_t subset = -1;  // size of the proxy's subset hint, -1: none
  uint16_t http_status = 0;
  FixedText<160> message;  // why it was rejected or failed
  FixedText<40> drop_reason;

  uint8_t gate_count = 0;
  std::array<GateRecord, kMaxGates> gates;

  uint8_t profile_count = 0;
  uint8_t primary = 0xff;
  uint16_t cells_used = 0;
  uint16_t dropped_count = 0;
  std::array<ProfileRecord, kMaxProfiles> profiles;
  // Endpoints that filters dropped, in order: id and position of the filter in its profile.
  std::array<uint64_t, kMaxDropped> dropped;
  std::array<uint8_t, kMaxDropped> dropped_by;

  // Nanoseconds.
  uint32_t parse_ns = 0;
  uint32_t produce_ns = 0;
  uint32_t filter_ns = 0;
  uint32_t score_ns = 0;
  uint32_t pick_ns = 0;
  uint32_t total_ns = 0;  // parse to verdict

  // The response, filled later.
  uint64_t served = 0;  // endpoint id, 0: unknown
  uint64_t ttft_ns = 0;
  uint64_t duration_ns = 0;
  int64_t output_tokens = -1;
  int64_t cached_predicted = -1;
  int64_t cached_observed = -1;

  std::array<double, kMaxCells> cells;

  // Copies only what is used.
  void CopyTo(DecisionRecord& out) const;
};

// Where a record was put, to add its result later.
struct DecisionTicket {
  uint32_t worker = 0;
  uint32_t slot = 0;
  uint64_t number = 0;  // 0: not kept
};

// The rings: all decisions, and failures again in a ring of their own so that a flood of successes
// evicts none of them. Each worker has its own share; its thread is the only writer. Readers copy a
// slot under a flag that the writer never waits for: it takes the next slot instead.
class DecisionRings {
 public:
  struct Options {
    uint32_t records = 1024;  // over all workers; 0 turns records off
    uint32_t failures = 256;
  };
  DecisionRings(uint32_t workers, Options options);
  ~DecisionRings();

  bool enabled() const { return options_.records != 0; }

  // [worker] Keeps the record; sets its number.
  DecisionTicket Add(uint32_t worker, DecisionRecord& record);
  // [worker] Changes a kept record if it is still there.
  void Amend(const DecisionTicket& ticket, const std::function<void(DecisionRecord&)>& change);

  // Newest first, over all workers and both rings, without doubles. `visit` returns false to stop.
  void Visit(const std::function<bool(const DecisionRecord&)>& visit) const;
  uint64_t total() const;

 private:
  struct Ring;
  Options options_;
  std::atomic<uint64_t> next_number_{1};
  std::vector<std::unique_ptr<Ring>> all_;       // by worker
  std::vector<std::unique_ptr<Ring>> failures_;  // by worker
};

}  // namespace epp::telemetry
