// Which revisions of a disaggregated set are complete, and what share of the traffic each deserves.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace epp::rollout {

enum class Mode : uint8_t {
  kSum,      // a revision weighs as many pods as it has in the required roles
  kMaxRole,  // likewise, in the role that has the most over all complete revisions
};

struct Share {
  std::string revision;
  double share = 0;  // above 0; all add up to 1
};

// Counts pods, by revision and role. A pod may be several endpoints, one a data-parallel rank; they
// share its address. Threads: one at a time.
class Rollout {
 public:
  Rollout(Mode mode, std::vector<std::string> required_roles);

  // The endpoint is there, or has changed.
  void Set(uint64_t endpoint, std::string_view address, std::string_view revision,
           std::string_view role);
  void Remove(uint64_t endpoint);

  // Of the revisions with at least one pod in every required role, sorted by name.
  std::vector<Share> Shares() const;

 private:
  struct Pod {
    std::string address;
    std::string revision;
    std::string role;
  };
  using Addresses = std::map<std::string, uint32_t, std::less<>>;  // endpoints at each

  const Mode mode_;
  const std::vector<std::string> required_;
  std::unordered_map<uint64_t, Pod> pods_;
  std::map<std::string, std::map<std::string, Addresses>> counts_;  // revision, role
};

// The revision that `draw`, in [0, 1), falls on among `among`, by their shares. null when empty.
const Share* Draw(const std::vector<const Share*>& among, double draw);

}  // namespace epp::rollout
