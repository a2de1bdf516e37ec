// The expression that selects decisions: "model=chat,outcome=rejected,slower=1ms".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "host/admin/names.h"
#include "host/telemetry/decisions.h"

namespace epp::admin {

// Comma means and. Terms: model=, endpoint= (picked), candidate=, outcome=, code=, profile=,
// generation=, slower=DURATION (decision), ttft>DURATION, margin<NUMBER. An endpoint matches by its
// full name or by the part behind the namespace.
class Match {
 public:
  // Errors: InvalidArgument naming the term and what is allowed.
  static absl::StatusOr<Match> Parse(std::string_view expression);
  bool Matches(const telemetry::DecisionRecord& record, const Names& names) const;

 private:
  struct Term {
    std::string key;
    std::string text;
    double number = 0;
  };
  std::vector<Term> terms_;
};

}  // namespace epp::admin
