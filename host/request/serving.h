// What requests are served with: the request's view of one generation, and how a worker gets it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "host/request/parser_registry.h"
#include "host/scheduling/cycle.h"
#include "host/scheduling/wiring.h"

namespace epp::request {

// Immutable. A request pins one from its first header to its end.
struct Serving {
  uint64_t number = 0;  // of the generation
  scheduling::Wiring wiring;
  ParserRegistry parsers;
  scheduling::Observer* observer = nullptr;
  // Union of what the response hooks want, EPP_WANT_*.
  uint32_t response_wants = 0;

  // Attributes that the host itself reads, as indices into wiring.produced.
  std::optional<uint32_t> tokenized_prompt;
  std::optional<uint32_t> match_blocks;  // of the default approximate producer
  std::optional<uint32_t> match_block_size;
  std::optional<uint32_t> agent_identity;  // whose text is the fairness id when no header gives one
};

// The current Serving. One writer publishes, each worker reads through its own ServingReader.
class ServingSlot {
 public:
  void Publish(std::shared_ptr<const Serving> serving) {
    std::lock_guard lock(mutex_);
    current_ = std::move(serving);
    version_.fetch_add(1, std::memory_order_release);
  }
  std::shared_ptr<const Serving> current() const {
    std::lock_guard lock(mutex_);
    return current_;
  }

 private:
  friend class ServingReader;
  mutable std::mutex mutex_;
  std::shared_ptr<const Serving> current_;
  std::atomic<uint64_t> version_{0};
};

// One worker's view: one load while nothing changed. Not thread-safe.
class ServingReader {
 public:
  explicit ServingReader(const ServingSlot* slot) : slot_(slot) {}
  const std::shared_ptr<const Serving>& Get() {
    const uint64_t version = slot_->version_.load(std::memory_order_acquire);
    if (version != version_) {
      current_ = slot_->current();
      version_ = version;
    }
    return current_;
  }
  // Lets go until the next Get.
  void Release() {
    current_.reset();
    version_ = ~uint64_t{0};
  }

 private:
  const ServingSlot* slot_;
  uint64_t version_ = ~uint64_t{0};
  std::shared_ptr<const Serving> current_;
};

}  // namespace epp::request
