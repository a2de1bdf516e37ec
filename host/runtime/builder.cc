// Generation::Build: from a resolved config to instances whose columns are bound.
#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "epp/plugin.hpp"
#include "host/base/str_cat.h"
#include "host/loader/errors.h"
#include "host/runtime/attribute_graph.h"
#include "host/runtime/generation.h"

namespace epp::runtime {
namespace {

using config::Mark;
using scheduling::BoundPlugin;
using scheduling::Source;

// How long a producer may wait that does not say so itself, and at most.
constexpr uint64_t kProducerTimeoutNs = 400'000'000;
constexpr uint64_t kMaxProducerTimeoutNs = 3'600'000'000'000;

std::string Quoted(std::string_view name, std::string_view type) {
  return StrCat("\"", name, "\" (", type, ")");
}

std::string_view TypeName(int32_t type) {
  switch (type) {
    case EPP_T_I64:
      return "i64";
    case EPP_T_F64:
      return "f64";
    case EPP_T_BOOL:
      return "bool";
    case EPP_T_SYMBOL:
      return "symbol";
    case EPP_T_SYMBOL_LIST:
      return "symbol list";
    case EPP_T_OPAQUE:
      return "opaque";
    default:
      return "unknown";
  }
}

// "i64 per endpoint", "opaque (epp.tokenized-prompt/1) per request".
std::string KindOf(const Declared& attribute) {
  return StrCat(TypeName(attribute.type),
                attribute.schema.empty() ? std::string() : StrCat(" (", attribute.schema, ")"),
                attribute.scope == EPP_SCOPE_REQUEST ? " per request" : " per endpoint");
}

// Whether a parameter names a plugin that must implement `id`.
bool IsReferenceTo(std::string_view id, const epp_param_spec& spec, const epp_value& value) {
  return value.type == EPP_P_PLUGIN && value.present && value.v.str.size > 0 &&
         EPP_HAS(&spec, epp_param_spec, interface_id) && spec.interface_id != nullptr &&
         id == spec.interface_id;
}

// What a plugin left in its error buffer.
std::string Text(epp_status status, const epp_error& err) {
  return std::string(loader::FromPluginError(status, err).message());
}

}  // namespace

class Generation::Builder {
 public:
  Builder(uint64_t number, config::ResolvedConfig config, const Environment& environment,
          const Generation* former, config::Diagnostics& out)
      : environment_(environment), former_(former), out_(out), generation_(new Generation) {
    generation_->pool_ = environment.pool;
    generation_->catalog_ = environment.catalog;
    generation_->config_ = std::move(config);
    generation_->serving_.number = number;
  }

  std::unique_ptr<Generation> Build() {
    for (size_t i = 0; i < specs().size(); ++i) Create(i);
    if (out_.ok()) AddMissingProducers();
    if (out_.ok()) NameProducers();
    if (!out_.ok()) return nullptr;
    Index();
    OrderProducers();
    for (size_t i = 0; i < specs().size(); ++i) Bind(i);
    WireProfiles();
    WireHooks();
    WireParsers();
    WireSources();
    FindHostAttributes();
    CopyColumns();
    if (!out_.ok()) return nullptr;
    generation_->observer_ = std::make_unique<PluginObserver>(wiring(), environment_.metrics,
                                                              environment_.call_budget_ns);
    generation_->serving_.observer = generation_->observer_.get();
    return std::move(generation_);
  }

 private:
  // Where an attribute comes from, once all instances exist.
  struct Producer {
    size_t plugin = 0;  // position in specs()
    bool per_request = false;
    uint32_t index = 0;  // into frame_columns or produced
    const Declared* declared = nullptr;
  };

  std::vector<config::PluginSpec>& specs() { return generation_->config_.plugins; }
  scheduling::Wiring& wiring() { return generation_->serving_.wiring; }

