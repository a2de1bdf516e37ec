#include "host/validate/drive.h"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <numeric>

#include "absl/strings/escaping.h"
#include "host/base/str_cat.h"
#include "host/base/utf8.h"
#include "host/validate/case_numbers.h"

namespace epp::validate {

void Transcript::Add(std::string call, epp_status status, std::string bytes) {
  entries_.push_back({std::move(call), StrCat(status, ":", bytes)});
}

std::string Transcript::DifferenceTo(const Transcript& other) const {
  const size_t n = std::min(entries_.size(), other.entries_.size());
  for (size_t i = 0; i < n; ++i) {
    const Entry& a = entries_[i];
    const Entry& b = other.entries_[i];
    if (a.call != b.call) return StrCat(a.call, " or ", b.call);
    if (a.answer != b.answer) return a.call;
  }
  if (entries_.size() == other.entries_.size()) return "";
  return entries_.size() > n ? entries_[n].call : other.entries_[n].call;
}

// ---- Arena ------------------------------------------------------------------------------------

Arena::Arena(Findings& findings, const Scenario& scenario)
    : findings_(findings),
      none_(scenario.no_memory),
      watched_(scenario.layout.arrays != Edge::kNone),
      memory_(scenario.layout) {
  if (none_ || watched_) return;
  void* const map = mmap(nullptr, kChunkBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  chunk_ = static_cast<char*>(map);
}

Arena::~Arena() {
  if (chunk_ != nullptr) munmap(chunk_, kChunkBytes);
}

void* Arena::Alloc(void* arena, uint64_t size, uint64_t align) noexcept {
  constexpr int kPattern = 0xa5;  // reading what was not written shows
  Arena& self = *static_cast<Arena*>(arena);
  if (!self.open_) {
    self.findings_.Breach(kThreadTags, "alloc or keep was called after its request had ended");
  }
  if (std::this_thread::get_id() != self.owner_) {
    self.findings_.Breach(kThreadTags,
                          "alloc or keep was called on another thread than the call's");
  }
  if (align == 0 || (align & (align - 1)) != 0) {
    self.findings_.Breach(kThreadTags,
                          StrCat("alloc or keep: align is ", align, ", want a power of two"));
    return nullptr;
  }
  if (self.none_ || size > kMaxBlockBytes) return nullptr;
  if (self.watched_) {
    void* const p = self.memory_.Bytes("memory from alloc or keep", 1, size, align);
    if (size != 0) std::memset(p, kPattern, size);
    self.blocks_.emplace_back(static_cast<const char*>(p), size);
    return p;
  }
  const size_t at = (self.used_ + align - 1) / align * align;
  if (at + size > kChunkBytes) return nullptr;
  self.used_ = at + size;
  char* const p = self.chunk_ + at;
  if (size != 0) std::memset(p, kPattern, size);
  return p;
}

bool Arena::Holds(const void* p, uint64_t bytes) const {
  const auto* const at = static_cast<const char*>(p);
  if (!watched_) return at >= chunk_ && at + bytes <= chunk_ + used_;
  for (const auto& [block, size] : blocks_) {
    if (at >= block && at + bytes <= block + size) return true;
  }
  return false;
}

// ---- Requests and frames ------------------------------------------------------------------------

RequestRun::RequestRun(Findings& findings, const Scenario& scenario, size_t pool_size,
                       uint64_t number_)
    : memory(scenario.layout),
      data(scenario.seed, number_, memory),
      arena(findings, scenario),
      rows(scenario.order),
      number(number_) {
  if (rows.empty()) {
    rows.resize(std::min(scenario.candidates, pool_size));
    std::iota(rows.begin(), rows.end(), 0u);
  }
}

Frame::Frame(const Instance& instance, const World& world, const Scenario& scenario,
             RequestRun& run, Part part)
    : memory_(scenario.layout),
      call_(memory_.Struct<epp_call>("epp_call")),
      in_(memory_.Struct<epp_candidates>("epp_candidates")),
      error_(memory_.Struct<epp_error>("epp_error")) {
  const bool response = part == Part::kResponse;
  const size_t n = run.rows.size();
  std::vector<epp_column> endpoint_columns, request_columns;
  const uint32_t request_row = static_cast<uint32_t>(run.number);
  for (const epp_attr_spec* spec : instance.consumes()) {
    if (spec->scope == EPP_SCOPE_ENDPOINT) {
      endpoint_columns.push_back(world.Column(*spec, run.rows, scenario.values, nullptr, memory_));
    } else {
      request_columns.push_back(
          world.Column(*spec, {&request_row, 1}, scenario.values, run.data.tokens(), memory_));
    }
  }
  auto* const columns = memory_.Array<epp_column>("in->columns", endpoint_columns.size());
  std::copy(endpoint_columns.begin(), endpoint_columns.end(), columns);
  auto* const singles = memory_.Array<epp_column>("call->request_columns", request_columns.size());
  std::copy(request_columns.begin(), request_columns.end(), singles);

  call_->worker = scenario.worker;
  call_->now_ns = CheckHost::NowNs();
  call_->deadline_ns = call_->now_ns + 1'000'000'000;
  call_->request = response ? run.data.in_response() : run.data.request();
  call_->request_columns = singles;
  call_->state = &run.state;
  call_->arena = &run.arena;
  call_->alloc = &Arena::Alloc;
  call_->keep = &Arena::Alloc;

  auto* const endpoints = memory_.Array<const epp_endpoint*>("in->endpoints", n);
  auto* const slots = memory_.Array<uint32_t>("in->slots", n);
  auto* const rows = memory_.Array<uint32_t>("in->rows", n);
  for (size_t i = 0; i < n; ++i) {
    endpoints[i] = world.endpoint(run.rows[i]);
    slots[i] = endpoints[i]->slot;
    rows[i] = static_cast<uint32_t>(i);
  }
  in_->count = static_cast<uint32_t>(n);
  in_->column_count = static_cast<uint32_t>(endpoint_columns.size());
  in_->columns = columns;
  in_->endpoints = endpoints;
  in_->slots = slots;
  in_->rows = rows;
  in_->frame = 1;
}

// ---- Driver -------------------------------------------------------------------------------------

Driver::Driver(Instance& instance, const World& world, const Samples& samples,
               const Scenario& scenario)
    : instance_(instance),
      world_(world),
      samples_(samples),
      scenario_(scenario),
      findings_(instance.host().findings()),
      name_(instance.type().name) {}

void Driver::Breach(int number, const char* function, std::string_view text) {
  std::string where = StrCat(function, " of ", name_);
  if (number == kBounds || number == kMissingValues)
    StrAppend(&where, ", n=", scenario_.candidates);
  // Which row and which value it was is no other breach.
  std::string key = StrCat(function, " ", name_, " ", text);
  std::erase_if(key, [](char c) { return (c >= '0' && c <= '9') || c == '.' || c == '-'; });
  findings_.Breach(number, StrCat(where, ": ", text), key);
}

int Driver::AnswerCase() const {
  return scenario_.values == Values::kUsual || scenario_.values == Values::kComplete
             ? kBounds
             : kMissingValues;
}

void Driver::After(const char* function, epp_status status, const epp_error& error,
                   const Memory& memory) {
  CheckError(findings_, function, name_, status, error);
  if (const char* what = memory.Overwritten()) {
    Breach(kNewerHost, function, StrCat("wrote behind what it knows of ", what));
  }
}

RequestRun& Driver::Begin(uint64_t number) {
  CheckHost::Advance(1'000'000);
  return runs_.emplace_back(findings_, scenario_, world_.size(), number);
}

const Transcript& Driver::Everything() {
  Endpoints(true);
  Plan();
  Scrape();
  for (int i = 0; i < scenario_.requests; ++i) Request(static_cast<uint64_t>(i));
  General();
  State();
  Service();
  Endpoints(false);
  return transcript_;
}

void Driver::Request(uint64_t number) {
  RequestRun& run = Begin(number);
  ParseRequests(run);
  ReadHeaders(run);
  Screen(run);
  Produce(run);
  Admit(run);
  Filter(run);
  std::optional<std::vector<double>> totals = Score(run);
  if (!totals) totals.emplace(run.rows.size(), 0.5);
  Pick(run, *totals);
  Handle(run);
  Decide(run);
  PreRequest(run);
  Respond(run);
  ParseResponses(run);
  run.arena.Close();
}

bool Driver::Schedule(uint64_t number) {
  RequestRun& run = Begin(number);
  Filter(run);
  const auto scores = Score(run);
  std::vector<double> totals(run.rows.size());
  for (size_t i = 0; i < totals.size(); ++i) totals[i] = static_cast<double>(i % 7) / 7;
  Pick(run, totals);
  run.arena.Close();
  return Get<epp_filter>(EPP_FILTER_ID) != nullptr || Get<epp_scorer>(EPP_SCORER_ID) != nullptr ||
         Get<epp_picker>(EPP_PICKER_ID) != nullptr;
}

std::optional<std::vector<double>> Driver::Scores(uint64_t number) {
  RequestRun& run = Begin(number);
  Produce(run);
  auto scores = Score(run);
  run.arena.Close();
  return scores;
}

}  // namespace epp::validate
