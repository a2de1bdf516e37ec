// What a shadow has found out: counts, kept by each worker for itself and added up when asked for.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace epp::shadow {

// One request, as both decided it.
struct Decision {
  uint64_t live = 0;       // ids of the endpoints; 0: no candidate was left
  uint64_t candidate = 0;  // likewise
  bool failed = false;     // the candidate made no decision, and not for want of endpoints
  // Where they differ: how much higher the live config scored its own pick, and whether that is
  // little. Nothing when it has no score for the candidate's pick.
  std::optional<double> margin = std::nullopt;
  bool close = false;
  // Tokens of the prompt, and how many of them are predicted to be cached where each sent it; -1
  // when unknown.
  int64_t prompt_tokens = -1;
  int64_t live_cached = -1;
  int64_t candidate_cached = -1;
};

struct Picks {
  uint64_t endpoint = 0;  // id; 0: endpoints beyond the table, together
  uint64_t live = 0;
  uint64_t candidate = 0;
};

struct Summary {
  uint64_t agree = 0;
  uint64_t differ = 0;
  uint64_t failed = 0;
  uint64_t shed = 0;
  uint64_t cpu_ns = 0;
  uint64_t live_none = 0;  // no candidate left
  uint64_t candidate_none = 0;
  uint64_t margins = 0;  // how many differing decisions have one
  uint64_t close = 0;    // of them
  double median_margin = 0;
  // Over the decisions where it is known.
  uint64_t live_prompt_tokens = 0;
  uint64_t live_cached_tokens = 0;
  uint64_t candidate_prompt_tokens = 0;
  uint64_t candidate_cached_tokens = 0;
  std::vector<Picks> picks;  // by endpoint, in no order

  uint64_t decisions() const { return agree + differ + failed; }
};

// Memory: about 100 KB a worker, from the start. Threads: each worker writes with its own number,
// anyone reads.
class Tally {
 public:
  // Endpoints that a worker tells apart; those beyond are counted together.
  static constexpr size_t kEndpoints = 3072;

  explicit Tally(uint32_t workers);
  ~Tally();

  void Add(uint32_t worker, const Decision& decision);
  void Shed(uint32_t worker);
  void Spent(uint32_t worker, uint64_t cpu_ns);

  // Without picks.
  Summary Totals() const;
  Summary Sum() const;

 private:
  struct Cell;
  std::vector<std::unique_ptr<Cell>> cells_;
};

}  // namespace epp::shadow
