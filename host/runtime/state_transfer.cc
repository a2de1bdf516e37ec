#include "host/runtime/state_transfer.h"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <utility>

#include "host/base/str_cat.h"
#include "host/loader/errors.h"
#include "host/telemetry/log.h"

namespace epp::runtime {
namespace {

const epp_state* TableOf(const loader::Instance& instance) {
  if (!instance.type().Implements(EPP_STATE_ID)) return nullptr;
  const auto* table = instance.Get<epp_state>(EPP_STATE_ID);
  const bool whole =
      table != nullptr && EPP_HAS(table, epp_state, load) && table->save && table->load;
  return whole ? table : nullptr;
}

// Gathers what save writes; what is beyond the cap is dropped at once.
struct Sink {
  size_t max_bytes;
  std::string bytes;
  bool too_long = false;
  bool no_memory = false;

  static void Write(void* ctx, epp_str text) noexcept {
    auto& sink = *static_cast<Sink*>(ctx);
    if (sink.too_long || sink.no_memory || text.size == 0) return;
    if (text.size > sink.max_bytes - sink.bytes.size()) {
      sink.too_long = true;
      std::string().swap(sink.bytes);
      return;
    }
    try {
      sink.bytes.append(text.data, text.size);
    } catch (const std::exception&) {
      sink.no_memory = true;
      std::string().swap(sink.bytes);
    }
  }
};

// Not the noexcept types of the header: see loader::Instance::Create.
using SaveFn = epp_status (*)(void*, const epp_writer*, epp_error*);
using LoadFn = epp_status (*)(void*, uint32_t, epp_str, epp_error*);

template <class F>
absl::Status Called(std::string_view what, F&& call) {
  epp_error error{sizeof(epp_error), EPP_OK, {}};
  std::string text;
  try {
    const absl::Status status = loader::FromPluginError(call(&error), error);
    if (status.ok()) return status;
    text = std::string(status.message());
  } catch (const std::exception& e) {
    text = StrCat("it threw an exception: ", e.what());
  } catch (...) {
    text = "it threw an exception";
  }
  return absl::InternalError(StrCat(what, ": ", text));
}

absl::StatusOr<std::string> Save(const loader::Instance& from, size_t max_bytes) {
  const epp_state* const table = TableOf(from);
  Sink sink{max_bytes, {}};
  const epp_writer writer{sizeof(epp_writer), 0, &sink, &Sink::Write};
  const absl::Status status = Called("the old instance did not save it", [&](epp_error* error) {
    return reinterpret_cast<SaveFn>(table->save)(from.self(), &writer, error);
  });
  if (!status.ok()) return status;
  if (sink.too_long) {
    return absl::ResourceExhaustedError(StrCat("it has more than ", max_bytes, " bytes"));
  }
  if (sink.no_memory) return absl::ResourceExhaustedError("out of memory");
  return std::move(sink.bytes);
}

absl::Status Load(const loader::Instance& to, uint32_t version, const std::string& bytes) {
  return Called("the new instance refused it", [&](epp_error* error) {
    return reinterpret_cast<LoadFn>(TableOf(to)->load)(to.self(), version,
                                                       {bytes.data(), bytes.size()}, error);
  });
}

bool Follows(const HeldInstance& from, const HeldInstance& to) {
  return TableOf(*from.instance())->flags & TableOf(*to.instance())->flags & EPP_STATE_FOLLOWS;
}

// Returns the bytes that were carried, over all copies.
absl::StatusOr<uint64_t> Move(const HeldInstance& from, const HeldInstance& to, bool empty_too,
                              size_t max_bytes) {
  uint64_t total = 0;
  for (size_t i = 0; i < from.all().size(); ++i) {
    const absl::StatusOr<std::string> bytes = Save(*from.all()[i], max_bytes);
    if (!bytes.ok()) return bytes.status();
    if (bytes->empty() && !empty_too) continue;
    const uint32_t version = TableOf(*from.all()[i])->version;
    if (const absl::Status s = Load(*to.all()[i], version, *bytes); !s.ok()) return s;
    total += bytes->size();
  }
  return total;
}

// What was inherited would never be given back any more.
void Forget(const HeldInstance& to, uint32_t version) {
  for (const auto& copy : to.all()) Load(*copy, version, {}).IgnoreError();
}

std::shared_ptr<HeldInstance> Predecessor(const Generation& former, const HeldInstance& held) {
  for (const auto& old : former.held()) {
    const loader::Instance& instance = *old->instance();
    if (instance.name() == held.instance()->name() &&
        instance.type().name() == held.instance()->type().name()) {
      return old;
    }
  }
  return nullptr;
}

std::string_view View(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

}  // namespace

StateReport StateCarrier::Carry(const Generation& former, const Generation& next) {
  StateReport report;
  for (const auto& held : next.held()) {
    std::shared_ptr<HeldInstance> old = Predecessor(former, *held);
    if (old == nullptr || old == held || TableOf(*old->instance()) == nullptr) continue;
    if (TableOf(*held->instance()) == nullptr) {
      Lost(*held, "the new build does not carry it over", report);
      continue;
    }
    if (old->all().size() != held->all().size()) {
      Lost(*held,
           StrCat("there were ", old->all().size(), " instances of it, now there are ",
                  held->all().size()),
           report);
      continue;
    }
    const bool follows = Follows(*old, *held);
    const absl::StatusOr<uint64_t> moved = Move(*old, *held, follows, max_bytes_);
    if (!moved.ok()) {
      Lost(*held, std::string(View(moved.status())), report);
      continue;
    }
    if (*moved > 0) {
      ++report.carried;
      report.bytes += *moved;
      report.plugins.push_back(held->instance()->name());
      metrics_->state_transfers.With({"carried"}).Add();
    }
    if (follows) pairs_.push_back({std::move(old), held});
  }
  return report;
}

StateReport StateCarrier::Copy(const Generation& from, const Generation& looker_on) const {
  StateReport report;
  for (const auto& held : looker_on.held()) {
    const std::shared_ptr<HeldInstance> old = Predecessor(from, *held);
    if (old == nullptr || old == held || TableOf(*old->instance()) == nullptr ||
        TableOf(*held->instance()) == nullptr || old->all().size() != held->all().size() ||
        Follows(*old, *held)) {
      continue;
    }
    const absl::StatusOr<uint64_t> moved = Move(*old, *held, false, max_bytes_);
    if (!moved.ok() || *moved == 0) continue;
    ++report.carried;
    report.bytes += *moved;
    report.plugins.push_back(held->instance()->name());
  }
  return report;
}

void StateCarrier::Lost(const HeldInstance& held, std::string why, StateReport& report) const {
  const loader::Instance& instance = *held.instance();
  metrics_->state_transfers.With({"lost"}).Add();
  EPP_LOG_EXEMPT(kWarn, "config", "state lost: the instance starts empty",
                 {{"plugin", instance.name()}, {"type", instance.type().name()}, {"why", why}});
  report.lost.push_back({instance.name(), std::string(instance.type().name()), std::move(why)});
}

void StateCarrier::Follow(absl::FunctionRef<bool(const HeldInstance&)> in_use) {
  const auto inherits = [this](const HeldInstance& held) {
    return std::ranges::any_of(pairs_, [&](const Pair& p) { return p.to.get() == &held; });
  };
  const auto inherited = [this](const HeldInstance& held) {
    return std::ranges::any_of(pairs_, [&](const Pair& p) { return p.from.get() == &held; });
  };
  for (size_t i = 0; i < pairs_.size();) {
    // Asked before the call: what ends meanwhile is for the next round.
    const bool last = !in_use(*pairs_[i].from) && !inherits(*pairs_[i].from);
    const Pair pair = pairs_[i];
    const absl::StatusOr<uint64_t> moved = Move(*pair.from, *pair.to, true, max_bytes_);
    if (!moved.ok()) {
      Forget(*pair.to, TableOf(*pair.from->instance())->version);
      StateReport report;
      Lost(*pair.to, std::string(View(moved.status())), report);
    }
    if (last || !moved.ok()) {
      pairs_.erase(pairs_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  // Newest first: what nothing serves with and nothing inherits from needs to learn nothing.
  for (size_t i = pairs_.size(); i-- > 0;) {
    if (in_use(*pairs_[i].to) || inherited(*pairs_[i].to)) continue;
    pairs_.erase(pairs_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace epp::runtime
