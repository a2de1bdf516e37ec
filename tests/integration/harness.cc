#include "tests/integration/harness.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "gtest/gtest.h"
#include "host/base/str_cat.h"
#include "host/objects/objects_text.h"
#include "tests/integration/test_plugins.h"

namespace epp::integration {
namespace {

constexpr uint32_t kRecords = 4096;
// Tests set values once, and may take their time.
constexpr uint64_t kNeverStale = uint64_t{1} << 60;

class NoWaker final : public request::Waker {
 public:
  void Wake() override {}
};

config::Settings TestSettings() {
  config::Settings settings = config::SettingsBuilder().settings();
  settings.plugin_dirs = {EPP_TEST_PLUGINS};
  settings.allow_experimental = true;
  settings.call_budget = 0;  // a loaded machine is no reason to switch a plugin off
  return settings;
}

pool::AttributeValue Value(pool::AttributeId id) {
  pool::AttributeValue value;
  value.id = id;
  return value;
}

}  // namespace

// ---- FakeMetadata

FakeMetadata& FakeMetadata::Set(std::string name_space, std::string key, std::string text) {
  values_[{std::move(name_space), std::move(key)}] = std::move(text);
  return *this;
}

FakeMetadata& FakeMetadata::Set(std::string name_space, std::string key,
                                std::vector<std::string> list) {
  values_[{std::move(name_space), std::move(key)}] = std::move(list);
  return *this;
}

const FakeMetadata::Value* FakeMetadata::Find(std::string_view name_space,
                                              std::string_view key) const {
  const auto it = values_.find({std::string(name_space), std::string(key)});
  return it == values_.end() ? nullptr : &it->second;
}

bool FakeMetadata::List(std::string_view name_space, std::string_view key,
                        std::vector<std::string_view>* out) const {
  out->clear();
  const Value* value = Find(name_space, key);
  const auto* list = value ? std::get_if<std::vector<std::string>>(value) : nullptr;
  if (list == nullptr) return false;
  out->assign(list->begin(), list->end());
  return true;
}

std::optional<std::string_view> FakeMetadata::String(std::string_view name_space,
                                                     std::string_view key) const {
  const Value* value = Find(name_space, key);
  const auto* text = value ? std::get_if<std::string>(value) : nullptr;
  if (text == nullptr) return std::nullopt;
  return *text;
}

FakeMetadata SubsetHint(std::vector<std::string> entries) {
  FakeMetadata metadata;
  metadata.Set("envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset", std::move(entries));
  return metadata;
}

// ---- Harness

Harness::Harness(HarnessOptions options)
    : settings_(TestSettings()),
      platform_(
          std::make_unique<serve::Platform>(settings_, options.workers, false, TestPluginTypes())),
      rings_(std::make_unique<telemetry::DecisionRings>(
          options.workers,
          telemetry::DecisionRings::Options{.records = kRecords, .failures = kRecords / 4})),
      names_(std::make_shared<admin::Names>()) {
  const auto catalog = platform_->catalog();
  for (const loader::RefusedLibrary& refused : catalog->refused()) {
    ADD_FAILURE() << refused.path << ": " << refused.why;
  }
  config::Diagnostics diagnostics;
  generation_ = platform_->Build(
      1, std::make_shared<config::SourceText>(config::SourceText{"test", options.config}),
      diagnostics);
  if (generation_ == nullptr) {
    // Nothing in this program can go on.
    ADD_FAILURE() << diagnostics.Render();
    std::abort();
  }
  platform_->pool().AddListener(names_);
  generation_->AttachToPool();
  admin::GenerationNames names;
  names.number = 1;
  for (const scheduling::BoundPlugin& plugin : generation_->serving().wiring.plugins) {
    names.plugins.push_back({plugin.name(), plugin.type_name(), ""});
  }
  for (const scheduling::Profile& profile : generation_->serving().wiring.profiles) {
    names.profiles.push_back(profile.name);
  }
  names_->Add(std::move(names));
  serving_.Publish(std::shared_ptr<const request::Serving>(generation_, &generation_->serving()));

  services_.clock = &Clock::Real();
  services_.pool = &platform_->pool();
  services_.serving = &serving_;
  services_.objects = &objects_;
  services_.metrics = &platform_->metrics();
  services_.decisions = rings_.get();
  services_.operations = &platform_->hub().operations();
  conditions_ = std::make_unique<serve::Conditions>(&Clock::Real(), &platform_->metrics(), 1);
  shadows_ = std::make_unique<serve::Shadows>(serve::Shadows::Parts{
      platform_.get(), names_.get(), conditions_.get(), &Clock::Real(), options.shadow_cpu_share,
      [] {}, [](const auto&, config::Diagnostics&) { return true; }});
  services_.shadow = shadows_->slot();
  services_.options = options.request;
  services_.options.shed_stale_ns = kNeverStale;
  services_.random_seed = 0x5eed;
  factory_ = std::make_unique<request::HttpExchangeFactory>(services_, options.workers);
}

Harness::~Harness() {
  factory_.reset();
  shadows_.reset();
  serving_.Publish(nullptr);
  generation_.reset();
  platform_->pool().RemoveListener(names_.get());
}

void Harness::BeginShadow(std::string config, double sample, uint64_t planned_ns) {
  config::Diagnostics diagnostics;
  const auto text =
      std::make_shared<config::SourceText>(config::SourceText{"candidate", std::move(config)});
  EXPECT_TRUE(shadows_->Begin({text, sample, planned_ns, false}, *generation_, diagnostics))
      << diagnostics.Render();
}

void Harness::Reload(std::string config) {
  config::Diagnostics diagnostics;
  std::shared_ptr<runtime::Generation> next = platform_->Build(
      generation_->serving().number + 1,
      std::make_shared<config::SourceText>(config::SourceText{"test", std::move(config)}),
      diagnostics, generation_.get());
  ASSERT_NE(next, nullptr) << diagnostics.Render();
  next->AttachToPool();
  pool().Publish();
  serving_.Publish(std::shared_ptr<const request::Serving>(next, &next->serving()));
  generation_ = std::move(next);
}

void Harness::LosePlugins() {
  settings_.plugin_dirs = {"/nonexistent"};
  platform_->Rescan(*generation_, serve::FindPlugins(settings_));
}

void Harness::SetObjects(std::string yaml) {
  config::Diagnostics diagnostics;
  const objects::ObjectsText text = objects::ParseObjects(
      std::make_shared<config::SourceText>(config::SourceText{"objects", std::move(yaml), {}}), {},
      diagnostics);
  EXPECT_TRUE(diagnostics.ok()) << diagnostics.Render();
  std::vector<objects::Objective> objectives;
  std::vector<objects::ModelRewrite> rewrites;
  for (const objects::Object& object : text.objects) {
    if (object.kind == objects::Kind::kObjective) {
      objectives.push_back(object.objective);
    } else {
      rewrites.push_back(object.rewrite);
    }
  }
  objects_.Publish(
      std::make_shared<const objects::ObjectSet>(std::move(objectives), std::move(rewrites)));
}

void Harness::SetPods(const std::vector<Pod>& pods) {
  std::vector<pool::Endpoint::Fields> fields;
  for (const Pod& pod : pods) {
    fields.push_back({"default", pod.name, pod.address, pod.port, 0, pod.labels});
  }
  pool().Replace(std::move(fields));
  pool().Publish();
  for (const Pod& pod : pods) Update(pod);
  pool().Publish();
}

void Harness::Update(const Pod& pod) {
  const auto frame = pool().current();
  const auto endpoints = frame->endpoints();
  const auto it = std::find_if(endpoints.begin(), endpoints.end(), [&](const epp_endpoint* e) {
    return std::string_view(e->name.data, e->name.size) == StrCat("default/", pod.name);
  });
  if (it == endpoints.end()) return;
  std::vector<pool::AttributeValue> values;
  const auto add = [&](std::string_view key, int32_t type) {
    const auto id = pool().attributes().Register(key, "core-metrics-extractor", type);
    EXPECT_TRUE(id.ok()) << id.status();
    return &values.emplace_back(Value(id.value_or(0)));
  };
  add("WaitingQueueSize", EPP_T_I64)->i64 = pod.queue;
  add("RunningRequestsSize", EPP_T_I64)->i64 = 0;
  add("KVCacheUsagePercent", EPP_T_F64)->f64 = pod.kv;
  add("MaxActiveModels", EPP_T_I64)->i64 = pod.max_active;
  add("WaitingModels", EPP_T_SYMBOL_LIST);
  pool::AttributeValue* active = add("ActiveModels", EPP_T_SYMBOL_LIST);
  for (const std::string& name : pod.active) {
    active->symbols.push_back(pool().interner().Intern(name));
  }
  pool().Update((*it)->id, values, /*good=*/true);
}

std::unique_ptr<request::Exchange> Harness::NewExchange(uint32_t worker) {
  return factory_->NewExchange(worker, std::make_shared<NoWaker>());
}

double Harness::Metric(std::string_view name, std::string_view label) {
  const std::string text = MetricsText();
  double sum = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    const bool named = line.starts_with(name) && line.size() > name.size() &&
                       (line[name.size()] == '{' || line[name.size()] == ' ');
    if (!named || line.find(label) == std::string::npos) continue;
    sum += std::strtod(line.c_str() + line.rfind(' '), nullptr);
  }
  return sum;
}

