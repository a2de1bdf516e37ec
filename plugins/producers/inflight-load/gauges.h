// The gauges of requests and tokens in flight, by endpoint, fairness id and priority.
//
// Fairness ids come from clients, so the number of series is bounded: when it is reached, series
// that show 0 make room, and if there are too few the fairness id becomes "other", and at last the
// request is left out.
//
// Threads: everything from anywhere; a request locks one of 16 groups for a hash lookup.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "counters.h"
#include "epp/plugin.hpp"

namespace epp::inflight {

class Gauges {
 public:
  // One combination of labels. Stays while a request holds it.
  struct Entry;

  Gauges(const epp::Context& ctx, size_t max_entries);
  ~Gauges();
  Gauges(const Gauges&) = delete;
  Gauges& operator=(const Gauges&) = delete;

  // Adds load and returns the entry for the later Subtract; null when there is no room for it.
  Entry* Add(std::string_view endpoint, std::string_view fairness_id, int32_t priority, Load load);

  // Takes back a part of what was added; `last` lets go of the entry. entry may be null.
  void Subtract(Entry* entry, Load load, bool last);

  // What others still count, instead of what they counted at the last call: see Counters. They show
  // their own numbers in the same series, so each call publishes ours again.
  struct Known {
    std::string endpoint;
    std::string fairness_id;
    int32_t priority = 0;
    Load load;
  };
  void Inherit(const std::vector<Known>& loads);
  std::vector<Known> NonZero() const;

 private:
  static constexpr size_t kGroups = 16;
  struct Group {
    mutable std::mutex mu;
    std::unordered_map<std::string, Entry> entries;  // by the labels, joined
    size_t idle = 0;                                 // entries that no request holds
  };

  Group& GroupOf(std::string_view endpoint);
  // Of these labels, or with "other"; null when there is no room.
  Entry* FindOrOther(Group& group, std::string_view endpoint, std::string_view fairness_id,
                     int32_t priority);
  Entry* Find(Group& group, std::string_view endpoint, std::string_view fairness_id,
              int32_t priority);
  epp::Series SeriesOf(const epp::Metric& metric, std::string_view endpoint,
                       std::string_view fairness_id, int32_t priority) const;
  void Publish(const Entry& entry) const;

  const size_t max_per_group_;
  const std::string producer_;
  epp::Metric requests_;
  epp::Metric tokens_;
  std::array<Group, kGroups> groups_;
};

}  // namespace epp::inflight
