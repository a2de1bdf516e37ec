// The whole wiring of one accepted config: instances, bound columns, profiles. Immutable once
// built.
//
// Threads: built and destroyed on the config thread; its Serving is read by all workers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/config/endpoint_picker_config.h"
#include "host/loader/catalog.h"
#include "host/loader/host_services.h"
#include "host/pool/pool.h"
#include "host/request/serving.h"
#include "host/runtime/held_instance.h"
#include "host/runtime/plugin_observer.h"

namespace epp::runtime {

class Generation;

// What generations share. Outlives them.
struct Environment {
  std::shared_ptr<const loader::Catalog> catalog;
  loader::HostServices* host = nullptr;
  pool::Pool* pool = nullptr;
  telemetry::EppMetrics* metrics = nullptr;
  uint32_t workers = 1;
  // Libraries below this directory came with the host: their metrics keep their own names.
  std::string own_plugins_dir;
  // Set for a generation that only looks on while this one serves. It shares with it what both ask
  // for alike and a decision does not call (producers above all), and has instances of its own of
  // the rest. What is shared has no step in its wiring: it is never called, its columns are taken
  // from the live decision. `former` then is the looker-on that it replaces, if any.
  const Generation* live = nullptr;
};

// A scraper that reads what a source fetched, and where its attributes go.
struct Extractor {
  std::shared_ptr<loader::Instance> instance;
  const epp_scraper* table = nullptr;
  std::vector<pool::AttributeId> attributes;  // by index into its produces
  std::vector<int32_t> types;                 // EPP_T_* of each of them
};

struct DataSource {
  std::shared_ptr<loader::Instance> instance;
  epp_fetch_plan plan{};  // strings live as long as the instance
  std::vector<Extractor> extractors;
};

class Generation {
 public:
  // Creates the instances of a resolved config, adds the producers that they need, binds columns
  // and orders producers. Instances of `former` (may be null) that the config asks for unchanged
  // are taken over as they are. All errors go to `out`; null when there is any.
  static std::unique_ptr<Generation> Build(uint64_t number, config::ResolvedConfig config,
                                           const Environment& environment, const Generation* former,
                                           config::Diagnostics& out);
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  const request::Serving& serving() const { return serving_; }
  const config::ResolvedConfig& config() const { return config_; }
  // The libraries that its types were looked up in.
  const loader::Catalog& catalog() const { return *catalog_; }
  const std::vector<DataSource>& sources() const { return sources_; }
  // Instances by order of creation, injected ones included.
  const std::vector<std::shared_ptr<loader::Instance>>& instances() const { return instances_; }
  // The same with all that belongs to them.
  const std::vector<std::shared_ptr<HeldInstance>>& held() const { return held_; }
  // How many of them came from the former generation.
  size_t kept_instances() const { return kept_instances_; }
  std::shared_ptr<loader::Instance> discovery() const { return discovery_; }
  // The attribute key of one of the wiring's frame columns.
  std::string ColumnKey(uint32_t frame_column) const;

  // Of a looker-on: what the live decision produced, by index into its wiring's and our produced.
  struct Copied {
    uint32_t live = 0;
    uint32_t own = 0;
    uint32_t scope = 0;  // EPP_SCOPE_*
  };
  const std::vector<Copied>& copied() const { return copied_; }
  // Whether an instance, by index, belongs to the live generation as well.
  bool shared(size_t instance) const { return shared_[instance]; }

  // Tells plugins of the pool's endpoints, now and from now on. Call before serving.
  void AttachToPool();

 private:
  class Builder;
  Generation() = default;

  pool::Pool* pool_ = nullptr;
  std::shared_ptr<const loader::Catalog> catalog_;  // the config's types point into it
  config::ResolvedConfig config_;
  std::vector<std::shared_ptr<HeldInstance>> held_;  // destroyed last to first
  std::vector<std::shared_ptr<loader::Instance>> instances_;
  size_t kept_instances_ = 0;
  std::vector<bool> shared_;  // by instance
  std::vector<Copied> copied_;
  std::vector<DataSource> sources_;
  std::shared_ptr<loader::Instance> discovery_;
  request::Serving serving_;
  std::unique_ptr<PluginObserver> observer_;
};

}  // namespace epp::runtime
