// A Kubernetes label selector as text: "app=llm, tier in (a, b), !canary, zone!=z1".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "epp/plugin.hpp"

namespace epp::rollout {

// Matches endpoints by their labels. Immutable; threads: any.
class Selector {
 public:
  static constexpr size_t kMaxBytes = 4096;

  // key, !key, key=v, key==v, key!=v, key in (v, w), key notin (v, w), joined by commas: all must
  // hold. != and notin hold for endpoints without the label. Empty text is refused.
  static Status Parse(std::string_view text, Selector& out);
  bool Matches(const epp_endpoint& endpoint) const;

 private:
  enum class Op { kExists, kAbsent, kIn, kNotIn };
  struct Requirement {
    std::string key;
    Op op = Op::kExists;
    std::vector<std::string> values;
  };
  friend class SelectorParser;
  std::vector<Requirement> requirements_;
};

}  // namespace epp::rollout
