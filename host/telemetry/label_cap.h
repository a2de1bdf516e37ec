// A ceiling on the distinct values of a label that clients feed.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "host/base/mutex.h"

namespace epp::telemetry {

// First come, first admitted, for the life of the process; later values read as "other". The empty
// value and pinned values pass and do not count.
// Threads: any. Cost: one hash look-up under a lock; resolve label sets once.
class LabelCap {
 public:
  static constexpr size_t kDefaultMax = 1000;
  static constexpr std::string_view kOther = "other";

  explicit LabelCap(size_t max = kDefaultMax) : max_(max) {}

  // `value` itself or kOther. Lifetime: that of `value`.
  std::string_view Admit(std::string_view value);
  // Makes a configured value pass for good.
  void Pin(std::string_view value);
  size_t admitted() const;

 private:
  const size_t max_;
  mutable Mutex mu_;
  absl::flat_hash_set<std::string> admitted_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<std::string> pinned_ ABSL_GUARDED_BY(mu_);
};

}  // namespace epp::telemetry
