#include "host/loader/guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <vector>

namespace epp::loader {
namespace {

constexpr size_t kSignalStackBytes = size_t{64} << 10;
constexpr size_t kGuardPageBytes = 4096;
// So many released guards rest before one is used again: who looked up one just before its release
// still finds it unchanged.
constexpr size_t kRestingGuards = 1024;

struct Global {
  std::mutex mutex;  // all below
  std::deque<Guard*> resting;
  std::vector<InFlightCell*> cells;
  std::vector<InFlightCell*> free_cells;
  SharedTable* shared = nullptr;
  size_t shared_bytes = 0;
};

Global& TheGlobal() {
  static Global& global = *new Global;
  return global;
}

// Memory that is never given back. The lock is held.
void* Allocate(Global& global, size_t bytes) {
  bytes = (bytes + 63) & ~size_t{63};
  if (global.shared != nullptr) {
    const uint64_t at = global.shared->used.load(std::memory_order_relaxed);
    if (at + bytes <= global.shared_bytes) {
      global.shared->used.store(at + bytes, std::memory_order_relaxed);
      return reinterpret_cast<char*>(global.shared) + at;
    }
  }
  return ::operator new(bytes, std::align_val_t(64));
}

// Cut to what fits; quotes, controls and what is not ASCII become '?', so that the text can stand
// in any line of a log.
template <size_t kSize>
void Copy(std::string_view text, std::array<char, kSize>& out) {
  out.fill('\0');
  const size_t n = std::min(text.size(), kSize - 1);
  for (size_t i = 0; i < n; ++i) {
    const char c = text[i];
    out[i] = c < ' ' || c > '~' || c == '"' || c == '\\' ? '?' : c;
  }
}

uint64_t ThreadCpuNs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

int64_t ThreadSleeps() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

// A thread that overran its stack needs another one to say so.
void InstallSignalStack(InFlightCell& cell) {
  stack_t old{};
  // A sanitizer brings its own.
  if (sigaltstack(nullptr, &old) != 0 || !(old.ss_flags & SS_DISABLE)) return;
  if (cell.stack == nullptr) {
    void* memory = mmap(nullptr, kGuardPageBytes + kSignalStackBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) return;
    mprotect(memory, kGuardPageBytes, PROT_NONE);
    cell.stack = static_cast<char*>(memory) + kGuardPageBytes;
  }
  stack_t stack{};
  stack.ss_sp = cell.stack;
  stack.ss_size = kSignalStackBytes;
  sigaltstack(&stack, nullptr);
}

// A list that only grows, walked without a lock.
struct CodeRange {
  uint64_t begin = 0;
  uint64_t end = 0;
  const Identity* owner = nullptr;
  CodeRange* next = nullptr;
};
constinit std::atomic<CodeRange*> g_code{nullptr};

constinit thread_local InFlightCell* t_cell = nullptr;

// Gives the cell back when its thread ends.
struct Returner {
  ~Returner() {
    InFlightCell* cell = t_cell;
    if (cell == nullptr) return;
    t_cell = nullptr;
    stack_t now{};
    if (sigaltstack(nullptr, &now) == 0 && now.ss_sp == cell->stack) {
      stack_t off{};
      off.ss_flags = SS_DISABLE;
      sigaltstack(&off, nullptr);
    }
    Global& global = TheGlobal();
    std::lock_guard lock(global.mutex);
    cell->thread.store(0, std::memory_order_relaxed);
    cell->measured = nullptr;
    cell->allowance_ns = 0;
    global.free_cells.push_back(cell);
  }
};

InFlightCell& MakeCell() {
  Global& global = TheGlobal();
  InFlightCell* cell = nullptr;
  {
    std::lock_guard lock(global.mutex);
    if (!global.free_cells.empty()) {
      cell = global.free_cells.back();
      global.free_cells.pop_back();
    } else {
      cell = new (Allocate(global, sizeof(InFlightCell))) InFlightCell;
      global.cells.push_back(cell);
      if (global.shared != nullptr) {
        const uint32_t n = global.shared->cell_count.load(std::memory_order_relaxed);
        if (n < global.shared->cells.size()) {
          global.shared->cells[n] = reinterpret_cast<uint64_t>(cell);
          global.shared->cell_count.store(n + 1, std::memory_order_release);
        }
      }
    }
  }
  cell->thread.store(static_cast<pid_t>(syscall(SYS_gettid)), std::memory_order_relaxed);
  InstallSignalStack(*cell);
  t_cell = cell;
  // Its destructor is what it is for.
  thread_local Returner returner;
  (void)returner;
  return *cell;
}

}  // namespace

const char* NameOf(Entry entry) {
  static constexpr std::array kNames = {
      "nothing",
      "load",
      "create",
      "destroy",
      "epp.filter/1",
      "epp.scorer/1",
      "epp.picker/1",
      "epp.profile-handler/1",
      "epp.request-header/1",
      "epp.screener/1",
      "epp.producer/1",
      "epp.admitter/1",
      "epp.pre-request/1",
      "epp.response/1",
      "epp.parser/1",
      "epp.source/1",
      "epp.scraper/1",
      "epp.pool-events/1",
      "epp.attributes/1",
      "epp.readiness/1",
      "epp.dump-state/1",
      "epp.state/1",
      "epp.service/1",
      "load a second time, under another name",
      "epp.decider/1",
  };
  const auto i = static_cast<size_t>(entry);
  return i < kNames.size() ? kNames[i] : "?";
}

Guard& Guard::Acquire(const Names& names) {
  Global& global = TheGlobal();
  Guard* guard = nullptr;
  {
    std::lock_guard lock(global.mutex);
    if (global.resting.size() > kRestingGuards) {
      guard = global.resting.front();
      global.resting.pop_front();
    } else {
      guard = new (Allocate(global, sizeof(Guard))) Guard;
    }
  }
  guard->Forgive();
  Copy(names.library, guard->identity_.library);
  Copy(names.digest, guard->identity_.digest);
  Copy(names.type, guard->identity_.type);
  Copy(names.instance, guard->identity_.instance);
  Copy(names.offers, guard->identity_.offers);
  return *guard;
}

void Guard::Release() {
  Global& global = TheGlobal();
  std::lock_guard lock(global.mutex);
  global.resting.push_back(this);
}

void Guard::SetStuck() { flags_.fetch_or(kStuck, std::memory_order_relaxed); }

void Guard::CallReturned() {
  flags_.fetch_or(kSlow, std::memory_order_relaxed);
  flags_.fetch_and(~kStuck, std::memory_order_relaxed);
}

void Guard::Forgive() {
  flags_.store(0, std::memory_order_relaxed);
  strikes_.store(0, std::memory_order_relaxed);
  for (auto& at : strike_ns_) at.store(0, std::memory_order_relaxed);
  unconfirmed_ns_.store(0, std::memory_order_relaxed);
}

bool Guard::Strike(uint64_t at_ns) {
  const uint32_t n = strikes_.fetch_add(1, std::memory_order_relaxed);
  strike_ns_[n % 3].store(at_ns, std::memory_order_relaxed);
  // The one two strikes ago.
  const uint64_t first = strike_ns_[(n + 1) % 3].load(std::memory_order_relaxed);
  return n >= 2 && first + kMinuteNs > at_ns;
}

Guard::Slow Guard::JudgeSlow(uint64_t took_ns, uint64_t budget_ns, uint64_t now_ns,
                             bool may_switch_off) {
  const InFlightCell& cell = ThisThread();
  budget_ns += cell.allowance_ns;
  if (took_ns <= budget_ns || slow()) return Slow::kNothing;
  const bool measured = cell.measured == this &&
                        cell.measured_since_ns == cell.since_ns.load(std::memory_order_relaxed);
  if (!measured) {
    unconfirmed_ns_.store(now_ns, std::memory_order_relaxed);
    suspect_until_ns_.store(now_ns + kMinuteNs, std::memory_order_relaxed);
    flags_.fetch_or(kSuspect, std::memory_order_relaxed);
    return Slow::kSuspect;
  }
  const bool worked = ThreadCpuNs() - cell.cpu_ns > budget_ns;
  const bool slept = ThreadSleeps() != cell.sleeps;
  if (!worked && !slept) return Slow::kNothing;
  suspect_until_ns_.store(now_ns + kMinuteNs, std::memory_order_relaxed);
  const uint64_t before = unconfirmed_ns_.exchange(0, std::memory_order_relaxed);
  if (before != 0 && before + kMinuteNs > now_ns) Strike(before);
  if (!Strike(now_ns)) return Slow::kStrike;
  if (!may_switch_off) return Slow::kStrike;
  return flags_.fetch_or(kSlow, std::memory_order_relaxed) & kSlow ? Slow::kNothing : Slow::kOff;
}

const InFlightCell* CellOfThisThread() noexcept { return t_cell; }

void RememberCode(uint64_t address, uint64_t bytes, const Guard::Names& names) {
  auto* range = new CodeRange;
  range->begin = address;
  range->end = address + bytes;
  range->owner = &Guard::Acquire(names).identity();
  range->next = g_code.load(std::memory_order_relaxed);
  while (!g_code.compare_exchange_weak(range->next, range, std::memory_order_release)) {
  }
}

const Identity* OwnerOfCode(uint64_t address) noexcept {
  for (const CodeRange* range = g_code.load(std::memory_order_acquire); range != nullptr;
       range = range->next) {
    if (address >= range->begin && address < range->end) return range->owner;
  }
  return nullptr;
}

InFlightCell& ThisThread() {
  if (t_cell != nullptr) [[likely]]
    return *t_cell;
  return MakeCell();
}

void InFlight::Measure(Guard& guard, uint64_t now_ns) {
  if (now_ns > guard.suspect_until_ns_.load(std::memory_order_relaxed)) {
    guard.flags_.fetch_and(~Guard::kSuspect, std::memory_order_relaxed);
    return;
  }
  cell_.measured = &guard;
  cell_.measured_since_ns = now_ns;
  cell_.sleeps = ThreadSleeps();
  cell_.cpu_ns = ThreadCpuNs();
}

size_t LookInFlight(std::span<Sighting> out) {
  Global& global = TheGlobal();
  std::lock_guard lock(global.mutex);
  size_t n = 0;
  for (const InFlightCell* cell : global.cells) {
    if (n == out.size()) break;
    Sighting seen;
    seen.guard = cell->guard.load(std::memory_order_acquire);
    if (seen.guard == nullptr) continue;
    seen.since_ns = cell->since_ns.load(std::memory_order_relaxed);
    seen.entry = cell->entry.load(std::memory_order_relaxed);
    seen.thread = cell->thread.load(std::memory_order_relaxed);
    if (seen.since_ns == 0 || seen.thread == 0) continue;
    out[n++] = seen;
  }
  return n;
}

void UseSharedMemory(void* memory, size_t bytes) {
  Global& global = TheGlobal();
  std::lock_guard lock(global.mutex);
  if (bytes < sizeof(SharedTable)) return;
  auto* table = new (memory) SharedTable;
  table->base = reinterpret_cast<uint64_t>(memory);
  table->used.store((sizeof(SharedTable) + 63) & ~uint64_t{63}, std::memory_order_relaxed);
  global.shared = table;
  global.shared_bytes = bytes;
}

bool ReadSharedMemory(const void* memory, size_t bytes, Identity* who, Entry* entry) {
  if (bytes < sizeof(SharedTable)) return false;
  const auto* table = static_cast<const SharedTable*>(memory);
  const uint64_t base = table->base;
  // The offset of an address there, when `size` bytes from it are inside.
  const auto offset = [&](uint64_t address, uint64_t size) -> uint64_t {
    if (address < base || address - base > bytes || bytes - (address - base) < size) return 0;
    return address - base;
  };
  const uint32_t count = std::min<uint32_t>(table->cell_count.load(std::memory_order_acquire),
                                            static_cast<uint32_t>(table->cells.size()));
  const char* bytes_at = static_cast<const char*>(memory);
  // The latest made cell that is busy: a thread that loads a library waits in an older one.
  for (uint32_t i = count; i-- > 0;) {
    const uint64_t cell_at = offset(table->cells[i], sizeof(InFlightCell));
    if (cell_at == 0 || cell_at % 64 != 0) continue;
    const auto* cell = reinterpret_cast<const InFlightCell*>(bytes_at + cell_at);
    const auto guard = reinterpret_cast<uint64_t>(cell->guard.load(std::memory_order_acquire));
    const uint64_t guard_at = guard == 0 ? 0 : offset(guard, sizeof(Guard));
    if (guard_at == 0 || guard_at % 64 != 0) continue;
    *who = reinterpret_cast<const Guard*>(bytes_at + guard_at)->identity();
    who->library.back() = who->digest.back() = who->type.back() = who->instance.back() = '\0';
    who->offers.back() = '\0';
    *entry = cell->entry.load(std::memory_order_relaxed);
    return true;
  }
  return false;
}

uint64_t ActivityMark(const void* memory, size_t bytes) {
  if (bytes < sizeof(SharedTable)) return 0;
  const auto* table = static_cast<const SharedTable*>(memory);
  uint64_t mark = table->used.load(std::memory_order_relaxed);
  const uint32_t count = std::min<uint32_t>(table->cell_count.load(std::memory_order_acquire),
                                            static_cast<uint32_t>(table->cells.size()));
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t at = table->cells[i] - table->base;
    if (at > bytes || bytes - at < sizeof(InFlightCell) || at % 64 != 0) continue;
    const auto* cell = reinterpret_cast<const InFlightCell*>(static_cast<const char*>(memory) + at);
    for (const uint64_t part :
         {reinterpret_cast<uint64_t>(cell->guard.load(std::memory_order_relaxed)),
          static_cast<uint64_t>(cell->entry.load(std::memory_order_relaxed)),
          cell->since_ns.load(std::memory_order_relaxed)}) {
      mark = (mark ^ part) * 0x9e3779b97f4a7c15;  // the golden ratio; any odd number would do
    }
  }
  return mark;
}

}  // namespace epp::loader