  void Create(size_t index) {
    const config::PluginSpec& spec = specs()[index];
    BoundPlugin& bound = wiring().plugins.emplace_back();
    bound.index = static_cast<uint32_t>(index);
    std::shared_ptr<HeldInstance> held = Live(spec);
    const bool shared = held != nullptr;
    if (!held) held = Former(spec);
    if (held) {
      ++generation_->kept_instances_;
    } else {
      const bool own = spec.type->library == nullptr ||
                       (!environment_.own_plugins_dir.empty() &&
                        spec.type->library->info().path.starts_with(environment_.own_plugins_dir));
      auto made = HeldInstance::Create(spec, environment_.host, environment_.workers, own);
      if (!made.ok()) {
        out_.Error(spec.mark, "EPP-CFG-CREATE",
                   StrCat("plugin ", Quoted(spec.name, spec.type->name()), ": ",
                          std::string_view(made.status().message().data(),
                                           made.status().message().size())));
        declarations_.emplace_back();
        return;
      }
      held = *std::move(made);
    }
    bound.instance = held->instance();
    const epp_plugin_type& type = *spec.type->type;
    for (const char* id : std::span(type.interfaces, type.interface_count)) {
      if (bound.instance->Get<void>(id) != nullptr) continue;
      out_.Error(spec.mark, "EPP-CFG-CREATE",
                 StrCat("plugin ", Quoted(spec.name, spec.type->name()), ": declares ", id,
                        ", but does not offer it"));
    }
    if (held->all().size() > 1) bound.per_worker = held->all();
    generation_->instances_.push_back(held->instance());
    generation_->held_.push_back(std::move(held));
    generation_->shared_.push_back(shared);
    declarations_.push_back(DeclarationsOf(*bound.instance, spec.params->view()));
  }

  // The former generation's instance for this spec, or null.
  std::shared_ptr<HeldInstance> Former(const config::PluginSpec& spec) const {
    if (former_ == nullptr) return nullptr;
    for (size_t i = 0; i < former_->held_.size(); ++i) {
      // What a looker-on shared belongs to the generation that it was shared with.
      if (!former_->shared_[i] && former_->held_[i]->Serves(spec)) return former_->held_[i];
    }
    return nullptr;
  }

  // The live generation's instance for this spec, where a looker-on may share it, or null.
  std::shared_ptr<HeldInstance> Live(const config::PluginSpec& spec) const {
    if (environment_.live == nullptr) return nullptr;
    for (const char* called :
         {EPP_FILTER_ID, EPP_SCORER_ID, EPP_PICKER_ID, EPP_PROFILE_HANDLER_ID, EPP_DECIDER_ID}) {
      if (spec.type->Implements(called)) return nullptr;
    }
    for (const auto& held : environment_.live->held_) {
      if (held->Serves(spec)) return held;
    }
    return nullptr;
  }

  // Creates the default producers of required attributes that nothing produces, until none is
  // missing: a default producer may need another.
  void AddMissingProducers() {
    std::set<std::string> made;
    for (const Declarations& d : declarations_) {
      for (const Declared& p : d.produces) made.insert(p.FullName());
    }
    for (size_t i = 0; i < declarations_.size(); ++i) {
      // By index: Create appends to what is walked.
      for (size_t c = 0; c < declarations_[i].consumes.size(); ++c) {
        const Declared need = declarations_[i].consumes[c];
        if (need.producer.empty() || (need.flags & EPP_ATTR_OPTIONAL) ||
            made.contains(need.FullName())) {
          continue;
        }
        const loader::TypeEntry* type =
            need.overridden ? nullptr : environment_.catalog->Find(need.producer);
        if (type == nullptr || !scheduling::IsProducer(*type)) {
          MissingProducer(i, need);
          continue;
        }
        std::optional<config::PluginSpec> spec = config::DefaultInstance(
            *type, std::string(type->name()),
            StrCat("produces ", need.FullName(), " for plugin \"", specs()[i].name, "\""),
            specs()[i].mark, out_);
        if (!spec) return;
        specs().push_back(std::move(*spec));
        Create(specs().size() - 1);
        if (!out_.ok()) return;
        for (const Declared& p : declarations_.back().produces) made.insert(p.FullName());
        if (!made.contains(need.FullName())) MissingProducer(i, need);
      }
    }
  }

