#include "host/pool/pool.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "host/pool/columns.h"
#include "host/pool/mailbox.h"
#include "host/pool/slots.h"

namespace epp::pool {
namespace {

constexpr uint64_t kNever = ~uint64_t{0};
constexpr uint64_t kLongestSleepNs = 1'000'000'000;
constexpr std::string_view kLabelPrefix = "label/";

using Lease = std::shared_ptr<const SlotAllocator::Lease>;

// The slot stays taken as long as anybody owns an object of this endpoint.
std::shared_ptr<const Endpoint> MakeEndpoint(uint64_t id, const Lease& lease,
                                             Endpoint::Fields fields) {
  return std::shared_ptr<const Endpoint>(new Endpoint(id, lease->slot(), std::move(fields)),
                                         [lease](const Endpoint* e) { delete e; });
}

std::string FullName(std::string_view name_space, std::string_view name) {
  std::string full;
  full.reserve(name_space.size() + 1 + name.size());
  full.append(name_space).append("/").append(name);
  return full;
}

std::string FullName(const Endpoint::Fields& fields) {
  return FullName(fields.name_space, fields.name);
}

struct Record {
  uint64_t id = 0;
  Lease lease;
  std::shared_ptr<const Endpoint> endpoint;
  std::shared_ptr<Presence> presence;
  uint64_t sampled_ns = 0;
  bool unreachable = false;
  bool announce = true;  // listeners do not know this object yet
};

struct ListenerEntry {
  std::shared_ptr<PoolListener> listener;
  std::atomic<bool> gone{false};
};

}  // namespace

struct Pool::State {
  State(Pool* pool, const Clock* clock_in, Options options_in)
      : owner(pool), clock(clock_in), options(options_in) {
    auto empty = std::shared_ptr<Frame>(new Frame());
    empty->members_ = std::make_shared<const Frame::Members>();
    empty->created_ns_ = clock->mono_ns();
    last_publish_ns = empty->created_ns_;
    frame = std::move(empty);
  }

  void UpsertLocked(Endpoint::Fields fields);
  void RemoveLocked(size_t row);
  void MarkDirty();
  void SyncAttributes();
  void FillLabels(size_t row, AttributeId id, std::string_view label);

  bool IsPublisher() const { return publisher == std::this_thread::get_id(); }
  void TakeBaton(std::unique_lock<std::mutex>& lock);
  void ReleaseBaton();
  bool Deliver(std::unique_lock<std::mutex>& lock);
  void Tell(std::unique_lock<std::mutex>& lock);
  bool NeedsFrame();
  std::shared_ptr<const Frame> BuildFrame();
  std::shared_ptr<const Frame::Members> BuildMembers() const;
  void Run();

  Pool* const owner;
  const Clock* const clock;
  const Options options;
  const std::shared_ptr<Mailbox> mailbox = std::make_shared<Mailbox>();
  const std::shared_ptr<SlotAllocator> slots = std::make_shared<SlotAllocator>();

  std::mutex mutex;  // everything below, except the frame
  std::vector<Record> records;
  std::unordered_map<uint64_t, size_t> row_by_id;
  std::unordered_map<std::string, size_t> row_by_name;
  ColumnStore columns;
  std::vector<int32_t> types;                               // by attribute id, 0 for labels
  std::vector<std::pair<AttributeId, std::string>> labels;  // label columns
  uint64_t next_id = 1;
  uint64_t last_publish_ns = 0;
  uint64_t next_stale_ns = kNever;
  bool dirty = false;
  bool members_dirty = false;
  size_t announcements = 0;                           // records with announce set, at least
  std::vector<std::shared_ptr<const Endpoint>> left;  // announced and removed, to be told

  // Who publishes or tells listeners; nobody else does meanwhile. Never held by the mutex.
  std::thread::id publisher;
  bool again = false;
  std::condition_variable baton_free;
  std::vector<std::shared_ptr<ListenerEntry>> listeners;
  std::map<uint64_t, std::shared_ptr<const Endpoint>> known;  // what listeners know, by id

  std::mutex frame_mutex;
  std::shared_ptr<const Frame> frame;

