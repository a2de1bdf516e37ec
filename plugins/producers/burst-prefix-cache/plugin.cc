// burst-prefix-cache-producer: collects requests for a moment, places those that share their prompt
// together, and says so to the prefix scorer as if the chosen endpoint had the prompt cached.
//
// A request waits until its batch is sealed, by a timer that the first request of the batch sets.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "plugins/producers/approx-prefix-cache/hashing.h"
#include "plugins/producers/burst-prefix-cache/assign.h"

namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kGraceNs = 300 * kMs;
constexpr uint64_t kDefaultBlocks = 2048;                  // of a prompt
constexpr uint64_t kMaxRequestBlocks = uint64_t{1} << 20;  // of all prompts
constexpr const char* kBalance[] = {"requests", "tokens"};

// One request of a batch.
struct Joined {
  std::vector<uint64_t> hashes;
  epp::Completion done;
  std::atomic<bool> left{false};  // cancelled before the batch was sealed
  uint64_t assigned = 0;          // id of the endpoint; 0: none. Set before done.
};

struct Batch {
  std::vector<std::shared_ptr<Joined>> requests;
  // Of the first request: where the batch can go.
  std::vector<std::string> names;
  std::vector<uint64_t> ids;
  std::vector<int64_t> running;
};

// Shared with the timers. Threads: any.
class Collector {
 public:
  Collector(epp::Host host, uint64_t window_ns, int64_t max_size, epp::burst::Options options)
      : host_(host), window_ns_(window_ns), max_size_(max_size), options_(options) {}

  epp::Status Join(const std::shared_ptr<Collector>& self, const epp::Timers& timers,
                   std::shared_ptr<Joined> request, const epp::Candidates& in) {
    const std::lock_guard lock(mutex_);
    if (batch_ == nullptr) {
      auto batch = std::make_shared<Batch>();
      const auto running = in.column<int64_t>(0);
      for (size_t i = 0; i < in.size(); ++i) {
        batch->names.emplace_back(epp::View(in.endpoint(i).name));
        batch->ids.push_back(in.endpoint(i).id);
        batch->running.push_back(running[i]);
      }
      if (timers.At(host_.mono_ns() + window_ns_, [self] { self->Seal(); }) == 0) {
        return {EPP_UNAVAILABLE, "this host has no timer for a batch"};
      }
      batch_ = std::move(batch);
    }
    if (max_size_ >= 0 && batch_->requests.size() >= static_cast<size_t>(max_size_)) {
      return {EPP_RESOURCE_EXHAUSTED,
              "the batch is full: it has " + std::to_string(max_size_) + " requests"};
    }
    batch_->requests.push_back(std::move(request));
    return {};
  }

 private:
  void Seal() {
    std::shared_ptr<Batch> batch;
    {
      const std::lock_guard lock(mutex_);
      batch = std::move(batch_);
      batch_ = nullptr;
    }
    if (batch == nullptr) return;
    std::erase_if(batch->requests, [](const auto& r) { return r->left.load(); });
    std::vector<std::span<const uint64_t>> blocks;
    for (const auto& request : batch->requests) blocks.emplace_back(request->hashes);
    std::vector<epp::burst::Replica> replicas;
    for (size_t i = 0; i < batch->names.size(); ++i) {
      replicas.push_back({batch->names[i], batch->running[i]});
    }
    const std::vector<int64_t> assigned = epp::burst::Assign(blocks, replicas, options_);
    for (size_t i = 0; i < assigned.size(); ++i) {
      Joined& request = *batch->requests[i];
      if (assigned[i] >= 0) request.assigned = batch->ids[static_cast<size_t>(assigned[i])];
      request.done();
    }
  }

  const epp::Host host_;
  const uint64_t window_ns_;
  const int64_t max_size_;
  const epp::burst::Options options_;
  std::mutex mutex_;
  std::shared_ptr<Batch> batch_;  // guarded by mutex_; null: none is open
};