  // A consumer that names no producer reads from the only one of the key.
  void NameProducers() {
    for (size_t i = 0; i < declarations_.size(); ++i) {
      for (Declared& need : declarations_[i].consumes) {
        if (!need.producer.empty() || IsBuiltin(need)) continue;
        std::set<std::string> producers;  // scrapers of one type may share a name
        for (const Declarations& d : declarations_) {
          for (const Declared& p : d.produces) {
            if (p.key == need.key) producers.insert(p.producer);
          }
        }
        if (producers.empty()) {
          if (!(need.flags & EPP_ATTR_OPTIONAL)) MissingProducer(i, need);
        } else if (producers.size() == 1) {
          need.producer = *producers.begin();
        } else {
          std::string names;
          for (const std::string& name : producers) {
            StrAppend(&names, names.empty() ? "" : ", ", "\"", name, "\"");
          }
          out_.Error(specs()[i].mark, "EPP-CFG-WHICH-PRODUCER",
                     StrCat("plugin ", Quoted(specs()[i].name, specs()[i].type->name()), " reads ",
                            need.key, ", which several plugins produce: ", names));
        }
      }
    }
  }

  void MissingProducer(size_t consumer, const Declared& need) {
    std::string others;
    for (size_t i = 0; i < declarations_.size(); ++i) {
      for (const Declared& p : declarations_[i].produces) {
        if (p.key == need.key)
          StrAppend(&others, others.empty() ? "" : ", ", "\"", p.producer, "\"");
      }
    }
    const std::string hint = others.empty() ? StrCat("declare a plugin that produces ", need.key)
                                            : StrCat("plugins that produce it: ", others);
    out_.Error(
        specs()[consumer].mark, "EPP-CFG-NO-PRODUCER",
        StrCat("plugin ", Quoted(specs()[consumer].name, specs()[consumer].type->name()), " needs ",
               need.FullName(), ": no default producer found for missing data key"),
        "", hint);
  }

  // Whether what a plugin produces comes into being with each request.
  bool PerRequest(size_t plugin) const {
    const loader::TypeEntry& type = *generation_->config_.plugins[plugin].type;
    return scheduling::IsProducer(type) || type.Implements(EPP_REQUEST_HEADER_ID) ||
           type.Implements(EPP_PROFILE_HANDLER_ID);
  }

  // Numbers every produced attribute: per request, or in the frame.
  void Index() {
    for (size_t i = 0; i < specs().size(); ++i) {
      const bool per_request = PerRequest(i);
      const bool producer = scheduling::IsProducer(*specs()[i].type);
      for (const Declared& declared : declarations_[i].produces) {
        if (per_request && !producer && declared.scope != EPP_SCOPE_REQUEST) {
          out_.Error(specs()[i].mark, "EPP-CFG-ATTRIBUTE-TYPE",
                     StrCat("plugin ", Quoted(specs()[i].name, specs()[i].type->name()),
                            " produces ", KindOf(declared),
                            specs()[i].type->Implements(EPP_REQUEST_HEADER_ID)
                                ? " per endpoint, but runs before the endpoints are known"
                                : ", but a profile handler can publish only what is of request "
                                  "scope"));
          continue;
        }
        Producer producer{i, per_request, 0, &declared};
        if (per_request) {
          producer.index = static_cast<uint32_t>(wiring().produced.size());
          wiring().produced.push_back(
              {declared.key, declared.producer, declared.type, declared.scope, declared.schema});
        } else {
          const std::optional<uint32_t> column = FrameColumn(i, declared);
          if (!column) continue;
          producer.index = *column;
        }
        const auto [it, fresh] = producers_.try_emplace(declared.FullName(), producer);
        if (!fresh && (per_request || it->second.per_request)) {
          out_.Error(specs()[i].mark, "EPP-CFG-TWO-PRODUCERS",
                     StrCat("plugins \"", specs()[it->second.plugin].name, "\" and \"",
                            specs()[i].name, "\" both produce ", declared.FullName()));
        }
      }
    }
  }

