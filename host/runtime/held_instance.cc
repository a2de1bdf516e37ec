#include "host/runtime/held_instance.h"

#include <utility>

namespace epp::runtime {
namespace {

// Passes the pool's events to one plugin instance.
class PluginListener final : public pool::PoolListener {
 public:
  PluginListener(std::shared_ptr<loader::Instance> instance, const epp_pool_events* table)
      : instance_(std::move(instance)), table_(table) {}
  void EndpointUpserted(const pool::Endpoint& endpoint) override {
    const loader::InFlight inside(instance_->guard(), loader::Entry::kPoolEvents, 0);
    table_->upserted(instance_->self(), &endpoint.abi());
  }
  void EndpointRemoved(const pool::Endpoint& endpoint) override {
    const loader::InFlight inside(instance_->guard(), loader::Entry::kPoolEvents, 0);
    table_->removed(instance_->self(), &endpoint.abi());
  }

 private:
  const std::shared_ptr<loader::Instance> instance_;
  const epp_pool_events* const table_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<HeldInstance>> HeldInstance::Create(const config::PluginSpec& spec,
                                                                   loader::HostServices* host,
                                                                   uint32_t workers,
                                                                   bool own_metrics) {
  std::shared_ptr<HeldInstance> held(new HeldInstance);
  held->identity_ = IdentityOf(spec);
  const uint32_t copies = spec.type->type->flags & EPP_TYPE_SERIAL ? workers : 1;
  for (uint32_t c = 0; c < copies; ++c) {
    std::unique_ptr<loader::InstanceHost> services =
        host->ForInstance(std::string(spec.type->name()), spec.name, own_metrics);
    absl::StatusOr<std::shared_ptr<loader::Instance>> made =
        loader::Instance::Create(*spec.type, spec.name, services->table(), spec.params->view());
    services->EndCreate();
    if (!made.ok()) return made.status();
    held->hosts_.push_back(std::move(services));
    held->instances_.push_back(*std::move(made));
  }
  return held;
}

HeldInstance::~HeldInstance() {
  for (const auto& listener : listeners_) pool_->RemoveListener(listener.get());
  listeners_.clear();
  for (const auto& host : hosts_) host->Stop();
  while (!instances_.empty()) instances_.pop_back();
}

bool HeldInstance::Serves(const config::PluginSpec& spec) const {
  return identity_ == IdentityOf(spec);
}

void HeldInstance::Attach(pool::Pool* pool) {
  if (pool_ != nullptr) return;
  pool_ = pool;
  for (const auto& instance : instances_) {
    const auto* table = instance->Get<epp_pool_events>(EPP_POOL_EVENTS_ID);
    if (table == nullptr) continue;
    listeners_.push_back(std::make_shared<PluginListener>(instance, table));
    pool_->AddListener(listeners_.back());
  }
}

}  // namespace epp::runtime
