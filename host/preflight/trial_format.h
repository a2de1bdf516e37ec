// How the two sides of a trial talk. Both are the same executable, so there are no versions.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "host/base/unique_fd.h"
#include "host/config/diagnostics.h"
#include "host/preflight/trial.h"

namespace epp::preflight {

inline constexpr int kJobFd = 3;
inline constexpr int kReportFd = 4;

enum class TrialState : uint32_t { kRunning, kGood, kConfigErrors, kBadLibrary };

// The beginning of the shared memory; a loader::SharedTable follows at kTableOffset.
struct Report {
  static constexpr size_t kTextBytes = size_t{1} << 20;
  std::atomic<TrialState> state{TrialState::kRunning};
  std::atomic<uint32_t> size{0};  // of text
  char text[kTextBytes];
};
inline constexpr size_t kTableOffset = (sizeof(Report) + 4095) & ~size_t{4095};
inline constexpr size_t kSharedBytes = kTableOffset + (size_t{3} << 20);

// A sealed memory file with the trial, and the limits for the child.
absl::StatusOr<UniqueFd> WriteJob(const Trial& trial, const TrialLimits& limits);
// The trial's bytes stay mapped for ever.
absl::StatusOr<Trial> ReadJob(int fd, TrialLimits* limits);

// Warnings included. Marks point into `config` or a file that it includes, or nowhere.
std::string EncodeErrors(const config::Diagnostics& diagnostics, const config::SourceText& config);
// Adds them to `out`, with marks into `config`. False when the text is none of ours.
bool DecodeErrors(std::string_view text, const std::shared_ptr<const config::SourceText>& config,
                  config::Diagnostics& out);

}  // namespace epp::preflight
