// Libraries that crashed the process: remembered in a file, and not loaded again.
//
// The file has one line a crash, fields between tabs: digest, unix time, signal, library, type,
// instance, interface, and what the library offers. Written by the crash handler, read at start
// and at every reload. A line that is removed is forgiven.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "epp/abi.h"

namespace epp::preflight {

struct Crash {
  std::string digest;  // hex SHA-256
  uint64_t unix_s = 0;
  std::string what;  // "SIGSEGV"
  std::string library;
  std::string type;
  std::string instance;
  std::string interface_id;
  std::string offers;  // as loader::Identity
};

// "/var/lib/epp/quarantine"; empty for an empty directory.
std::string QuarantineFile(const std::string& state_dir);

// The crashes that the file remembers; none when there is no file. Lines that are none are skipped.
std::vector<Crash> ReadQuarantine(const std::string& file);

// Removes the lines whose digest begins with `prefix` (at least 8 digits). Returns how many.
// Errors: InvalidArgument for a prefix that is none; others when the file cannot be replaced.
absl::StatusOr<size_t> Forgive(const std::string& file, std::string_view prefix);

// "crashed with SIGSEGV in epp.scorer/1 of plugin "x" at 2026-01-02T03:04:05Z; ..."
std::string Describe(const Crash& crash);

// Plugin types that take the place of those of a quarantined library in a config: scorers that
// contribute nothing and filters that keep all. Only types that are nothing else have one. The same
// type again is the same pointer; they live for ever.
std::vector<const epp_plugin_type*> StandIns(const std::vector<Crash>& crashes);

// True for an instance of such a type.
bool IsStandIn(const epp_plugin_type& type);

}  // namespace epp::preflight
