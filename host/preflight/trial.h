// The preflight: a child process that loads new libraries, and does with them what requests will,
// before the serving process touches them. What crashes, hangs, exits or eats memory does so there.
//
// The child is this executable with the hidden command "preflight". It gets everything in one
// sealed memory file: settings, config, and the very bytes that will be loaded. It answers in
// shared memory, where its calls into plugins can be seen even when it is killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "host/config/diagnostics.h"
#include "host/loader/library.h"

namespace epp::preflight {

inline constexpr std::string_view kCommand = "preflight";

// A trial as a whole may take so many times the limit of a step.
inline constexpr uint64_t kMaxSteps = 12;

// One library as bytes.
struct TrialLibrary {
  std::string name;
  std::string path;
  std::string digest;
  bool fresh = false;    // not proven yet
  bool serving = false;  // mapped in the asking process, but not found on disk any more
  std::shared_ptr<const void> owner;
  std::string_view bytes;  // owned by owner
};

struct Trial {
  std::string settings;  // TOML
  std::string own_plugins_dir;
  std::shared_ptr<const config::SourceText> config;
  std::vector<TrialLibrary> libraries;
  // What quarantined libraries offer, as loader::Identity::offers.
  std::vector<std::string> quarantined_offers;
};

struct TrialLimits {
  // Of a step: what lies between two changes of loader::ActivityMark, such as a call of a plugin. A
  // machine may be slow and libraries many, but one step takes milliseconds.
  uint64_t time_ns = 0;
  uint64_t memory_bytes = uint64_t{4} << 30;  // of address space; not where a sanitizer needs more
  pid_t parent = 0;                           // known to the child only
};

// Runs the child and waits. True when it came through. Else `out` has what it reported (errors of
// the config, as a build would) or how it failed, as EPP-LOAD-PREFLIGHT with library, digest and
// interface.
// Threads: any one at a time; safe while other threads run anything. Cost: a process, some 100 ms.
bool Run(const Trial& trial, const TrialLimits& limits, config::Diagnostics& out);

// Digests that came through in this process's life.
bool IsProven(std::string_view digest);
void SetProven(std::string_view digest);

// Trials need an executable that knows the command. Off until main says so.
void AllowTrials();
bool TrialsAllowed();

// The child's side. Takes the descriptors that Run left it and the limits on itself, runs `body`
// with the trial, reports. Returns the exit code. `body` returns an error for what is wrong with a
// library, and fills the diagnostics with what is wrong with the config.
using TrialBody = std::function<absl::Status(const Trial&, config::Diagnostics&)>;
int ChildMain(const TrialBody& body);

}  // namespace epp::preflight
