// The plugins of one generation, resolved so that a request looks nothing up: tables instead of
// interface ids, column numbers instead of attribute keys.
//
// Built once by runtime, then immutable and shared by all workers.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "epp/abi.h"
#include "host/loader/catalog.h"
#include "host/pool/attributes.h"

namespace epp::scheduling {

// Where a consumed column comes from.
struct Source {
  enum class Kind : uint8_t {
    kNone,      // optional and not produced: a null column
    kFrame,     // index into Wiring::frame_columns
    kAge,       // time since the endpoint's last good scrape
    kProduced,  // index into Wiring::produced
  };
  Kind kind = Kind::kNone;
  uint32_t index = 0;
};

// Of either kind.
inline bool IsProducer(const loader::TypeEntry& type) {
  return type.Implements(EPP_PRODUCER_ID) || type.Implements(EPP_ASYNC_PRODUCER_ID);
}

// An attribute that a producer computes for each request.
struct Produced {
  std::string key;
  std::string producer;
  int32_t type = 0;    // EPP_T_*
  uint32_t scope = 0;  // EPP_SCOPE_*
  std::string schema = {};
};

// One instance with its columns bound.
struct BoundPlugin {
  std::shared_ptr<loader::Instance> instance;
  // Set for EPP_TYPE_SERIAL types: one instance per worker, instance being the first.
  std::vector<std::shared_ptr<loader::Instance>> per_worker;
  uint32_t index = 0;  // in Wiring::plugins; also the number of its state slot in a request
  std::vector<Source> columns;            // endpoint scope, order of consumes
  std::vector<Source> request_columns;    // request scope, likewise
  std::vector<uint32_t> outputs;          // into Wiring::produced, endpoint scope
  std::vector<uint32_t> request_outputs;  // likewise, request scope

  void* self(uint32_t worker) const {
    return per_worker.empty() ? instance->self() : per_worker[worker]->self();
  }
  // Shared by all copies.
  loader::Guard& guard() const { return instance->guard(); }
  const std::string& name() const { return instance->name(); }
  const char* type_name() const { return instance->type().type->name; }
};

// A plugin and the table of the interface through which a step calls it.
template <class Table>
struct Step {
  const BoundPlugin* plugin = nullptr;
  const Table* table = nullptr;
};

struct ScorerStep : Step<epp_scorer> {
  double weight = 1.0;
};

struct ProducerStep : Step<epp_producer> {
  // Instead of `table` for a producer that waits.
  const epp_async_producer* async = nullptr;
  uint64_t timeout_ns = 0;
  // Attributes that must have been produced for this producer to run: indices into produced.
  std::vector<uint32_t> requires_produced;
};

struct HeaderStep : Step<epp_request_header> {
  bool publishes = false;  // its attributes are written there, not by its producer
};

struct Profile {
  std::string name;
  std::vector<Step<epp_filter>> filters;
  std::vector<ScorerStep> scorers;
  Step<epp_picker> picker;
};

struct Wiring {
  std::deque<BoundPlugin> plugins;  // addresses are stable
  std::vector<Produced> produced;
  std::vector<pool::AttributeId> frame_columns;
  std::vector<int32_t> frame_column_types;  // EPP_T_* of each of them

  std::vector<Profile> profiles;
  std::vector<epp_str> profile_names;  // views of the above
  Step<epp_profile_handler> handler;
  std::vector<Step<epp_decider>> deciders;  // by the handler's parameter that names it, else null
  std::vector<HeaderStep> headers;
  std::vector<Step<epp_screener>> screeners;
  std::vector<ProducerStep> producers;  // in dependency order
  std::vector<Step<epp_admitter>> admitters;
  std::vector<Step<epp_pre_request>> pre_request;
  std::vector<Step<epp_response>> response;
  std::vector<Step<epp_parser>> parsers;  // in order of preference

  // Number of distinct column sources; see SourceNumber.
  uint32_t source_count() const {
    return static_cast<uint32_t>(frame_columns.size() + produced.size() + 1);
  }
  // A dense number for caching a source's column.
  uint32_t SourceNumber(const Source& source) const {
    switch (source.kind) {
      case Source::Kind::kFrame:
        return source.index;
      case Source::Kind::kProduced:
        return static_cast<uint32_t>(frame_columns.size()) + source.index;
      default:
        return source_count() - 1;
    }
  }
};

}  // namespace epp::scheduling
