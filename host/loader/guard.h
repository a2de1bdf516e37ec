// Who is inside a plugin right now, and which instances are switched off.
//
// Every call into a plugin is wrapped in an InFlight: three plain stores before, one after. The
// watchdog reads these cells from another thread; the crash handler reads them in a signal, so all
// of it is plain bytes in memory that is never freed. A preflight child keeps them in memory that
// its parent can read after its death.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace epp::loader {

// What a plugin is being called for.
enum class Entry : uint32_t {
  kNone,
  kLoad,
  kCreate,
  kDestroy,
  kFilter,
  kScorer,
  kPicker,
  kProfileHandler,
  kRequestHeader,
  kScreener,
  kProducer,
  kAdmitter,
  kPreRequest,
  kResponse,
  kParser,
  kSource,
  kScraper,
  kPoolEvents,
  kAttributes,
  kReadiness,
  kDumpState,
  kState,
  kService,
  kLoadAgain,
  kDecider,
};

// "epp.scorer/1", or a word for what is no interface.
const char* NameOf(Entry entry);

// Who is meant, as bytes that may be read at any moment. Texts are cut and printable.
struct Identity {
  std::array<char, 64> library{};    // file name without .so; "epp" for what is part of the host
  std::array<char, 65> digest{};     // hex SHA-256; empty for what is part of the host
  std::array<char, 64> type{};       // empty while a library is loaded
  std::array<char, 128> instance{};  // likewise
  // All types of the library with their interfaces, "queue-scorer=epp.scorer/1,..."; cut when long.
  std::array<char, 512> offers{};
};

// How one instance behaved. Its copies for workers share it.
//
// Threads: any.
class Guard {
 public:
  struct Names {
    std::string_view library, digest, type, instance, offers;
  };
  // The memory stays valid for ever, so that a signal handler may look at it; after Release it may
  // come to describe another instance.
  static Guard& Acquire(const Names& names);
  void Release();

  const Identity& identity() const { return identity_; }

  // Switched off: calls that a request can do without are left out.
  bool off() const { return flags_.load(std::memory_order_relaxed) & (kSlow | kStuck); }
  // A call has not returned. Calls that a request cannot do without fail at once.
  bool stuck() const { return flags_.load(std::memory_order_relaxed) & kStuck; }
  void SetStuck();
  // The stuck call came back: requests may depend on it again, but what they can do without stays
  // off.
  void CallReturned();
  // Off by strikes.
  bool slow() const { return flags_.load(std::memory_order_relaxed) & kSlow; }
  // On again, with a clean record.
  void Forgive();

  // What a call that took longer than its budget means.
  enum class Slow : uint8_t {
    kNothing,  // the thread did not get the processor; not the plugin's doing
    kSuspect,  // from now on it is measured more closely
    kStrike,
    kOff,  // the third strike within a minute
  };
  // Call on the thread that made the call, before its next one. `budget_ns` is the operator's; the
  // thread's allowance is added. `may_switch_off` false: strikes only.
  Slow JudgeSlow(uint64_t took_ns, uint64_t budget_ns, uint64_t now_ns, bool may_switch_off);

 private:
  friend class InFlight;
  static constexpr uint32_t kSlow = 1;
  static constexpr uint32_t kStuck = 2;
  static constexpr uint32_t kSuspect = 4;
  static constexpr uint64_t kMinuteNs = 60'000'000'000;

  // True when the strike is the third within a minute.
  bool Strike(uint64_t at_ns);

  std::atomic<uint32_t> flags_{0};
  std::atomic<uint32_t> strikes_{0};
  std::array<std::atomic<uint64_t>, 3> strike_ns_{};
  // A slow call that was not measured closely: a strike as soon as another one is confirmed.
  std::atomic<uint64_t> unconfirmed_ns_{0};
  std::atomic<uint64_t> suspect_until_ns_{0};
  Identity identity_;
};

