#include "rollout.h"

#include <algorithm>
#include <utility>

namespace epp::rollout {

Rollout::Rollout(Mode mode, std::vector<std::string> required_roles)
    : mode_(mode), required_(std::move(required_roles)) {}

void Rollout::Set(uint64_t endpoint, std::string_view address, std::string_view revision,
                  std::string_view role) {
  Remove(endpoint);
  if (revision.empty() || role.empty()) return;
  const Pod& pod =
      pods_[endpoint] = {std::string(address), std::string(revision), std::string(role)};
  ++counts_[pod.revision][pod.role][pod.address];
}

void Rollout::Remove(uint64_t endpoint) {
  const auto it = pods_.find(endpoint);
  if (it == pods_.end()) return;
  const Pod& pod = it->second;
  auto& roles = counts_[pod.revision];
  Addresses& addresses = roles[pod.role];
  if (--addresses[pod.address] == 0) addresses.erase(pod.address);
  if (addresses.empty()) roles.erase(pod.role);
  if (roles.empty()) counts_.erase(pod.revision);
  pods_.erase(it);
}

std::vector<Share> Rollout::Shares() const {
  const auto pods = [&](const std::map<std::string, Addresses>& roles, const std::string& role) {
    const auto it = roles.find(role);
    return it == roles.end() ? size_t{0} : it->second.size();
  };
  std::vector<std::pair<std::string, const std::map<std::string, Addresses>*>> covered;
  for (const auto& [revision, roles] : counts_) {
    if (std::all_of(required_.begin(), required_.end(),
                    [&](const std::string& role) { return pods(roles, role) > 0; })) {
      covered.emplace_back(revision, &roles);
    }
  }
  std::vector<std::string> counted = required_;
  if (mode_ == Mode::kMaxRole && !required_.empty()) {
    size_t most = 0;
    for (const std::string& role : required_) {
      size_t total = 0;
      for (const auto& [revision, roles] : covered) total += pods(*roles, role);
      if (total > most) {
        most = total;
        counted = {role};
      }
    }
  }
  std::vector<Share> shares;
  double sum = 0;
  for (const auto& [revision, roles] : covered) {
    size_t weight = 0;
    for (const std::string& role : counted) weight += pods(*roles, role);
    shares.push_back({revision, static_cast<double>(weight)});
    sum += static_cast<double>(weight);
  }
  for (Share& share : shares) share.share /= sum;
  return shares;
}

const Share* Draw(const std::vector<const Share*>& among, double draw) {
  double sum = 0;
  for (const Share* share : among) sum += share->share;
  double target = draw * sum;
  for (const Share* share : among) {
    if (target < share->share) return share;
    target -= share->share;
  }
  return among.empty() ? nullptr : among.back();
}

}  // namespace epp::rollout
