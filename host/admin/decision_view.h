// A decision record for people and programs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/admin/names.h"
#include "host/telemetry/decisions.h"

namespace epp::admin {

// A record with its names, in the order of the record.
struct DecisionView {
  struct Filter {
    std::string plugin;
    uint32_t in = 0;
    uint32_t out = 0;
    std::vector<std::string> dropped;
  };
  // A screener that ran, or who ended the request before it was scheduled.
  struct Gate {
    std::string plugin;
    telemetry::GateKind kind = telemetry::GateKind::kScreener;
    uint32_t in = 0;
    uint32_t out = 0;
  };
  struct Scorer {
    std::string plugin;
    std::string column;  // what its raw numbers are, "" for none
    double weight = 0;
  };
  struct Row {
    uint64_t id = 0;
    std::string name;
    double total = 0;
    std::vector<double> scores;
    std::vector<double> columns;  // NaN: no value
    bool picked = false;
  };
  struct Profile {
    std::string name;
    bool primary = false;
    bool failed = false;
    uint32_t candidates = 0;
    std::vector<Filter> filters;
    std::vector<Scorer> scorers;
    std::string picker;
    uint32_t ties = 0;
    std::vector<std::string> picks;
    std::vector<Row> rows;  // best total first, the picked one before its ties
    uint32_t omitted = 0;
    double omitted_best = 0;
  };
  std::vector<Gate> gates;
  std::vector<Profile> profiles;
  EndpointName destination;  // the primary's first pick, empty when nothing was picked
  EndpointName served;
};

DecisionView Resolve(const telemetry::DecisionRecord& record, const Names& names);

// "d-" and the number in hexadecimal.
std::string DecisionId(const telemetry::DecisionRecord& record);
// The number behind such an id; 0 when `text` is none.
uint64_t ParseDecisionId(std::string_view text);

// The document "epp.decision/1".
std::string DecisionJson(const telemetry::DecisionRecord& record, const Names& names);

struct ExplainOptions {
  bool all = false;      // every row, not only the best
  bool columns = false;  // raw columns too
};
// What `epp explain` prints, ending in a newline.
std::string DecisionText(const telemetry::DecisionRecord& record, const Names& names,
                         const ExplainOptions& options);
// One line, for lists.
std::string DecisionLine(const telemetry::DecisionRecord& record, const Names& names);

// "headers", "screener", "admitter".
std::string_view GateName(telemetry::GateKind kind);
std::string_view OutcomeName(telemetry::Outcome outcome);

}  // namespace epp::admin
