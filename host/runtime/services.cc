#include "host/runtime/services.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "host/base/str_cat.h"

namespace epp::runtime {
namespace {

const epp_service* TableOf(const loader::Instance& instance) {
  return instance.Get<epp_service>(EPP_SERVICE_ID);
}

bool IsService(const HeldInstance& held) { return TableOf(*held.instance()) != nullptr; }

absl::Status StartOne(const loader::Instance& instance) {
  epp_error err{sizeof(epp_error), EPP_OK, {}};
  epp_status status;
  {
    const loader::InFlight inside(instance.guard(), loader::Entry::kService, 0);
    status = TableOf(instance)->start(instance.self(), &err);
  }
  if (status == EPP_OK) return absl::OkStatus();
  const std::string_view text(err.message, strnlen(err.message, sizeof(err.message)));
  return absl::UnavailableError(
      StrCat("service \"", instance.name(), "\" (", instance.type().name(),
             ") does not start: ", text.empty() ? StrCat("status ", status) : text));
}

void StopOne(const loader::Instance& instance) {
  const loader::InFlight inside(instance.guard(), loader::Entry::kService, 0);
  TableOf(instance)->stop(instance.self());
}

}  // namespace

bool HasService(const Generation& generation) {
  return std::ranges::any_of(generation.held(), [](const auto& held) { return IsService(*held); });
}

absl::Status Services::Start(const Generation& next) {
  std::vector<Entry> started;
  for (const std::shared_ptr<HeldInstance>& held : next.held()) {
    if (!IsService(*held)) continue;
    if (std::ranges::any_of(entries_, [&](const Entry& e) { return e.held == held; })) continue;
    for (size_t i = 0; i < held->all().size(); ++i) {
      absl::Status status = StartOne(*held->all()[i]);
      if (status.ok()) continue;
      while (i > 0) StopOne(*held->all()[--i]);
      for (auto it = started.rbegin(); it != started.rend(); ++it) Stop(*it->held);
      return status;
    }
    started.push_back({held});
  }
  entries_.insert(entries_.end(), started.begin(), started.end());
  return absl::OkStatus();
}

void Services::Retire(const Generation& serving, uint64_t deadline_ns) {
  for (Entry& entry : entries_) {
    if (entry.deadline_ns != 0) continue;
    if (std::ranges::find(serving.held(), entry.held) == serving.held().end()) {
      Drain(entry, deadline_ns);
    }
  }
}

void Services::DrainAll(uint64_t deadline_ns) {
  for (Entry& entry : entries_) {
    if (entry.deadline_ns == 0) Drain(entry, deadline_ns);
  }
}

void Services::Drain(Entry& entry, uint64_t deadline_ns) {
  entry.deadline_ns = std::max<uint64_t>(deadline_ns, 1);
  for (const auto& instance : entry.held->all()) {
    const loader::InFlight inside(instance->guard(), loader::Entry::kService, 0);
    TableOf(*instance)->drain(instance->self(), deadline_ns);
  }
}

void Services::Look(uint64_t now_ns) {
  std::erase_if(entries_, [&](const Entry& entry) {
    if (entry.deadline_ns == 0) return false;
    if (entry.deadline_ns > now_ns && Running(*entry.held) != 0) return false;
    Stop(*entry.held);
    return true;
  });
}

void Services::StopAll() {
  while (!entries_.empty()) {
    Stop(*entries_.back().held);
    entries_.pop_back();
  }
}

void Services::Stop(const HeldInstance& held) {
  for (const auto& instance : held.all()) StopOne(*instance);
}

uint64_t Services::Running(const HeldInstance& held) {
  uint64_t total = 0;
  for (const auto& instance : held.all()) {
    const epp_service& table = *TableOf(*instance);
    if (!EPP_HAS(&table, epp_service, running) || table.running == nullptr) {
      ++total;
      continue;
    }
    const loader::InFlight inside(instance->guard(), loader::Entry::kService, 0);
    total += table.running(instance->self());
  }
  return total;
}

uint64_t Services::running() const {
  uint64_t total = 0;
  for (const Entry& entry : entries_) total += Running(*entry.held);
  return total;
}

bool Services::draining() const {
  return std::ranges::any_of(entries_, [](const Entry& e) { return e.deadline_ns != 0; });
}

}  // namespace epp::runtime