  // The number of an attribute among the frame columns that this generation reads.
  std::optional<uint32_t> FrameColumn(size_t plugin, const Declared& declared) {
    const absl::StatusOr<pool::AttributeId> id =
        environment_.pool->attributes().Register(declared.key, declared.producer, declared.type);
    if (!id.ok()) {
      out_.Error(
          specs()[plugin].mark, "EPP-CFG-ATTRIBUTE-TYPE",
          StrCat("plugin ", Quoted(specs()[plugin].name, specs()[plugin].type->name()), ": ",
                 std::string_view(id.status().message().data(), id.status().message().size())));
      return std::nullopt;
    }
    auto& columns = wiring().frame_columns;
    const auto it = std::find(columns.begin(), columns.end(), *id);
    if (it != columns.end()) return static_cast<uint32_t>(it - columns.begin());
    columns.push_back(*id);
    wiring().frame_column_types.push_back(declared.type);
    return static_cast<uint32_t>(columns.size() - 1);
  }

  void OrderProducers() {
    std::vector<size_t> producers;
    std::map<size_t, size_t> position;  // of a plugin among producers
    for (size_t i = 0; i < specs().size(); ++i) {
      if (!scheduling::IsProducer(*specs()[i].type)) continue;
      position[i] = producers.size();
      producers.push_back(i);
    }
    std::vector<OrderNode> nodes(producers.size());
    for (size_t p = 0; p < producers.size(); ++p) {
      for (const Declared& need : declarations_[producers[p]].consumes) {
        const auto it = producers_.find(need.FullName());
        if (it == producers_.end() || !it->second.per_request) continue;
        const bool optional = need.flags & EPP_ATTR_OPTIONAL;
        if (!position.contains(it->second.plugin)) {
          // Header plugins ran long before; the profile handler publishes when producers are done.
          const bool early = specs()[it->second.plugin].type->Implements(EPP_REQUEST_HEADER_ID);
          if (!early && !optional) TooLate(producers[p], need);
          continue;
        }
        const size_t before = position[it->second.plugin];
        if (before == p && optional) continue;
        (optional ? nodes[p].optional : nodes[p].required).push_back(before);
      }
    }
    std::vector<size_t> cycle;
    const std::optional<std::vector<size_t>> order = Order(nodes, &cycle);
    if (!order) {
      std::string names;
      for (const size_t p : cycle) {
        StrAppend(&names, names.empty() ? "" : " -> ", "\"", specs()[producers[p]].name, "\"");
      }
      out_.Error(specs()[producers[cycle.front()]].mark, "EPP-CFG-DATA-CYCLE",
                 StrCat("data producers depend on each other: ", names));
      return;
    }
    for (const size_t p : *order) {
      const size_t plugin = producers[p];
      if (generation_->shared_[plugin]) continue;
      scheduling::ProducerStep step;
      step.plugin = &wiring().plugins[plugin];
      const loader::Instance& instance = *step.plugin->instance;
      step.table = instance.Get<epp_producer>(EPP_PRODUCER_ID);
      if (step.table == nullptr) {
        step.async = instance.Get<epp_async_producer>(EPP_ASYNC_PRODUCER_ID);
        const loader::InFlight inside(step.plugin->guard(), loader::Entry::kProducer, 0);
        step.timeout_ns = step.async->timeout_ns(instance.self());
        if (step.timeout_ns == 0) step.timeout_ns = kProducerTimeoutNs;
        step.timeout_ns = std::min(step.timeout_ns, kMaxProducerTimeoutNs);
      }
      for (const Declared& need : declarations_[plugin].consumes) {
        const auto it = producers_.find(need.FullName());
        if (it != producers_.end() && it->second.per_request && !(need.flags & EPP_ATTR_OPTIONAL)) {
          step.requires_produced.push_back(it->second.index);
        }
      }
      wiring().producers.push_back(std::move(step));
    }
  }

  void TooLate(size_t consumer, const Declared& need) {
    out_.Error(specs()[consumer].mark, "EPP-CFG-TOO-LATE",
               StrCat("producer ", Quoted(specs()[consumer].name, specs()[consumer].type->name()),
                      " needs ", need.FullName(),
                      ", which the profile handler publishes after producers have run"));
  }