// What a thread is doing. Written by it, read by all.
struct alignas(64) InFlightCell {
  std::atomic<uint64_t> since_ns{0};  // monotonic; 0: not watched
  std::atomic<Entry> entry{Entry::kNone};
  std::atomic<Guard*> guard{nullptr};  // null: in no plugin
  std::atomic<pid_t> thread{0};        // 0: the cell is free

  // The rest is the thread's own.
  uint64_t allowance_ns = 0;  // on top of the budget of a call
  const Guard* measured = nullptr;
  uint64_t measured_since_ns = 0;  // which call that was
  uint64_t cpu_ns = 0;             // of the thread, before the measured call
  int64_t sleeps = 0;              // likewise: times it gave up the processor by itself
  void* stack = nullptr;           // for signal handlers
};

// This thread's cell. The first call on a thread takes a lock and gives the thread a stack for
// signal handlers.
InFlightCell& ThisThread();

// Around a call into a plugin.
class InFlight {
 public:
  // `since_ns`: the time now, or 0 when nobody needs to watch this call.
  InFlight(Guard& guard, Entry entry, uint64_t since_ns)
      : cell_(ThisThread()),
        guard_(cell_.guard.load(std::memory_order_relaxed)),
        entry_(cell_.entry.load(std::memory_order_relaxed)),
        since_ns_(cell_.since_ns.load(std::memory_order_relaxed)) {
    if (guard.flags_.load(std::memory_order_relaxed) & Guard::kSuspect) [[unlikely]]
      Measure(guard, since_ns);
    cell_.since_ns.store(since_ns, std::memory_order_relaxed);
    cell_.entry.store(entry, std::memory_order_relaxed);
    cell_.guard.store(&guard, std::memory_order_release);
  }
  ~InFlight() {
    cell_.guard.store(guard_, std::memory_order_release);
    if (guard_ != nullptr) [[unlikely]] {
      cell_.entry.store(entry_, std::memory_order_relaxed);
      cell_.since_ns.store(since_ns_, std::memory_order_relaxed);
    }
  }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;

 private:
  void Measure(Guard& guard, uint64_t now_ns);

  InFlightCell& cell_;
  // What was going on outside: a plugin that makes the host call another.
  Guard* const guard_;
  const Entry entry_;
  const uint64_t since_ns_;
};

// One thread inside a plugin, at the time of the look.
struct Sighting {
  Guard* guard = nullptr;
  Entry entry = Entry::kNone;
  uint64_t since_ns = 0;
  pid_t thread = 0;
};
// Fills `out` with the threads that are inside a plugin and watched; returns how many.
size_t LookInFlight(std::span<Sighting> out);

// Remembers whose code lies at these addresses, for ever. For the crash handler: a thread of a
// library's own is in no call of the host.
void RememberCode(uint64_t address, uint64_t bytes, const Guard::Names& names);
// Whose code `address` is, or null. Safe in a signal handler.
const Identity* OwnerOfCode(uint64_t address) noexcept;
// This thread's cell when it has one. Safe in a signal handler.
const InFlightCell* CellOfThisThread() noexcept;

// The memory that cells and guards come from, instead of the heap, from now on. Call before the
// first of them is made. Layout: SharedTable, then whatever was allocated.
struct SharedTable {
  std::atomic<uint64_t> used{0};
  uint64_t base = 0;  // address of this table in the process that fills it
  std::atomic<uint32_t> cell_count{0};
  std::array<uint64_t, 64> cells{};  // addresses there
};
void UseSharedMemory(void* memory, size_t bytes);
// What the dead process that filled `memory` was doing: the deepest call found, or nothing.
// `memory` is a copy or a mapping of all `bytes`, and not trusted.
bool ReadSharedMemory(const void* memory, size_t bytes, Identity* who, Entry* entry);
// Changes whenever the process that fills `memory` loads a library, makes an instance, or begins or
// ends a call. Threads: any, while that process runs.
uint64_t ActivityMark(const void* memory, size_t bytes);

}  // namespace epp::loader