telemetry::DecisionRecord Harness::LastDecision() const {
  telemetry::DecisionRecord last;
  rings_->Visit([&](const telemetry::DecisionRecord& record) {
    record.CopyTo(last);
    return false;
  });
  EXPECT_NE(last.number, 0u) << "no decision was recorded";
  return last;
}

std::string Harness::PluginDumps() const {
  std::string all;
  for (const auto& instance : generation_->instances()) {
    const auto* dump = instance->Get<epp_dump_state>(EPP_DUMP_STATE_ID);
    if (dump == nullptr) continue;
    const epp_writer writer{sizeof(epp_writer), 0, &all, [](void* ctx, epp_str text) noexcept {
                              static_cast<std::string*>(ctx)->append(text.data, text.size);
                            }};
    epp_error err{sizeof(epp_error), EPP_OK, {}};
    EXPECT_EQ(dump->dump(instance->self(), &writer, &err), EPP_OK) << err.message;
  }
  return all;
}

// ---- Flow

Flow::Flow(Harness& harness, uint32_t worker) : exchange_(harness.NewExchange(worker)) {}

Flow::~Flow() {
  if (exchange_) End(request::StreamEnd::kHalfClosed);
}

std::vector<request::Header> Flow::Views(const Headers& headers) {
  std::vector<request::Header> views;
  for (const auto& [name, value] : headers) views.push_back({name, value});
  return views;
}

