// A plugin instance with all that it needs to live: its host services, its copies for workers, its
// subscription to the pool. Shared by the generations that use it, so that what it has learned
// survives a change of the config around it.
//
// Threads: created and destroyed on the config thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "host/config/endpoint_picker_config.h"
#include "host/loader/catalog.h"
#include "host/loader/host_services.h"
#include "host/pool/pool.h"
#include "host/runtime/identity.h"

namespace epp::runtime {

class HeldInstance {
 public:
  // `workers` copies for EPP_TYPE_SERIAL types, one otherwise. `own_metrics`: the plugin came with
  // the host, so its metrics keep their names.
  static absl::StatusOr<std::shared_ptr<HeldInstance>> Create(const config::PluginSpec& spec,
                                                              loader::HostServices* host,
                                                              uint32_t workers, bool own_metrics);
  ~HeldInstance();
  HeldInstance(const HeldInstance&) = delete;
  HeldInstance& operator=(const HeldInstance&) = delete;

  // Whether this instance is what `spec` asks for: same name, same code, same parameters.
  bool Serves(const config::PluginSpec& spec) const;

  // Tells it of the pool's endpoints, now and from now on. Once is enough.
  void Attach(pool::Pool* pool);

  const std::shared_ptr<loader::Instance>& instance() const { return instances_.front(); }
  // One per worker, or just the one.
  const std::vector<std::shared_ptr<loader::Instance>>& all() const { return instances_; }

 private:
  HeldInstance() = default;

  InstanceIdentity identity_;
  pool::Pool* pool_ = nullptr;
  // An instance's host goes after it.
  std::vector<std::unique_ptr<loader::InstanceHost>> hosts_;
  std::vector<std::shared_ptr<loader::Instance>> instances_;
  std::vector<std::shared_ptr<pool::PoolListener>> listeners_;
};

}  // namespace epp::runtime
