#include "plugins/producers/burst-prefix-cache/assign.h"

#include <algorithm>
#include <map>
#include <unordered_set>

namespace epp::burst {
namespace {

using Blocks = std::span<const uint64_t>;

struct Less {
  bool operator()(const Blocks& a, const Blocks& b) const {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  }
};

struct Unit {
  Blocks blocks;
  std::vector<size_t> members;  // requests, in the order of their arrival
};

// Groups first, then singles, each by their blocks, longest first.
std::vector<Unit> UnitsOf(std::span<const Blocks> requests, uint64_t min_colocate) {
  std::vector<Unit> all;
  std::map<Blocks, size_t, Less> known;
  std::map<Blocks, size_t, Less> beginnings;  // how many requests have it
  for (size_t i = 0; i < requests.size(); ++i) {
    const Blocks blocks = requests[i];
    if (blocks.empty()) continue;
    const auto [it, fresh] = known.try_emplace(blocks, all.size());
    if (fresh) all.push_back({blocks, {}});
    all[it->second].members.push_back(i);
    if (min_colocate > 0 && blocks.size() >= min_colocate) ++beginnings[blocks.first(min_colocate)];
  }
  std::vector<Unit> groups, singles;
  for (Unit& unit : all) {
    if (unit.members.size() > 1) {
      groups.push_back(std::move(unit));
    } else if (min_colocate > 0 && unit.blocks.size() >= min_colocate &&
               beginnings[unit.blocks.first(min_colocate)] > 1) {
      singles.push_back(std::move(unit));
    }
  }
  const auto longer = [](const Unit& a, const Unit& b) {
    return a.blocks.size() > b.blocks.size();
  };
  std::stable_sort(groups.begin(), groups.end(), longer);
  std::stable_sort(singles.begin(), singles.end(), longer);
  std::move(singles.begin(), singles.end(), std::back_inserter(groups));
  return groups;
}

class Placement {
 public:
  Placement(std::span<const Replica> replicas, const Options& options, uint64_t share)
      : replicas_(replicas), options_(options), share_(share), states_(replicas.size()) {}

  void Place(const Unit& unit, std::vector<int64_t>& out) {
    for (State& s : states_) {
      s.here = 0;
      s.matched = 0;
      while (s.matched < unit.blocks.size() && s.blocks.contains(unit.blocks[s.matched])) {
        ++s.matched;
      }
    }
    bool prefer = options_.min_colocate > 0;
    for (size_t next = 0; next < unit.members.size(); prefer = false) {
      const size_t r = Choose(prefer);
      State& s = states_[r];
      const size_t left = unit.members.size() - next;
      size_t count = left;
      if (options_.per_replica >= 0) {
        const auto most = static_cast<size_t>(options_.per_replica);
        count = std::min(left, most > s.here ? most - s.here : 1);
      }
      if (options_.by_tokens) {
        if (s.here == 0) s.load += unit.blocks.size() - s.matched;
      } else {
        s.load += count;
      }
      s.here += count;
      for (; count > 0; --count) out[unit.members[next++]] = static_cast<int64_t>(r);
    }
    for (State& s : states_) {
      if (s.here > 0) s.blocks.insert(unit.blocks.begin(), unit.blocks.end());
    }
  }

 private:
  struct State {
    uint64_t load = 0;
    std::unordered_set<uint64_t> blocks;  // placed here in this batch
    // Of the unit that is being placed.
    size_t here = 0;
    size_t matched = 0;
  };

  bool Better(size_t a, size_t b) const {
    if (states_[a].load != states_[b].load) return states_[a].load < states_[b].load;
    if (replicas_[a].running != replicas_[b].running) {
      return replicas_[a].running < replicas_[b].running;
    }
    return replicas_[a].name < replicas_[b].name;
  }
  bool HasRoom(const State& s) const {
    return options_.per_replica < 0 || s.here < static_cast<size_t>(options_.per_replica);
  }

  size_t Choose(bool prefer) const {
    const size_t none = states_.size();
    size_t best = none;
    if (prefer) {
      for (size_t r = 0; r < states_.size(); ++r) {
        const State& s = states_[r];
        if (!HasRoom(s) || s.load >= share_ || s.matched < options_.min_colocate) continue;
        if (best == none || s.matched > states_[best].matched ||
            (s.matched == states_[best].matched && Better(r, best))) {
          best = r;
        }
      }
      if (best != none) return best;
    }
    for (size_t r = 0; r < states_.size(); ++r) {
      if (HasRoom(states_[r]) && (best == none || Better(r, best))) best = r;
    }
    if (best != none) return best;
    best = 0;
    for (size_t r = 1; r < states_.size(); ++r) {
      if (Better(r, best)) best = r;
    }
    return best;
  }

  const std::span<const Replica> replicas_;
  const Options options_;
  const uint64_t share_;
  std::vector<State> states_;
};

}  // namespace

std::vector<int64_t> Assign(std::span<const Blocks> requests, std::span<const Replica> replicas,
                            const Options& options) {
  std::vector<int64_t> out(requests.size(), -1);
  if (replicas.empty()) return out;
  const std::vector<Unit> units = UnitsOf(requests, options.min_colocate);
  uint64_t total = 0;
  for (const Unit& unit : units) {
    total += options.by_tokens ? unit.blocks.size() : unit.members.size();
  }
  Placement placement(replicas, options, (total + replicas.size() - 1) / replicas.size());
  for (const Unit& unit : units) placement.Place(unit, out);
  return out;
}

}  // namespace epp::burst
