// What a reload or a rollback led to, and the words for it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/runtime/state_transfer.h"
#include "host/serve/load.h"
#include "host/serve/reload_request.h"

namespace epp::serve {

struct ReloadOutcome {
  enum class Kind : uint8_t {
    kApplied,
    kUnchanged,
    kRefused,
    kMismatch,  // the text on disk is not the expected one; nothing was tried
    kNotKept,   // there is no such generation to go back to
  };
  Kind kind = Kind::kRefused;
  uint64_t generation = 0;  // the serving one, afterwards
  uint64_t former = 0;      // the serving one, before
  uint64_t restored = 0;    // whose text it is, after a rollback
  std::string digest;       // of the text that was tried, 8 digits
  std::string cause;
  std::string actor;
  std::string reason;
  uint64_t took_ns = 0;
  size_t kept = 0;  // instances taken over with their state
  size_t created = 0;
  size_t carried = 0;   // of the created ones, those that got the state of their predecessor
  int64_t running = 0;  // requests that finish on the former generation
  std::vector<std::string> changes;  // one line each
  std::optional<Pin> pin;            // that is in force afterwards
  std::vector<runtime::LostState> lost;
  std::vector<LibraryReport::Refused> refused_libraries;
  std::string diagnostics;  // rendered; of a refusal, or warnings
  size_t errors = 0;        // among them
  uint64_t unix_ns = 0;
  // Nothing was decided: what would be refused changed a moment ago and may be half written.
  bool unsettled = false;
};

std::string_view KindName(ReloadOutcome::Kind kind);
// Is something on disk not what serves now? The config, or a library that was loaded before. Not
// after a rollback, which wants that.
bool IsRefusal(const ReloadOutcome& outcome);
// For HTTP: 200, 409 refused, 412 mismatch, 404 not kept.
int StatusOf(const ReloadOutcome& outcome);

// "epp.reload/1", and what `epp reload --wait` and `epp rollback` print.
std::string ReloadJson(const ReloadOutcome& outcome);
std::string ReloadText(const ReloadOutcome& outcome);

}  // namespace epp::serve