class BurstPrefixCacheProducer {
 public:
  static constexpr const char* kName = "burst-prefix-cache-producer";
  static constexpr const char* kDoc =
      "Collects requests for a moment and places those that share their prompt together.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr std::array kParams{
      epp::Int("windowDurationMs", 100, 1, 10000, "How long a batch is open."),
      epp::Int("maxPerReplica", -1, -1, 1e9,
               "Most requests with the same prompt on one endpoint; -1: all of them."),
      epp::Int("blockSizeTokens", 64, 1, 1e9, "Tokens a block."),
      epp::Int("maxPrefixTokensToMatch", 0, 0, 0x1p62,
               "Tokens of a prompt to look at; 0: 2048 blocks."),
      epp::Int("minColocateBlocks", 0, 0, 1e9,
               "Prompts that begin with so many equal blocks belong together; 0: equal ones only."),
      epp::Int("maxBatchSize", 1000, -1, 1e9, "Most requests of a batch; -1: no limit."),
      epp::String("balanceBy", "requests", "What the load of an endpoint is in a batch.")
          .OneOf(kBalance)};
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kTokenizedPrompt),
                                        epp::Uses(epp::attr::kRunningRequestsSize)};
  static constexpr std::array kProduces{epp::Makes(epp::attr::kPrefixMatchBlocks),
                                        epp::Makes(epp::attr::kPrefixTotalBlocks),
                                        epp::Makes(epp::attr::kPrefixBlockSize)};

  static epp::Result<BurstPrefixCacheProducer> Create(const epp::Context& ctx) {
    for (const size_t i : {size_t{1}, size_t{5}}) {
      if (ctx.i64(i) != 0) continue;
      return epp::Status::Invalid(std::string(kParams[i].spec.name) +
                                  " is 0, want -1, or 1 and more");
    }
    const auto block = static_cast<uint64_t>(ctx.i64(2));
    const auto tokens = static_cast<uint64_t>(ctx.i64(3));
    if (tokens != 0 && tokens < block) {
      return epp::Status::Invalid("maxPrefixTokensToMatch is " + std::to_string(tokens) +
                                  ", want 0, or blockSizeTokens (" + std::to_string(block) +
                                  ") and more");
    }
    BurstPrefixCacheProducer p(ctx.host());
    p.window_ns_ = static_cast<uint64_t>(ctx.i64(0)) * kMs;
    p.block_tokens_ = block;
    p.max_blocks_ = tokens == 0 ? kDefaultBlocks : tokens / block;
    p.collector_ = std::make_shared<Collector>(
        ctx.host(), p.window_ns_, ctx.i64(5),
        epp::burst::Options{.per_replica = ctx.i64(1),
                            .min_colocate = static_cast<uint64_t>(ctx.i64(4)),
                            .by_tokens = ctx.str(6) == "tokens"});
    return p;
  }

  using Operation = Joined;
  uint64_t ProduceTimeoutNs() const { return window_ns_ + kGraceNs; }

  epp::Status StartProduce(const epp::Call& call, const epp::Candidates& in,
                           const epp::Outputs& out, epp::Completion done,
                           std::shared_ptr<Joined>& operation) const {
    out.Set<int64_t>(0, 0);
    out.Set<int64_t>(1, static_cast<int64_t>(block_tokens_));
    auto request = std::make_shared<Joined>();
    request->done = done;
    request->hashes = Hash(call);
    if (request->hashes.empty() || in.size() == 0) return {};  // would wait for nothing
    epp::Status status = collector_->Join(collector_, timers_, request, in);
    if (status.ok()) operation = std::move(request);
    return status;
  }

  epp::Status FinishProduce(Joined& request, const epp::Call&, const epp::Candidates& in,
                            const epp::Outputs& out) const {
    const auto total = static_cast<int64_t>(request.hashes.size());
    out.Set<int64_t>(0, total);
    out.Set<int64_t>(1, static_cast<int64_t>(block_tokens_));
    const std::span<int64_t> match = out.column<int64_t>(0);
    for (size_t i = 0; i < in.size(); ++i) {
      if (request.assigned != 0 && in.endpoint(i).id == request.assigned) match[i] = total;
    }
    return {};
  }

  void CancelProduce(Joined& request) const { request.left = true; }

 private:
  explicit BurstPrefixCacheProducer(epp::Host host) : timers_(host) {}

  std::vector<uint64_t> Hash(const epp::Call& call) const {
    std::vector<uint64_t> out;
    const auto* const in = static_cast<const epp_tokenized_prompt*>(call.column<const void*>(0)[0]);
    if (in == nullptr) return out;
    const uint64_t root =
        epp::approx::HashRoot(epp::View(call.request().target_model), epp::View(in->cache_salt));
    for (uint32_t p = 0; p < in->prompt_count; ++p) {
      const std::span<const uint32_t> tokens(in->tokens + in->offsets[p],
                                             in->offsets[p + 1] - in->offsets[p]);
      const uint64_t blocks =
          std::min({uint64_t{epp::approx::BlockCount(tokens.size(), block_tokens_)}, max_blocks_,
                    kMaxRequestBlocks - out.size()});
      const size_t at = out.size();
      out.resize(at + blocks);
      epp::approx::HashBlocks(root, tokens, block_tokens_, std::span(out).subspan(at));
    }
    return out;
  }

  epp::Timers timers_;
  uint64_t window_ns_ = 0;
  uint64_t block_tokens_ = 0;
  uint64_t max_blocks_ = 0;
  std::shared_ptr<Collector> collector_;
};

}  // namespace

EPP_LIBRARY("burst-prefix-cache-producer", "0.1.0", BurstPrefixCacheProducer)
