#include "host/telemetry/label_cap.h"

namespace epp::telemetry {

std::string_view LabelCap::Admit(std::string_view value) {
  if (value.empty()) return value;
  const absl::string_view key(value.data(), value.size());
  MutexLock lock(&mu_);
  if (admitted_.contains(key) || pinned_.contains(key)) return value;
  if (admitted_.size() >= max_) return kOther;
  admitted_.emplace(key);
  return value;
}

void LabelCap::Pin(std::string_view value) {
  MutexLock lock(&mu_);
  pinned_.emplace(value);
}

size_t LabelCap::admitted() const {
  MutexLock lock(&mu_);
  return admitted_.size();
}

}  // namespace epp::telemetry
