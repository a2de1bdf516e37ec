#include "host/runtime/generation.h"

#include <utility>

namespace epp::runtime {
namespace {

// Passes the pool's events to one plugin instance.
class PluginListener final : public pool::PoolListener {
 public:
  PluginListener(std::shared_ptr<loader::Instance> instance, const epp_pool_events* table)
      : instance_(std::move(instance)), table_(table) {}
  void EndpointUpserted(const pool::Endpoint& endpoint) override {
    table_->upserted(instance_->self(), &endpoint.abi());
  }
  void EndpointRemoved(const pool::Endpoint& endpoint) override {
    table_->removed(instance_->self(), &endpoint.abi());
  }

 private:
  const std::shared_ptr<loader::Instance> instance_;
  const epp_pool_events* const table_;
};

}  // namespace

void Generation::AttachToPool() {
  const auto attach = [this](const std::shared_ptr<loader::Instance>& instance) {
    const auto* table = instance->Get<epp_pool_events>(EPP_POOL_EVENTS_ID);
    if (table == nullptr) return;
    listeners_.push_back(std::make_shared<PluginListener>(instance, table));
    pool_->AddListener(listeners_.back());
  };
  for (const auto& instance : instances_) attach(instance);
  for (const auto& instance : extra_) attach(instance);
}

std::string Generation::ColumnKey(uint32_t frame_column) const {
  return pool_->attributes().info(serving_.wiring.frame_columns[frame_column]).key;
}

Generation::~Generation() {
  for (const auto& listener : listeners_) pool_->RemoveListener(listener.get());
  listeners_.clear();
  sources_.clear();
  discovery_.reset();
  serving_ = {};
  extra_.clear();
  // Consumers were created after what their parameters name; they go first.
  while (!instances_.empty()) instances_.pop_back();
  hosts_.clear();
}

}  // namespace epp::runtime
