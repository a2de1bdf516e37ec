// The endpoint attributes of this process, numbered. Grows only: a number keeps its meaning, so
// frames and generations of different age agree.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace epp::pool {

using AttributeId = uint32_t;

struct AttributeInfo {
  std::string key;       // "WaitingQueueSize", "label/llm-d.ai/role"
  std::string producer;  // "" for a key without producer part
  int32_t type = 0;      // EPP_T_*, opaque excluded
};

// Threads: any.
class AttributeRegistry {
 public:
  // The number of key/producer, registered when new. InvalidArgument when it is known with another
  // type, or when the type cannot be a column of the pool (opaque). A key "label/NAME" is filled
  // from the endpoints' labels by the pool itself.
  absl::StatusOr<AttributeId> Register(std::string_view key, std::string_view producer,
                                       int32_t type);
  AttributeInfo info(AttributeId id) const;
  size_t size() const;

 private:
  mutable std::mutex mutex_;
  std::deque<AttributeInfo> infos_;
};

}  // namespace epp::pool