  void Bind(size_t index) {
    BoundPlugin& bound = wiring().plugins[index];
    for (const Declared& need : declarations_[index].consumes) {
      const Source source = SourceOf(index, need);
      (need.scope == EPP_SCOPE_REQUEST ? bound.request_columns : bound.columns).push_back(source);
    }
    if (!PerRequest(index)) return;
    for (const Declared& made : declarations_[index].produces) {
      const auto it = producers_.find(made.FullName());
      if (it == producers_.end()) continue;  // which was reported
      (made.scope == EPP_SCOPE_REQUEST ? bound.request_outputs : bound.outputs)
          .push_back(it->second.index);
    }
  }

  Source SourceOf(size_t consumer, const Declared& need) {
    if (need.producer.empty() && need.key == "metrics-age-ns") {
      if (need.type == EPP_T_I64 && need.scope == EPP_SCOPE_ENDPOINT)
        return {Source::Kind::kAge, 0};
      out_.Error(specs()[consumer].mark, "EPP-CFG-ATTRIBUTE-TYPE",
                 StrCat("plugin ", Quoted(specs()[consumer].name, specs()[consumer].type->name()),
                        " reads metrics-age-ns as ", KindOf(need),
                        ", but the host provides i64 per endpoint"));
      return {};
    }
    if (IsBuiltin(need)) {
      const std::optional<uint32_t> column = FrameColumn(consumer, need);
      return column ? Source{Source::Kind::kFrame, *column} : Source{};
    }
    const auto it = producers_.find(need.FullName());
    if (it == producers_.end()) {
      // Optional, or its absence was reported.
      if (need.overridden) {
        out_.Warning(
            specs()[consumer].mark, "EPP-CFG-UNMET-OPTIONAL",
            StrCat("plugin ", Quoted(specs()[consumer].name, specs()[consumer].type->name()),
                   " would use ", need.FullName(), ", which no plugin produces"));
      }
      return {};
    }
    const Declared& made = *it->second.declared;
    if (made.type != need.type || made.scope != need.scope || made.schema != need.schema) {
      out_.Error(specs()[consumer].mark, "EPP-CFG-ATTRIBUTE-TYPE",
                 StrCat("plugin ", Quoted(specs()[consumer].name, specs()[consumer].type->name()),
                        " reads ", need.FullName(), " as ", KindOf(need), ", but plugin \"",
                        specs()[it->second.plugin].name, "\" produces ", KindOf(made)));
      return {};
    }
    return {it->second.per_request ? Source::Kind::kProduced : Source::Kind::kFrame,
            it->second.index};
  }

  void WireProfiles() {
    for (const config::ProfileSpec& spec : generation_->config_.profiles) {
      scheduling::Profile profile;
      profile.name = spec.name;
      for (const config::ProfileEntry& entry : spec.entries) {
        const BoundPlugin* plugin = &wiring().plugins[entry.plugin];
        const loader::Instance& instance = *plugin->instance;
        if (const auto* table = instance.Get<epp_filter>(EPP_FILTER_ID)) {
          profile.filters.push_back({plugin, table});
        }
        if (const auto* table = instance.Get<epp_scorer>(EPP_SCORER_ID)) {
          scheduling::ScorerStep step;
          step.plugin = plugin;
          step.table = table;
          step.weight = entry.weight;
          profile.scorers.push_back(step);
        }
        if (const auto* table = instance.Get<epp_picker>(EPP_PICKER_ID)) {
          profile.picker = {plugin, table};
        }
      }
      wiring().profiles.push_back(std::move(profile));
    }
    for (const scheduling::Profile& profile : wiring().profiles) {
      wiring().profile_names.push_back({profile.name.data(), profile.name.size()});
    }
    const BoundPlugin* handler = &wiring().plugins[generation_->config_.profile_handler];
    wiring().handler = {handler,
                        handler->instance->Get<epp_profile_handler>(EPP_PROFILE_HANDLER_ID)};
    WireDeciders(*handler);
    epp_error err{sizeof(epp_error), EPP_OK, {}};
    epp_status status;
    {
      const loader::InFlight inside(handler->guard(), loader::Entry::kProfileHandler, 0);
      status =
          wiring().handler.table->check(handler->instance->self(), wiring().profile_names.data(),
                                        static_cast<uint32_t>(wiring().profile_names.size()), &err);
    }
    if (status != EPP_OK) {
      const config::PluginSpec& spec = specs()[handler->index];
      out_.Error(spec.mark, "EPP-CFG-HANDLER",
                 StrCat("plugin ", Quoted(spec.name, spec.type->name()), ": ", Text(status, err)));
    }
  }