  std::thread thread;
};

// ---- Changes ----

void Pool::State::MarkDirty() {
  if (!std::exchange(dirty, true)) mailbox->Poke();
}

void Pool::State::FillLabels(size_t row, AttributeId id, std::string_view label) {
  AttributeValue value;
  value.id = id;
  value.present = false;
  for (const auto& [key, text] : records[row].endpoint->fields().labels) {
    if (key != label) continue;
    value.i64 = owner->interner_->Intern(text);
    value.present = value.i64 != 0;
    break;
  }
  columns.Set(row, value);
}

// Learns attributes that were registered since the last call.
void Pool::State::SyncAttributes() {
  const size_t size = owner->attributes_->size();
  while (types.size() < size) {
    const auto id = static_cast<AttributeId>(types.size());
    const AttributeInfo info = owner->attributes_->info(id);
    const bool is_label = info.producer.empty() && info.key.starts_with(kLabelPrefix);
    types.push_back(is_label ? 0 : info.type);
    if (!is_label) continue;
    columns.Ensure(id, EPP_T_SYMBOL);
    labels.emplace_back(id, info.key.substr(kLabelPrefix.size()));
    for (size_t row = 0; row < records.size(); ++row) FillLabels(row, id, labels.back().second);
    MarkDirty();
  }
}

void Pool::State::UpsertLocked(Endpoint::Fields fields) {
  std::sort(fields.labels.begin(), fields.labels.end());
  const std::string name = FullName(fields);
  const auto [at, is_new] = row_by_name.try_emplace(name, records.size());
  const size_t row = at->second;
  if (is_new) {
    Record record;
    record.id = next_id++;
    record.lease = slots->Take();
    record.presence = std::make_shared<Presence>(mailbox);
    row_by_id.emplace(record.id, row);
    records.push_back(std::move(record));
    columns.AddRow();
  } else if (records[row].endpoint->fields() == fields) {
    return;
  }
  Record& record = records[row];
  record.endpoint = MakeEndpoint(record.id, record.lease, std::move(fields));
  record.presence->endpoint = record.endpoint;
  record.announce = true;
  ++announcements;
  for (const auto& [id, label] : labels) FillLabels(row, id, label);
  members_dirty = true;
  MarkDirty();
}

void Pool::State::RemoveLocked(size_t row) {
  const auto& fields = records[row].endpoint->fields();
  row_by_name.erase(FullName(fields));
  row_by_id.erase(records[row].id);
  if (records[row].presence->announced) left.push_back(records[row].endpoint);
  if (row + 1 != records.size()) {
    records[row] = std::move(records.back());
    const auto& moved = records[row].endpoint->fields();
    row_by_name[FullName(moved)] = row;
    row_by_id[records[row].id] = row;
  }
  records.pop_back();
  columns.RemoveRow(row);
  members_dirty = true;
  MarkDirty();
}

void Pool::Upsert(Endpoint::Fields fields) {
  std::lock_guard lock(state_->mutex);
  state_->UpsertLocked(std::move(fields));
}

void Pool::Remove(std::string_view name_space, std::string_view name) {
  std::lock_guard lock(state_->mutex);
  const auto at = state_->row_by_name.find(FullName(name_space, name));
  if (at != state_->row_by_name.end()) state_->RemoveLocked(at->second);
}

void Pool::Replace(std::vector<Endpoint::Fields> fields) {
  std::unordered_set<std::string> wanted;
  for (const auto& f : fields) wanted.insert(FullName(f));
  std::lock_guard lock(state_->mutex);
  for (size_t row = state_->records.size(); row-- > 0;) {
    const auto& f = state_->records[row].endpoint->fields();
    if (!wanted.contains(FullName(f))) state_->RemoveLocked(row);
  }
  for (auto& f : fields) state_->UpsertLocked(std::move(f));
}

void Pool::Update(uint64_t endpoint_id, std::span<const AttributeValue> values, bool good) {
  State& s = *state_;
  std::lock_guard lock(s.mutex);
  const auto at = s.row_by_id.find(endpoint_id);
  if (at == s.row_by_id.end() || (values.empty() && !good)) return;
  for (const AttributeValue& value : values) {
    if (value.id >= s.types.size()) s.SyncAttributes();
    if (value.id >= s.types.size() || s.types[value.id] == 0) continue;
    s.columns.Ensure(value.id, s.types[value.id]);
    s.columns.Set(at->second, value);
  }
  if (good) {
    Record& record = s.records[at->second];
    record.sampled_ns = s.clock->mono_ns();
    record.unreachable = false;
  }
  s.MarkDirty();
}

void Pool::SetUnreachable(uint64_t endpoint_id) {
  State& s = *state_;
  std::lock_guard lock(s.mutex);
  const auto at = s.row_by_id.find(endpoint_id);
  if (at == s.row_by_id.end() || s.records[at->second].unreachable) return;
  s.records[at->second].unreachable = true;
  s.MarkDirty();
}

// ---- Publishing ----

void Pool::State::TakeBaton(std::unique_lock<std::mutex>& lock) {
  baton_free.wait(lock, [this] { return publisher == std::thread::id(); });
  publisher = std::this_thread::get_id();
}

void Pool::State::ReleaseBaton() {
  publisher = std::thread::id();
  baton_free.notify_all();
}

// Tells listeners what they do not know yet; false when there was nothing.
bool Pool::State::Deliver(std::unique_lock<std::mutex>& lock) {
  const std::vector<std::shared_ptr<const Endpoint>> leaving = std::exchange(left, {});
  // Taken after `left`: what is here has left by now at the latest.
  const std::vector<std::shared_ptr<const Endpoint>> removed = mailbox->TakeGone();
  std::vector<std::shared_ptr<const Endpoint>> upserted;
  if (announcements != 0) {
    for (Record& record : records) {
      if (!std::exchange(record.announce, false)) continue;
      record.presence->announced = true;
      known[record.id] = record.endpoint;
      upserted.push_back(record.endpoint);
    }
    announcements = 0;
  }
  if (upserted.empty() && removed.empty() && leaving.empty()) return false;
  for (const auto& endpoint : removed) known.erase(endpoint->abi().id);

  const auto entries = listeners;
  lock.unlock();
  for (const auto& entry : entries) {
    for (const auto& endpoint : leaving) {
      if (!entry->gone.load()) entry->listener->EndpointLeft(*endpoint);
    }
    for (const auto& endpoint : removed) {
      if (!entry->gone.load()) entry->listener->EndpointRemoved(*endpoint);
    }
    for (const auto& endpoint : upserted) {
      if (!entry->gone.load()) entry->listener->EndpointUpserted(*endpoint);
    }
  }
  lock.lock();
  return true;
}

bool Pool::State::NeedsFrame() {
  SyncAttributes();
  return dirty || clock->mono_ns() >= next_stale_ns;
}

std::shared_ptr<const Frame::Members> Pool::State::BuildMembers() const {
  auto members = std::make_shared<Frame::Members>();
  const size_t n = records.size();
  members->owners.reserve(n);
  members->abi.reserve(n);
  members->slots.reserve(n);
  members->rows_by_id.reserve(n);
  members->presences.reserve(n);
  for (size_t row = 0; row < n; ++row) {
    const Record& record = records[row];
    members->owners.push_back(record.endpoint);
    members->abi.push_back(&record.endpoint->abi());
    members->slots.push_back(record.lease->slot());
    members->rows_by_id.emplace_back(record.id, static_cast<uint32_t>(row));
    members->presences.push_back(record.presence);
  }
  std::sort(members->rows_by_id.begin(), members->rows_by_id.end());
  return members;
}

// Makes the next frame current; returns the one before it, for destruction outside the mutex.
std::shared_ptr<const Frame> Pool::State::BuildFrame() {
  const uint64_t now = clock->mono_ns();
  const size_t n = records.size();
  const std::shared_ptr<const Frame> before = owner->current();
  auto next = std::shared_ptr<Frame>(new Frame());
  next->number_ = before->number_ + 1;
  next->created_ns_ = now;
  next->members_ = members_dirty ? BuildMembers() : before->members_;
  next->sampled_ns_.resize(n);
  next->states_.resize(n);
  next_stale_ns = kNever;
  for (size_t row = 0; row < n; ++row) {
    const Record& record = records[row];
    EndpointState state = EndpointState::kFresh;
    if (record.unreachable) {
      state = EndpointState::kUnreachable;
      ++next->unreachable_;
    } else if (record.sampled_ns == 0) {
      state = EndpointState::kUnknown;
    } else if (now - record.sampled_ns > options.stale_after_ns) {
      state = EndpointState::kStale;
    } else {
      next_stale_ns = std::min(next_stale_ns, record.sampled_ns + options.stale_after_ns + 1);
    }
    next->sampled_ns_[row] = record.sampled_ns;
    next->states_[row] = state;
  }
  next->block_.reset(new std::byte[columns.SizeBytes()]);
  next->columns_ = columns.CopyTo(next->block_.get());
  dirty = false;
  members_dirty = false;
  last_publish_ns = now;

  const uint64_t number = next->number_;
  {
    std::lock_guard lock(frame_mutex);
    frame = std::move(next);
  }
  owner->version_.store(number, std::memory_order_release);
  return before;
}

void Pool::Publish() {
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  if (s.IsPublisher()) {
    s.again = true;
    return;
  }
  s.TakeBaton(lock);
  bool build = true;
  for (;;) {
    if (s.Deliver(lock)) continue;
    // Under this lock nobody is unannounced, so the frame holds only what listeners know.
    build |= std::exchange(s.again, false);
    if (!build || !s.NeedsFrame()) break;
    build = false;
    std::shared_ptr<const Frame> before = s.BuildFrame();
    lock.unlock();
    before.reset();  // may be the last to hold a removed endpoint
    lock.lock();
  }
  s.ReleaseBaton();
}

void Pool::State::Run() {
  const auto sleep_for = [this](uint64_t ns, bool until_work) {
    std::unique_lock lock(mailbox->mutex);
    mailbox->wake.wait_for(lock, std::chrono::nanoseconds(std::min(ns, kLongestSleepNs)),
                           [&] { return mailbox->stop || (until_work && mailbox->work); });
    return !mailbox->stop;
  };
  for (;;) {
    uint64_t now = clock->mono_ns();
    uint64_t due = 0;
    uint64_t stale = 0;
    {
      std::lock_guard lock(mutex);
      due = last_publish_ns + options.publish_interval_ns;
      stale = next_stale_ns;
    }
    if (!sleep_for(stale > now ? stale - now : 0, true)) return;
    for (now = clock->mono_ns(); now < due; now = clock->mono_ns()) {
      if (!sleep_for(due - now, false)) return;
    }
    {
      std::lock_guard lock(mailbox->mutex);
      mailbox->work = false;
    }
    owner->Publish();
  }
}

// ---- The pool ----

Pool::Pool(std::shared_ptr<AttributeRegistry> attributes, std::shared_ptr<Interner> interner,
           const Clock* clock, Options options)
    : attributes_(std::move(attributes)),
      interner_(std::move(interner)),
      state_(std::make_unique<State>(this, clock, options)) {
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
}

Pool::~Pool() {
  {
    std::lock_guard lock(state_->mailbox->mutex);
    state_->mailbox->stop = true;
  }
  state_->mailbox->wake.notify_all();
  state_->thread.join();
}

std::shared_ptr<const Frame> Pool::current() const {
  std::lock_guard lock(state_->frame_mutex);
  return state_->frame;
}

void Pool::AddListener(std::shared_ptr<PoolListener> listener) {
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  const bool nested = s.IsPublisher();
  if (!nested) s.TakeBaton(lock);
  std::vector<std::shared_ptr<const Endpoint>> present;
  for (const auto& [id, endpoint] : s.known) present.push_back(endpoint);
  lock.unlock();
  for (const auto& endpoint : present) listener->EndpointUpserted(*endpoint);
  lock.lock();
  auto entry = std::make_shared<ListenerEntry>();
  entry->listener = std::move(listener);
  s.listeners.push_back(std::move(entry));
  if (!nested) s.ReleaseBaton();
}

void Pool::RemoveListener(const PoolListener* listener) {
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  const bool nested = s.IsPublisher();
  if (!nested) s.TakeBaton(lock);
  std::erase_if(s.listeners, [&](const std::shared_ptr<ListenerEntry>& entry) {
    if (entry->listener.get() != listener) return false;
    entry->gone.store(true);
    return true;
  });
  if (!nested) s.ReleaseBaton();
}

const std::shared_ptr<const Frame>& FrameReader::Get() {
  if (pool_->version_.load(std::memory_order_acquire) != version_) {
    frame_ = pool_->current();
    version_ = frame_->number();
  }
  return frame_;
}

void FrameReader::Release() {
  frame_.reset();
  version_ = ~uint64_t{0};
}

}  // namespace epp::pool
