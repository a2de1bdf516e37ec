// The candidate config of a shadow, and how it decides about a request after the live one has.
//
// Nothing of the live generation is called. Columns of producers that both share are those of the
// live decision. The candidate's own producers produce, and are told of its own pick as if the
// request had gone there: of the decision (pre-request), of the first bytes of the real response
// and of its end. So an index of its own learns, and load of its own comes and goes, from sampled
// requests alone. What hooks ask to change is dropped.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "host/base/clock.h"
#include "host/request/shadow.h"
#include "host/runtime/generation.h"
#include "host/shadow/budget.h"
#include "host/shadow/tally.h"

namespace epp::shadow {

// What outlives one candidate: a live reload makes another from the same text.
struct Ledger {
  Ledger(uint32_t workers, double cpu_share);
  struct alignas(64) Account {
    Budget budget;
  };
  Tally tally;
  std::vector<Account> accounts;  // by worker
};

class Candidate final : public request::Shadow, public std::enable_shared_from_this<Candidate> {
 public:
  // `generation` was built to look on at `live`. Destroy it where generations are destroyed.
  Candidate(std::unique_ptr<runtime::Generation> generation, const request::Serving& live,
            std::shared_ptr<Ledger> ledger, const Clock* clock);
  ~Candidate() override;

  // Requests that another generation decided are left out: their columns have other numbers.
  std::unique_ptr<request::ShadowRun> Decide(request::RequestState& state) override;

  const runtime::Generation& generation() const { return *generation_; }
  uint64_t live_number() const { return live_number_; }

 private:
  class Run;
  class QuietObserver;

  // Where a generation's predicted prefix hits are, by index into produced.
  struct PrefixColumns {
    uint32_t blocks = 0;
    uint32_t block_tokens = 0;
  };
  static std::optional<PrefixColumns> FindPrefix(const request::Serving& serving);
  // Cached tokens at one of the request's candidates; -1 when unknown.
  static int64_t CachedTokens(const scheduling::RequestContext& context,
                              const std::optional<PrefixColumns>& prefix, uint32_t row);
  static int64_t PromptTokens(const scheduling::RequestContext& context,
                              const std::optional<uint32_t>& column);

  void CopyColumns(const scheduling::RequestContext& live,
                   scheduling::RequestContext& context) const;
  Decision Compare(const request::RequestState& state, const scheduling::RequestContext& context,
                   const std::optional<scheduling::Error>& error) const;
  void Charge(uint32_t worker, const Meter::Took& took) const;
  void Book(scheduling::RequestContext& context) const;

  const std::unique_ptr<runtime::Generation> generation_;
  const uint64_t live_number_;
  const std::optional<PrefixColumns> live_prefix_;
  const std::optional<PrefixColumns> own_prefix_;
  const std::optional<uint32_t> live_prompt_;
  const std::shared_ptr<Ledger> ledger_;
  const Clock* const clock_;
  const std::unique_ptr<QuietObserver> observer_;
};

}  // namespace epp::shadow