  // The plugins that parameters of the handler name as deciders. They belong to the generation, not
  // to the handler: it may be kept while they are made anew.
  void WireDeciders(const BoundPlugin& handler) {
    const config::PluginSpec& spec = specs()[handler.index];
    const epp_plugin_type& type = *spec.type->type;
    const std::span<const epp_value> values = spec.params->view();
    wiring().deciders.resize(values.size());
    for (size_t p = 0; p < values.size(); ++p) {
      if (!IsReferenceTo(EPP_DECIDER_ID, *type.params[p], values[p])) continue;
      const std::string_view name(values[p].v.str.data, values[p].v.str.size);
      for (const BoundPlugin& plugin : wiring().plugins) {
        if (plugin.name() != name) continue;
        wiring().deciders[p] = {&plugin, plugin.instance->Get<epp_decider>(EPP_DECIDER_ID)};
      }
    }
  }

  void WireHooks() {
    for (const BoundPlugin& plugin : wiring().plugins) {
      if (generation_->shared_[plugin.index]) continue;
      if (const auto* table = plugin.instance->Get<epp_request_header>(EPP_REQUEST_HEADER_ID)) {
        scheduling::HeaderStep step;
        step.plugin = &plugin;
        step.table = table;
        step.publishes = !scheduling::IsProducer(plugin.instance->type());
        wiring().headers.push_back(step);
      }
      if (const auto* table = plugin.instance->Get<epp_screener>(EPP_SCREENER_ID)) {
        wiring().screeners.push_back({&plugin, table});
      }
      if (const auto* table = plugin.instance->Get<epp_admitter>(EPP_ADMITTER_ID)) {
        wiring().admitters.push_back({&plugin, table});
      }
      if (const auto* table = plugin.instance->Get<epp_pre_request>(EPP_PRE_REQUEST_ID)) {
        wiring().pre_request.push_back({&plugin, table});
      }
      if (const auto* table = plugin.instance->Get<epp_response>(EPP_RESPONSE_ID)) {
        wiring().response.push_back({&plugin, table});
        generation_->serving_.response_wants |= table->wants;
      }
    }
  }

  void WireParsers() {
    for (const size_t index : generation_->config_.parsers) {
      const BoundPlugin* plugin = &wiring().plugins[index];
      wiring().parsers.push_back({plugin, plugin->instance->Get<epp_parser>(EPP_PARSER_ID)});
    }
    generation_->serving_.parsers = request::ParserRegistry(wiring().parsers);
  }

  void WireSources() {
    for (const config::DataSourceSpec& spec : generation_->config_.sources) {
      DataSource source;
      source.instance = wiring().plugins[spec.source].instance;
      const auto* table = source.instance->Get<epp_source>(EPP_SOURCE_ID);
      source.plan.struct_size = sizeof(epp_fetch_plan);
      epp_error err{sizeof(epp_error), EPP_OK, {}};
      epp_status status;
      {
        const loader::InFlight inside(source.instance->guard(), loader::Entry::kSource, 0);
        status = table->plan(source.instance->self(), &source.plan, &err);
      }
      if (status != EPP_OK) {
        out_.Error(
            specs()[spec.source].mark, "EPP-CFG-SOURCE",
            StrCat("plugin ", Quoted(specs()[spec.source].name, specs()[spec.source].type->name()),
                   ": ", Text(status, err)));
        continue;
      }
      for (const size_t index : spec.extractors) AddExtractor(spec, index, source);
      generation_->sources_.push_back(std::move(source));
    }
    if (generation_->config_.discovery) {
      generation_->discovery_ = wiring().plugins[*generation_->config_.discovery].instance;
    }
  }

