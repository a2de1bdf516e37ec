#include "host/runtime/generation.h"

#include <utility>

namespace epp::runtime {

void Generation::AttachToPool() {
  for (const auto& held : held_) held->Attach(pool_);
}

std::string Generation::ColumnKey(uint32_t frame_column) const {
  return pool_->attributes().info(serving_.wiring.frame_columns[frame_column]).key;
}

Generation::~Generation() {
  sources_.clear();
  discovery_.reset();
  serving_ = {};
  instances_.clear();
  // Consumers were created after what their parameters name; they go first.
  while (!held_.empty()) held_.pop_back();
}

}  // namespace epp::runtime
