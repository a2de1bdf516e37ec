#include "tests/bench/host_under_test.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "host/base/str_cat.h"
#include "host/config/diagnostics.h"

namespace epp::bench {
namespace {

config::SettingsBuilder SettingsFor(const HostOptions& options) {
  config::SettingsBuilder settings;
  if (!options.plugins_dir.empty()) {
    settings.Apply("plugins.dirs", options.plugins_dir, "benchmark").IgnoreError();
  }
  return settings;
}

}  // namespace

HostUnderTest::HostUnderTest(const HostOptions& options)
    : settings_(SettingsFor(options)),
      platform_(settings_.settings(), 1, false, {}, options.random),
      carrier_(&platform_.metrics()),
      rings_(1, {.records = options.records, .failures = 16}) {}

HostUnderTest::~HostUnderTest() {
  factory_.reset();
  serving_.Publish(nullptr);
  carrier_.Clear();
}

absl::StatusOr<std::unique_ptr<HostUnderTest>> HostUnderTest::Start(const HostOptions& options) {
  std::unique_ptr<HostUnderTest> host(new HostUnderTest(options));
  if (absl::Status status = host->Init(options); !status.ok()) return status;
  return host;
}

absl::Status HostUnderTest::Init(const HostOptions& options) {
  auto config = options.config;
  if (!config) {
    config =
        std::make_shared<const config::SourceText>(config::SourceText{"", options.config_text});
  }
  if (absl::Status status = Build(std::move(config)); !status.ok()) return status;
  Serve();

  request::Services services;
  services.clock = options.clock;
  services.pool = &platform_.pool();
  services.serving = &serving_;
  services.metrics = &platform_.metrics();
  services.decisions = &rings_;
  services.operations = &platform_.hub().operations();
  services.random_seed = 1;
  services.options.observe_responses = options.observe_responses;
  factory_ = std::make_unique<request::HttpExchangeFactory>(services, 1);

  // The order of values_ is that of SetMetrics.
  for (const auto& [key, type] : {std::pair{"WaitingQueueSize", EPP_T_I64},
                                  {"RunningRequestsSize", EPP_T_I64},
                                  {"KVCacheUsagePercent", EPP_T_F64},
                                  {"CacheBlockSize", EPP_T_I64},
                                  {"CacheNumBlocks", EPP_T_I64}}) {
    const auto id = platform_.pool().attributes().Register(key, "core-metrics-extractor", type);
    if (!id.ok()) return id.status();
    values_.emplace_back().id = *id;
  }
  return absl::OkStatus();
}

absl::Status HostUnderTest::Build(std::shared_ptr<const config::SourceText> config) {
  config::Diagnostics diagnostics;
  std::shared_ptr<runtime::Generation> next =
      platform_.Build(last_number_ + 1, std::move(config), diagnostics, generation_.get());
  if (!next) return absl::InvalidArgumentError(diagnostics.Render());
  ++last_number_;
  generation_ = std::move(next);
  return absl::OkStatus();
}

void HostUnderTest::Serve() {
  serving_.Publish(std::shared_ptr<const request::Serving>(generation_, &generation_->serving()));
}

// May a request run on it?
bool HostUnderTest::InUse(const runtime::HeldInstance& held) const {
  const auto has = [&](const std::shared_ptr<runtime::Generation>& generation) {
    return generation && std::any_of(generation->held().begin(), generation->held().end(),
                                     [&](const auto& other) { return other.get() == &held; });
  };
  return has(generation_) || std::any_of(former_.begin(), former_.end(),
                                         [&](const auto& former) { return has(former.lock()); });
}

absl::Status HostUnderTest::Reload(std::shared_ptr<const config::SourceText> config) {
  const std::shared_ptr<runtime::Generation> former = generation_;
  if (absl::Status status = Build(std::move(config)); !status.ok()) return status;
  generation_->AttachToPool();
  platform_.pool().Publish();
  carrier_.Carry(*former, *generation_);
  Serve();
  std::erase_if(former_, [](const auto& generation) { return generation.expired(); });
  former_.push_back(former);
  carrier_.Follow([this](const runtime::HeldInstance& held) { return InUse(held); });
  return absl::OkStatus();
}

void HostUnderTest::AddEndpoints(uint32_t count) {
  std::vector<pool::Endpoint::Fields> fields;
  for (uint32_t i = 0; i < count; ++i) {
    fields.push_back({"default",
                      StrCat("server-", i),
                      StrCat("10.", i >> 16 & 255, ".", i >> 8 & 255, ".", i & 255),
                      8000,
                      0,
                      {}});
  }
  AddFields(std::move(fields));
}

void HostUnderTest::AddEndpoints(const std::vector<uint16_t>& ports) {
  std::vector<pool::Endpoint::Fields> fields;
  for (const uint16_t port : ports) {
    fields.push_back({"default", StrCat("server-", fields.size()), "127.0.0.1", port, 0, {}});
  }
  AddFields(std::move(fields));
}

void HostUnderTest::AddFields(std::vector<pool::Endpoint::Fields> fields) {
  std::unordered_map<std::string, uint32_t> numbers;
  for (const auto& f : fields) {
    numbers.emplace(StrCat(f.name_space, "/", f.name), static_cast<uint32_t>(numbers.size()));
  }
  platform_.pool().Replace(std::move(fields));
  platform_.pool().Publish();
  ids_.resize(numbers.size());
  host_ports_.resize(numbers.size());
  const auto frame = platform_.pool().current();
  for (const epp_endpoint* endpoint : frame->endpoints()) {
    const uint32_t number = numbers.at(std::string(endpoint->name.data, endpoint->name.size));
    ids_[number] = endpoint->id;
    host_ports_[number].assign(endpoint->host_port.data, endpoint->host_port.size);
  }
  generation_->AttachToPool();
}

std::string HostUnderTest::HostPort(uint32_t endpoint) const { return host_ports_[endpoint]; }

void HostUnderTest::SetMetrics(uint32_t endpoint, const EndpointMetrics& metrics) {
  values_[0].i64 = metrics.waiting;
  values_[1].i64 = metrics.running;
  values_[2].f64 = metrics.kv_usage;
  values_[3].i64 = metrics.block_tokens;
  values_[4].i64 = metrics.blocks;
  values_[3].present = values_[4].present = metrics.blocks > 0;
  platform_.pool().Update(ids_[endpoint], values_, true);
}

}  // namespace epp::bench
