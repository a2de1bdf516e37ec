// The host as a checked instance sees it: everything that the ABI promises, and an eye on whether
// the instance keeps its part.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "epp/abi.h"
#include "host/base/interner.h"
#include "host/validate/findings.h"
#include "host/validate/memory.h"

namespace epp::validate {

struct HostOptions {
  Layout layout = {};
  bool failing = false;               // metrics cannot be registered
  int32_t log_level = EPP_LOG_TRACE;  // what is below is not enabled
};

// Threads: the table may be called from any; the rest belongs to the thread that runs the case.
//
// Time and randomness are the calling thread's own, so that threads that do the same see the same.
class CheckHost {
 public:
  CheckHost(Findings& findings, const HostOptions& options);
  CheckHost(const CheckHost&) = delete;
  CheckHost& operator=(const CheckHost&) = delete;

  // A host that outlives whatever the instance does later.
  static CheckHost& Immortal(Findings& findings, const HostOptions& options);

  const epp_host* table() const { return table_; }
  // create runs.
  void SetCreating(bool creating) { creating_ = creating; }
  // destroy has returned: what the instance still asks for is a breach.
  void Retire() { retired_ = true; }
  const Memory& memory() const { return memory_; }
  Findings& findings() { return findings_; }

  // Starts the calling thread's clock and random numbers.
  static void StartThread(uint64_t seed);
  static uint64_t NowNs();
  static void Advance(uint64_t ns);

  // Symbols are the same for all hosts of the process.
  static Interner& Symbols();

  static constexpr uint32_t kWorkers = 8;

 private:
  struct Table;

  CheckHost& Used(const char* function);
  uint64_t Register(int32_t kind, std::string name, uint32_t label_count, const double* bounds,
                    uint32_t bound_count, epp_error* err);
  uint64_t Series(uint64_t metric, std::string labels, uint32_t label_count);

  Findings& findings_;
  const HostOptions options_;
  Memory memory_;
  epp_host* table_;
  std::atomic<bool> creating_{false};
  std::atomic<bool> retired_{false};
  std::mutex mutex_;
  std::map<std::string, uint64_t> metrics_;           // from 1
  std::vector<std::pair<int32_t, uint32_t>> shapes_;  // kind and labels of metric i + 1
  std::map<std::string, uint64_t> series_;            // from 1
  std::atomic<uint64_t> series_count_{0};
};

// "0x1f" for bytes that are not UTF-8, the text otherwise; at most 80 bytes.
std::string Shown(std::string_view text);
std::string_view View(epp_str text);
epp_str Str(std::string_view text);
// A zeroed error whose message a plugin may fill.
epp_error NewError();
// Breaches about a status and its error: unknown codes, no text, text that does not end.
void CheckError(Findings& findings, std::string_view function, std::string_view of,
                epp_status status, const epp_error& error);
std::string_view MessageOf(const epp_error& error);

}  // namespace epp::validate
