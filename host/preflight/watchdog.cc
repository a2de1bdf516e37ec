#include "host/preflight/watchdog.h"

#include <algorithm>
#include <array>
#include <utility>

#include "host/base/str_cat.h"

namespace epp::preflight {
namespace {

constexpr size_t kMaxThreads = 512;

bool Same(const loader::Sighting& a, const loader::Sighting& b) {
  return a.guard == b.guard && a.since_ns == b.since_ns && a.thread == b.thread;
}

}  // namespace

std::vector<StuckCall> Watchdog::Look(uint64_t now_ns) {
  std::vector<loader::Sighting> seen(kMaxThreads);
  seen.resize(loader::LookInFlight(seen));
  std::erase_if(seen, [&](const loader::Sighting& call) {
    return call.since_ns > now_ns || now_ns - call.since_ns < stuck_ns_;
  });
  std::vector<Known> former = std::exchange(known_, {});
  std::vector<StuckCall> out;
  for (const loader::Sighting& call : seen) {
    // What a thread writes is not read in one step: only what is the same a look later counts.
    const auto it =
        std::ranges::find_if(former, [&](const Known& known) { return Same(known.call, call); });
    Known& known = known_.emplace_back();
    known.call = call;
    if (it == former.end()) continue;
    out.push_back({call, now_ns - call.since_ns, !it->told});
    known.told = true;
    call.guard->SetStuck();
  }
  for (const Known& gone : former) {
    if (!gone.told) continue;
    const bool still = std::ranges::any_of(
        known_, [&](const Known& known) { return known.call.guard == gone.call.guard; });
    if (!still) gone.call.guard->CallReturned();
  }
  return out;
}

std::string Describe(const loader::Sighting& call) {
  const loader::Identity& who = call.guard->identity();
  return StrCat(
      "plugin \"", std::string_view(who.instance.data()), "\" (", std::string_view(who.type.data()),
      "), library ", std::string_view(who.library.data()), " (sha256 ",
      std::string_view(who.digest.data()), "), ", std::string_view(loader::NameOf(call.entry)));
}

}  // namespace epp::preflight