  void AddExtractor(const config::DataSourceSpec& spec, size_t index, DataSource& source) {
    Extractor extractor;
    extractor.instance = wiring().plugins[index].instance;
    extractor.table = extractor.instance->Get<epp_scraper>(EPP_SCRAPER_ID);
    const std::string_view payload(source.plan.payload.data, source.plan.payload.size);
    if (payload != extractor.table->payload) {
      out_.Error(spec.mark, "EPP-CFG-PAYLOAD",
                 StrCat("extractor ", Quoted(specs()[index].name, specs()[index].type->name()),
                        " reads ", extractor.table->payload, ", but source \"",
                        specs()[spec.source].name, "\" gives ", payload));
      return;
    }
    for (const Declared& made : declarations_[index].produces) {
      const auto it = producers_.find(made.FullName());
      if (it == producers_.end()) continue;  // cannot be a column, which was reported
      if (it->second.per_request) {
        out_.Error(
            specs()[index].mark, "EPP-CFG-ATTRIBUTE-TYPE",
            StrCat("plugin ", Quoted(specs()[index].name, specs()[index].type->name()),
                   " produces ", made.FullName(), " for each request, so it cannot be scraped"));
        continue;
      }
      extractor.attributes.push_back(wiring().frame_columns[it->second.index]);
      extractor.types.push_back(made.type);
    }
    source.extractors.push_back(std::move(extractor));
  }

  void FindHostAttributes() {
    const auto find = [this](const AttributeKind& kind) -> std::optional<uint32_t> {
      const auto it = producers_.find(StrCat(kind.key, "/", kind.producer));
      if (it == producers_.end() || !it->second.per_request) return std::nullopt;
      const Declared& made = *it->second.declared;
      if (made.type != kind.type || made.scope != kind.scope ||
          made.schema != (kind.schema ? kind.schema : "")) {
        return std::nullopt;
      }
      return it->second.index;
    };
    request::Serving& serving = generation_->serving_;
    serving.tokenized_prompt = find(attr::kTokenizedPrompt);
    serving.match_blocks = find(attr::kPrefixMatchBlocks);
    serving.match_block_size = find(attr::kPrefixBlockSize);
    for (uint32_t i = 0; i < wiring().produced.size() && !serving.agent_identity; ++i) {
      const scheduling::Produced& made = wiring().produced[i];
      if (made.key == "agent-identity" && made.type == EPP_T_OPAQUE &&
          made.scope == EPP_SCOPE_REQUEST && made.schema == EPP_TEXT_SCHEMA) {
        serving.agent_identity = i;
      }
    }
  }

  // Pairs the outputs of shared producers: the same instance declares them in the same order.
  void CopyColumns() {
    if (environment_.live == nullptr) return;
    for (const BoundPlugin& live : environment_.live->serving_.wiring.plugins) {
      for (const BoundPlugin& own : wiring().plugins) {
        if (own.instance != live.instance) continue;
        for (size_t i = 0; i < own.outputs.size(); ++i) {
          generation_->copied_.push_back({live.outputs[i], own.outputs[i], EPP_SCOPE_ENDPOINT});
        }
        for (size_t i = 0; i < own.request_outputs.size(); ++i) {
          generation_->copied_.push_back(
              {live.request_outputs[i], own.request_outputs[i], EPP_SCOPE_REQUEST});
        }
      }
    }
  }

  const Environment& environment_;
  const Generation* const former_;
  config::Diagnostics& out_;
  std::unique_ptr<Generation> generation_;
  std::deque<Declarations> declarations_;      // by position in specs(); addresses are stable
  std::map<std::string, Producer> producers_;  // by full name
};

std::unique_ptr<Generation> Generation::Build(uint64_t number, config::ResolvedConfig config,
                                              const Environment& environment,
                                              const Generation* former, config::Diagnostics& out) {
  return Builder(number, std::move(config), environment, former, out).Build();
}

}  // namespace epp::runtime
