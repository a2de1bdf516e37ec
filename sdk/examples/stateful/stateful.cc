// first-token-scorer: prefers endpoints that have been quick to answer, and remembers across its
// own upgrades which were.
//
// Of every endpoint it keeps a moving average of the time from sending a request on to the first
// byte of the answer. score[i] = shortest / average[i]; an endpoint without an answer yet scores 1,
// so that it is tried.
#include <algorithm>
#include <atomic>
#include <charconv>
#include <map>

#include "epp/plugin.hpp"

namespace {

class FirstToken {
 public:
  static constexpr const char* kName = "first-token-scorer";
  static constexpr const char* kDoc = "Prefers endpoints whose answers have begun quickly.";
  static constexpr std::array kParams{
      epp::Float("smoothing", 0.2, 0.01, 1, "weight of the newest answer in the average")};
  static constexpr uint32_t kWants = EPP_WANT_FIRST;
  // Version 1 had no count of answers.
  static constexpr uint32_t kStateVersion = 2;

  static epp::Result<FirstToken> Create(const epp::Context& ctx) {
    return std::make_unique<FirstToken>(ctx.f64(0));
  }
  explicit FirstToken(double smoothing) : smoothing_(smoothing) {}

  // ---- the pool: one cell a slot ----

  void Upserted(const epp_endpoint& endpoint) {
    if (endpoint.slot >= kSlots) return;  // scores 1 for ever
    Cell& cell = cells_[endpoint.slot];
    if (cell.id == endpoint.id) return;
    cell.average_ns = 0;
    cell.answers = 0;
    cell.id = endpoint.id;
  }
  void Removed(const epp_endpoint& endpoint) {
    if (Cell* cell = Find(endpoint)) cell->id = 0;
  }

  // ---- requests ----

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    double shortest = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      out[i] = Average(in.endpoint(i));
      if (out[i] > 0 && (shortest == 0 || out[i] < shortest)) shortest = out[i];
    }
    for (double& score : out) score = score > 0 ? shortest / score : 1.0;
    return {};
  }
  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling&, const epp::Candidates&,
                         epp::Editor&) const {
    auto* sent_ns = call.Keep<uint64_t>();
    if (sent_ns != nullptr) *sent_ns = call.now_ns();
    call.state<uint64_t>() = sent_ns;
    return {};
  }
  epp::Status OnBody(const epp::Call& call, const epp_response_event& event, epp::Editor&) {
    const uint64_t* sent_ns = call.state<uint64_t>();
    if (sent_ns == nullptr || event.served == nullptr || !(event.flags & EPP_CHUNK_FIRST))
      return {};
    if (Cell* cell = Find(*event.served)) {
      // Two answers at once may count as one: an average does not mind.
      const auto took = static_cast<double>(call.now_ns() - *sent_ns);
      const double weight = cell->answers == 0 ? 1 : smoothing_;
      cell->average_ns = cell->average_ns * (1 - weight) + took * weight;
      ++cell->answers;
    }
    return {};
  }

  // ---- its own upgrade: "ID AVERAGE ANSWERS" a line ----

  epp::Status SaveState(std::string& bytes) const {
    for (const Cell& cell : cells_) {
      if (cell.id == 0 || cell.answers == 0) continue;
      for (const uint64_t number :
           {cell.id.load(), static_cast<uint64_t>(cell.average_ns.load()), cell.answers.load()}) {
        bytes += std::to_string(number) + ' ';
      }
      bytes.back() = '\n';
    }
    return {};
  }
  // Another build wrote the bytes: all are read before the first is believed.
  epp::Status LoadState(uint32_t version, std::string_view bytes) {
    if (version != 1 && version != 2) {
      return epp::Status::Invalid("state is of version " + std::to_string(version) +
                                  ", want 1 or 2");
    }
    std::map<uint64_t, std::pair<uint64_t, uint64_t>> loaded;
    while (!bytes.empty()) {
      uint64_t id = 0, average = 0, answers = 1;
      if (!Take(bytes, ' ', id) || !Take(bytes, version == 1 ? '\n' : ' ', average) ||
          (version == 2 && !Take(bytes, '\n', answers))) {
        return epp::Status::Invalid("state is malformed");
      }
      loaded[id] = {average, answers};
    }
    for (Cell& cell : cells_) {  // of endpoints that are still there
      const auto it = cell.id == 0 ? loaded.end() : loaded.find(cell.id);
      if (it == loaded.end()) continue;
      cell.average_ns = static_cast<double>(it->second.first);
      cell.answers = it->second.second;
    }
    return {};
  }

 private:
  // Written by workers and by pool events; relaxed order would do, no two cells belong together.
  struct Cell {
    std::atomic<uint64_t> id{0};  // 0: free
    std::atomic<double> average_ns{0};
    std::atomic<uint64_t> answers{0};
  };
  static constexpr size_t kSlots = 4096;

  Cell* Find(const epp_endpoint& endpoint) {
    if (endpoint.slot >= kSlots || cells_[endpoint.slot].id != endpoint.id) return nullptr;
    return &cells_[endpoint.slot];
  }
  double Average(const epp_endpoint& endpoint) const {
    if (endpoint.slot >= kSlots || cells_[endpoint.slot].id != endpoint.id) return 0;
    return cells_[endpoint.slot].average_ns;
  }
  static bool Take(std::string_view& bytes, char behind, uint64_t& number) {
    const auto [end, error] = std::from_chars(bytes.data(), bytes.data() + bytes.size(), number);
    if (error != std::errc() || end == bytes.data() + bytes.size() || *end != behind) return false;
    bytes.remove_prefix(static_cast<size_t>(end - bytes.data()) + 1);
    return true;
  }

  double smoothing_;
  std::array<Cell, kSlots> cells_;
};

}  // namespace

EPP_LIBRARY("example-stateful", "2.0.0", FirstToken)
