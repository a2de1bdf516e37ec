// The LRU nodes of all endpoints, in one pool that never moves a node and never exceeds its limit.
//
// Endpoints take and give nodes in batches, so that the pool's lock is rare. Numbers, not pointers,
// link the nodes: half the memory.
//
// Threads: Take, Give and Bytes from anywhere. A taken node belongs to its taker, who locks.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace epp::prefix_index {

struct Node {
  uint64_t hash;
  uint32_t newer;  // in an endpoint's LRU list; kNoNode at the ends
  uint32_t older;  // also links free nodes
};

class NodePool {
 public:
  struct Batch {
    uint32_t first;  // linked by `older`; kNoNode when the pool is exhausted
    uint32_t count;
  };

  // At most limit nodes, below kNoNode.
  explicit NodePool(uint32_t limit);

  uint32_t batch_size() const { return batch_size_; }
  Node& operator[](uint32_t i) { return chunks_[i / kChunk][i % kChunk]; }

  Batch Take();
  void Give(Batch batch);

  // Allocated so far; takes no lock.
  uint64_t Bytes() const;

 private:
  static constexpr uint32_t kChunk = 4096;

  const uint32_t limit_;
  const uint32_t batch_size_;
  const std::unique_ptr<std::unique_ptr<Node[]>[]> chunks_;
  std::mutex mu_;                  // guards what follows, and the pointers in chunks_ beyond used_
  std::atomic<uint32_t> used_{0};  // nodes ever handed out; written under mu_
  std::vector<Batch> free_;
};

}  // namespace epp::prefix_index
