#include "host/objects/object_set.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace epp::objects {
namespace {

// Of equal names the last one, in the order of names.
template <class T>
std::vector<T> LastOfEach(std::vector<T> all) {
  std::map<std::string, T> last;
  for (T& one : all) {
    std::string name = one.name;
    last.insert_or_assign(std::move(name), std::move(one));
  }
  std::vector<T> out;
  for (auto& [name, one] : last) out.push_back(std::move(one));
  return out;
}

}  // namespace

ObjectSet::ObjectSet(std::vector<Objective> objectives, std::vector<ModelRewrite> rewrites)
    : objectives_(LastOfEach(std::move(objectives))), rewrites_(LastOfEach(std::move(rewrites))) {
  for (const Objective& objective : objectives_) {
    priorities_.emplace(objective.name, objective.priority.value_or(0));
  }
  std::ranges::sort(rewrites_, [](const ModelRewrite& a, const ModelRewrite& b) {
    return std::tie(a.created_unix_s, a.name) < std::tie(b.created_unix_s, b.name);
  });
  // The first that comes stays.
  for (const ModelRewrite& rewrite : rewrites_) {
    for (const Rule& rule : rewrite.rules) {
      const Match match{&rewrite, &rule};
      if (rule.generic && generic_.rule == nullptr) generic_ = match;
      if (rule.generic) continue;
      for (const std::string& model : rule.models) exact_.emplace(model, match);
    }
  }
}

int32_t ObjectSet::Priority(std::string_view objective) const {
  const auto it = priorities_.find(objective);
  return it == priorities_.end() ? 0 : it->second;
}

ObjectSet::Match ObjectSet::FindRule(std::string_view model) const {
  const auto it = exact_.find(model);
  return it == exact_.end() ? generic_ : it->second;
}

size_t ObjectSet::rule_count() const {
  size_t count = 0;
  for (const ModelRewrite& rewrite : rewrites_) count += rewrite.rules.size();
  return count;
}

std::set<int32_t> ObjectSet::Priorities() const {
  std::set<int32_t> out;
  for (const Objective& objective : objectives_) {
    if (objective.priority) out.insert(*objective.priority);
  }
  return out;
}

std::set<std::string_view> ObjectSet::Models() const {
  std::set<std::string_view> out;
  for (const ModelRewrite& rewrite : rewrites_) {
    for (const Rule& rule : rewrite.rules) {
      out.insert(rule.models.begin(), rule.models.end());
      for (const Target& target : rule.targets) out.insert(target.model);
    }
  }
  return out;
}

std::string_view ChooseTarget(const Rule& rule, uint64_t draw) {
  if (rule.targets.empty()) return {};
  uint64_t sum = 0;
  for (const Target& target : rule.targets) sum += static_cast<uint64_t>(target.weight);
  if (sum == 0) return rule.targets[draw % rule.targets.size()].model;
  uint64_t rest = draw % sum;
  for (const Target& target : rule.targets) {
    const auto weight = static_cast<uint64_t>(target.weight);
    if (rest < weight) return target.model;
    rest -= weight;
  }
  return {};
}

}  // namespace epp::objects