request::RequestVerdict Flow::Post(std::string_view path, std::string_view body,
                                   const Headers& headers, const request::Metadata& metadata) {
  Headers all = {{":method", "POST"}, {":path", std::string(path)}};
  all.insert(all.end(), headers.begin(), headers.end());
  request::RequestVerdict verdict = exchange_->OnRequestHeaders(Views(all), metadata, false);
  if (verdict.kind != request::RequestVerdict::Kind::kPending) return verdict;
  body_ = std::make_unique<char[]>(body.size() + request::Body::kPadding);  // zeroed
  std::copy(body.begin(), body.end(), body_.get());
  return exchange_->OnRequestBody({body_.get(), body.size()}, metadata);
}

request::RequestVerdict Flow::Get(std::string_view path, const Headers& headers,
                                  const request::Metadata& metadata) {
  Headers all = {{":method", "GET"}, {":path", std::string(path)}};
  all.insert(all.end(), headers.begin(), headers.end());
  return exchange_->OnRequestHeaders(Views(all), metadata, true);
}

request::ResponseHeadersVerdict Flow::Head(const Headers& headers, bool end,
                                           const request::Metadata& metadata) {
  exchange_->OnRequestSent();
  body_.reset();  // nothing may look at it any more
  return exchange_->OnResponseHeaders(Views(headers), metadata, end);
}

request::ResponseBodyVerdict Flow::Chunk(std::string_view bytes, bool end) {
  return exchange_->OnResponseBody(bytes, end);
}

void Flow::End(request::StreamEnd how) {
  exchange_->OnStreamEnd(how);
  exchange_.reset();
}

void Flow::Answer(std::string_view json) {
  Head({{":status", "200"}, {"content-type", "application/json"}});
  Chunk(json, true);
  End();
}

// ---- Looking at verdicts

bool Forwards(const request::RequestVerdict& verdict) {
  return verdict.kind == request::RequestVerdict::Kind::kForward;
}

std::string BodyOf(const request::RequestVerdict& verdict) {
  std::string body;
  for (const std::string_view piece : verdict.body) body += piece;
  return body;
}

std::optional<std::string> Find(const request::HeaderMutation& mutation, std::string_view name) {
  for (const request::HeaderSet& header : mutation.set) {
    if (header.name == name) return header.value;
  }
  return std::nullopt;
}

std::string Destination(const request::RequestVerdict& verdict) {
  if (!Forwards(verdict)) return Outcome(verdict);
  return Find(verdict.headers, "x-gateway-destination-endpoint").value_or("none");
}

std::vector<std::string> Names(const request::HeaderMutation& mutation) {
  std::vector<std::string> names;
  for (const request::HeaderSet& header : mutation.set) names.push_back(header.name);
  std::sort(names.begin(), names.end());
  return names;
}

const request::MetadataEntry* Find(const std::vector<request::MetadataEntry>& entries,
                                   std::string_view name_space, std::string_view key) {
  const request::MetadataEntry* found = nullptr;
  for (const request::MetadataEntry& entry : entries) {
    if (entry.name_space == name_space && entry.key == key) found = &entry;  // the last one wins
  }
  return found;
}

std::string Outcome(const request::RequestVerdict& verdict) {
  switch (verdict.kind) {
    case request::RequestVerdict::Kind::kPending:
      return "pending";
    case request::RequestVerdict::Kind::kForward:
      return "forward";
    case request::RequestVerdict::Kind::kFail:
      return StrCat("fail: ", std::string(verdict.failure.message()));
    case request::RequestVerdict::Kind::kImmediate:
      return StrCat(verdict.immediate.http_status, " ", verdict.immediate.body);
  }
  return "?";
}

std::string DropReason(const request::RequestVerdict& verdict) {
  for (const request::HeaderSet& header : verdict.immediate.headers) {
    if (header.name == "x-llm-d-request-dropped-reason") return header.value;
  }
  return "";
}

}  // namespace epp::integration
