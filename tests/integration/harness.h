// A serving epp without its listeners: a real generation over the real plugin libraries, a pool
// that the test fills, and exchanges on top.
//
// Threads: a Harness is made and destroyed on one thread. Flows of different workers may run
// concurrently; the pool takes changes from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "host/admin/names.h"
#include "host/config/settings.h"
#include "host/objects/object_set.h"
#include "host/request/http_exchange.h"
#include "host/request/services.h"
#include "host/serve/conditions.h"
#include "host/serve/load.h"
#include "host/serve/shadows.h"
#include "host/telemetry/decisions.h"

namespace epp::integration {

// An endpoint and what its metrics say.
struct Pod {
  std::string name;
  std::string address;
  int64_t queue = 0;                     // requests waiting
  double kv = 0;                         // share of the KV cache in use, 0 to 1
  std::vector<std::string> active = {};  // adapters
  int64_t max_active = 0;                // adapters
  std::vector<std::pair<std::string, std::string>> labels = {};
  uint16_t port = 8000;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

// Filter metadata of a message.
class FakeMetadata final : public request::Metadata {
 public:
  FakeMetadata& Set(std::string name_space, std::string key, std::string text);
  FakeMetadata& Set(std::string name_space, std::string key, std::vector<std::string> list);
  bool List(std::string_view name_space, std::string_view key,
            std::vector<std::string_view>* out) const override;
  std::optional<std::string_view> String(std::string_view name_space,
                                         std::string_view key) const override;

 private:
  using Value = std::variant<std::string, std::vector<std::string>>;
  const Value* Find(std::string_view name_space, std::string_view key) const;
  std::map<std::pair<std::string, std::string>, Value> values_;
};

// The subset hint of a proxy.
FakeMetadata SubsetHint(std::vector<std::string> entries);

struct HarnessOptions {
  std::string config = {};  // "": the built-in default
  request::RequestOptions request = {};
  uint32_t workers = 1;
  double shadow_cpu_share = 1;  // of the workers
};

class Harness {
 public:
  explicit Harness(HarnessOptions options = {});
  ~Harness();
  Harness(const Harness&) = delete;
  Harness& operator=(const Harness&) = delete;

  // InferenceObjective and InferenceModelRewrite objects, as YAML; instead of those before.
  void SetObjects(std::string yaml);

  // Replaces the pool and its values; published when this returns.
  void SetPods(const std::vector<Pod>& pods);
  // New values for one endpoint that exists; not published.
  void Update(const Pod& pod);

  std::unique_ptr<request::Exchange> NewExchange(uint32_t worker = 0);
  request::HttpExchangeFactory& factory() { return *factory_; }
  const request::Services& services() const { return services_; }
  uint32_t workers() const { return platform_->workers(); }
  pool::Pool& pool() { return platform_->pool(); }
  telemetry::EppMetrics& metrics() { return platform_->metrics(); }
  const telemetry::DecisionRings& decisions() const { return *rings_; }
  const runtime::Generation& generation() const { return *generation_; }
  serve::Conditions& conditions() { return *conditions_; }
  serve::Shadows& shadows() { return *shadows_; }
  // Begins a shadow; fails the test when it is refused.
  void BeginShadow(std::string config, double sample = 1, uint64_t planned_ns = 0);
  // Lets the shadow follow what happened.
  void WorkOnShadow() { shadows_->Work(generation_); }
  // Serves this from now on, as a reload does.
  void Reload(std::string config);
  // Forgets the plugin libraries that are not in use, for builds to come.
  void LosePlugins();
  const admin::Names& names() const { return *names_; }

  // The page that a scraper would get.
  std::string MetricsText() { return platform_->registry().Text(); }
  // The sum of the samples of `name` whose line contains `label`; 0 when there is none.
  double Metric(std::string_view name, std::string_view label = "");
  // The newest decision; fails the test when there is none.
  telemetry::DecisionRecord LastDecision() const;
  // The state of every plugin that shows it, concatenated.
  std::string PluginDumps() const;

 private:
  config::Settings settings_;
  std::unique_ptr<serve::Platform> platform_;
  std::unique_ptr<telemetry::DecisionRings> rings_;
  std::shared_ptr<admin::Names> names_;
  std::shared_ptr<runtime::Generation> generation_;
  std::unique_ptr<serve::Conditions> conditions_;
  std::unique_ptr<serve::Shadows> shadows_;
  request::ServingSlot serving_;
  objects::ObjectSlot objects_;
  request::Services services_;
  std::unique_ptr<request::HttpExchangeFactory> factory_;
};

// One exchange, driven the way a stream drives it. Ends half-closed when the test does not end it.
class Flow {
 public:
  explicit Flow(Harness& harness, uint32_t worker = 0);
  ~Flow();
  Flow(const Flow&) = delete;
  Flow& operator=(const Flow&) = delete;

  // Headers and body of a request; `headers` come behind the path. The body is in a buffer of its
  // own, so that a sanitizer sees every read behind the padding.
  request::RequestVerdict Post(std::string_view path, std::string_view body,
                               const Headers& headers = {},
                               const request::Metadata& metadata = FakeMetadata());
  // A request that ends with its headers.
  request::RequestVerdict Get(std::string_view path, const Headers& headers = {},
                              const request::Metadata& metadata = FakeMetadata());
  // Also says that the request was sent on: its body and the verdict's pieces are gone then.
  request::ResponseHeadersVerdict Head(const Headers& headers, bool end = false,
                                       const request::Metadata& metadata = FakeMetadata());
  request::ResponseBodyVerdict Chunk(std::string_view bytes, bool end);
  void End(request::StreamEnd how = request::StreamEnd::kCancelled);

  // A whole answered exchange: 200, JSON, one body, reset by the proxy.
  void Answer(std::string_view json);
  request::Exchange& exchange() { return *exchange_; }

 private:
  std::vector<request::Header> Views(const Headers& headers);
  std::unique_ptr<char[]> body_;
  std::vector<request::Header> views_;
  std::unique_ptr<request::Exchange> exchange_;  // goes before what it may look at
};

// ---- Looking at verdicts

bool Forwards(const request::RequestVerdict& verdict);
std::string BodyOf(const request::RequestVerdict& verdict);
// The value that a mutation sets, or nothing.
std::optional<std::string> Find(const request::HeaderMutation& mutation, std::string_view name);
std::string Destination(const request::RequestVerdict& verdict);
// The names that a mutation sets, sorted.
std::vector<std::string> Names(const request::HeaderMutation& mutation);
const request::MetadataEntry* Find(const std::vector<request::MetadataEntry>& entries,
                                   std::string_view name_space, std::string_view key);
// "503 inference error: ..." of an immediate reply; "forward" and "fail: ..." otherwise.
std::string Outcome(const request::RequestVerdict& verdict);
std::string DropReason(const request::RequestVerdict& verdict);

inline constexpr std::string_view kCompletions = "/v1/completions";
inline constexpr std::string_view kChat = "/v1/chat/completions";

}  // namespace epp::integration
