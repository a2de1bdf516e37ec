#include "plugins/common/prefix_index/node_pool.h"

#include <algorithm>
#include <bit>

#include "plugins/common/prefix_index/holders.h"

namespace epp::prefix_index {

// Private stock must stay small against the limit; a batch must not straddle two chunks.
NodePool::NodePool(uint32_t limit)
    : limit_(limit),
      batch_size_(std::bit_floor(std::clamp(limit / 4096, 1u, 64u))),
      chunks_(std::make_unique<std::unique_ptr<Node[]>[]>(limit / kChunk + 1)) {}

NodePool::Batch NodePool::Take() {
  Batch batch{kNoNode, 0};
  {
    const std::lock_guard lock(mu_);
    if (!free_.empty()) {
      batch = free_.back();
      free_.pop_back();
      return batch;
    }
    const uint32_t used = used_.load(std::memory_order_relaxed);
    batch.count = std::min(batch_size_, limit_ - used);
    if (batch.count == 0) return batch;
    std::unique_ptr<Node[]>& chunk = chunks_[used / kChunk];
    if (chunk == nullptr) chunk = std::make_unique<Node[]>(kChunk);
    batch.first = used;
    used_.store(used + batch.count, std::memory_order_relaxed);
  }
  for (uint32_t i = 0; i < batch.count; ++i) {
    (*this)[batch.first + i].older = i + 1 < batch.count ? batch.first + i + 1 : kNoNode;
  }
  return batch;
}

void NodePool::Give(Batch batch) {
  const std::lock_guard lock(mu_);
  free_.push_back(batch);
}

uint64_t NodePool::Bytes() const {
  const uint64_t used = used_.load(std::memory_order_relaxed);
  return (used + kChunk - 1) / kChunk * kChunk * sizeof(Node);
}

}  // namespace epp::prefix_index
