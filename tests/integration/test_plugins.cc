#include "tests/integration/test_plugins.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "epp/plugin.hpp"
#include "tests/integration/test_waiter.h"

namespace epp::integration {
namespace {

struct Trace {
  std::mutex mutex;
  std::vector<std::string> lines;
};
Trace& TheTrace() {
  static Trace* const trace = new Trace;
  return *trace;
}
void Note(std::string line) {
  std::lock_guard lock(TheTrace().mutex);
  TheTrace().lines.push_back(std::move(line));
}

std::string_view Order(const epp::Call& call, std::string_view point) {
  std::string_view rest = call.header("x-test").value_or("");
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const std::string_view item = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? "" : rest.substr(comma + 1);
    const size_t equal = item.find('=');
    if (item.substr(0, equal) == point) return item.substr(equal + 1);
  }
  return "";
}

epp::Status Obey(const epp::Call& call, std::string_view point) {
  const std::string_view what = Order(call, point);
  if (what.empty()) return {};
  if (what == "throw") throw std::runtime_error(std::string(point) + " threw");
  if (what == "throw-int") throw 7;
  epp_status code = 0;
  if (std::from_chars(what.data(), what.data() + what.size(), code).ec == std::errc()) {
    return {code, std::string(point) + " refused"};
  }
  return {};
}

double LabelScore(const epp_endpoint& endpoint, std::string_view label = "score") {
  return std::strtod(std::string(epp::Label(endpoint, label)).c_str(), nullptr);
}

constexpr epp::AttributeKind kTestValue{"test-value", EPP_T_F64, 1, "test-producer"};
constexpr epp::AttributeKind kTestLoad{"test-load", EPP_T_F64, 1, "test-learner"};

class TestFilter {
 public:
  static constexpr const char* kName = "test-filter";
  static constexpr const char* kDoc = "Keeps all.";
  static epp::Result<TestFilter> Create(const epp::Context&) { return TestFilter(); }
  epp::Status Filter(const epp::Call& call, const epp::Candidates&, epp::Keep& keep) const {
    if (epp::Status status = Obey(call, "filter"); !status.ok()) return status;
    if (Order(call, "filter") != "drop") keep.All();
    return {};
  }
};

class TestScorer {
 public:
  static constexpr const char* kName = "test-scorer";
  static constexpr const char* kDoc = "Scores by the label score.";
  static epp::Result<TestScorer> Create(const epp::Context&) { return TestScorer(); }
  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    for (size_t i = 0; i < out.size(); ++i) out[i] = LabelScore(in.endpoint(i));
    const std::string_view what = Order(call, "scorer");
    if (what == "nan") std::fill(out.begin(), out.end(), std::nan(""));
    if (what == "huge") {
      for (double& score : out) score = score > 0.5 ? 1e300 : -std::numeric_limits<double>::max();
    }
    return Obey(call, "scorer");
  }
};

class TestProducer {
 public:
  static constexpr const char* kName = "test-producer";
  static constexpr const char* kDoc = "Produces the label score as an attribute.";
  static constexpr std::array kProduces{epp::Makes(kTestValue)};
  static epp::Result<TestProducer> Create(const epp::Context&) { return TestProducer(); }
  epp::Status Produce(const epp::Call& call, const epp::Candidates& in,
                      const epp::Outputs& out) const {
    const std::span<double> values = out.column<double>(0);
    for (size_t i = 0; i < values.size(); ++i) {
      const std::string_view own = epp::Label(in.endpoint(i), "value");
      values[i] = LabelScore(in.endpoint(i), own.empty() ? "score" : "value");
    }
    return Obey(call, "producer");
  }
};

class TestGate {
 public:
  static constexpr const char* kName = "test-gate";
  static constexpr const char* kDoc = "Lets requests and endpoints through, unless told otherwise.";
  static epp::Result<TestGate> Create(const epp::Context&) { return TestGate(); }
  epp::Status RequestHeader(const epp::Call& call, epp::Outputs&) const {
    return Obey(call, "headers");
  }
  epp::Status Screen(const epp::Call& call, const epp::Candidates& in, epp::Keep& keep) const {
    const std::string_view wanted = Order(call, "screen");
    for (size_t i = 0; i < in.size(); ++i) {
      keep.SetIf(i, wanted.empty() || epp::Label(in.endpoint(i), "score") == wanted);
    }
    return {};
  }
  epp::Status Admit(const epp::Call& call, const epp::Candidates& in) const {
    if (Order(call, "admit") == "note") {
      Note("admit " + std::string(epp::View(call.request().fairness_id)) + " " +
           std::to_string(in.size()));
    }
    return Obey(call, "admit");
  }
};

class TestValued {
 public:
  static constexpr const char* kName = "test-valued";
  static constexpr const char* kDoc = "Scores by what test-producer produces.";
  static constexpr std::array kConsumes{epp::Needs(kTestValue)};
  static epp::Result<TestValued> Create(const epp::Context&) { return TestValued(); }
  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto values = in.column<double>(0);
    for (size_t i = 0; i < out.size(); ++i) out[i] = values[i];
    return {};
  }
};

class TestPicker {
 public:
  static constexpr const char* kName = "test-picker";
  static constexpr const char* kDoc = "Picks the best.";
  static epp::Result<TestPicker> Create(const epp::Context&) { return TestPicker(); }
  epp::Status Pick(const epp::Call& call, const epp::Candidates&, std::span<const double> totals,
                   epp::Picks& picks) const {
    if (epp::Status status = Obey(call, "picker"); !status.ok()) return status;
    const std::string_view what = Order(call, "picker");
    if (what == "none") return {};
    const auto best = std::max_element(totals.begin(), totals.end()) - totals.begin();
    picks.Add(what == "outside" ? 0xffffffffu : static_cast<uint32_t>(best));
    return {};
  }
};

class TestHandler {
 public:
  static constexpr const char* kName = "test-handler";
  static constexpr const char* kDoc = "Runs all profiles.";
  static epp::Result<TestHandler> Create(const epp::Context&) { return TestHandler(); }
  epp::Status Choose(const epp::Call& call, const epp::Scheduling& so_far, const epp::Candidates&,
                     std::span<int32_t> decisions) const {
    if (epp::Status status = Obey(call, "choose"); !status.ok()) return status;
    if (Order(call, "choose") == "nothing") return {};
    for (size_t i = 0; i < decisions.size(); ++i) {
      if (so_far.result(i).state == EPP_PROFILE_NOT_RUN) decisions[i] = EPP_DECIDE_RUN;
    }
    return {};
  }
  epp::Status Conclude(const epp::Call& call, const epp::Scheduling& done, const epp::Candidates&,
                       uint32_t& primary) const {
    if (epp::Status status = Obey(call, "conclude"); !status.ok()) return status;
    primary = Order(call, "conclude") == "outside" ? 0xffffffffu : 0;
    if (!done.ok(0)) return {EPP_RESOURCE_EXHAUSTED, "the first profile failed"};
    return {};
  }
};

class TestParser {
 public:
  static constexpr const char* kName = "test-parser";
  static constexpr const char* kDoc = "Takes the body for the model's name.";
  static constexpr std::array kSuffixes{"test/parse"};
  static epp::Result<TestParser> Create(const epp::Context&) { return TestParser(); }
  epp::Status ParseRequest(const epp::Call& call, const epp_request& request,
                           epp_parsed& out) const {
    out.model = request.body;
    out.model_size = request.body.size;
    if (Order(call, "parse") == "outside") out.model_offset = uint64_t{0} - 1;
    // The padding is a promise of the host.
    for (size_t i = 0; i < 64; ++i) {
      if (request.body.data[request.body.size + i] != 0) return {EPP_INTERNAL, "no padding"};
    }
    return Obey(call, "parse");
  }
  epp::Status ParseResponse(const epp::Call& call, const epp_response_event& event,
                            epp_usage& out) const {
    out.prompt_tokens = static_cast<int64_t>(event.bytes.size);
    return Obey(call, "parse-response");
  }
};

std::string Describe(const epp_response_event& event) {
  std::string line;
  if (event.flags & EPP_CHUNK_FIRST) line += " first";
  if (event.flags & EPP_CHUNK_LAST) line += " last";
  line += " end=" + std::to_string(event.end);
  if (event.usage) {
    line += " usage=" + std::to_string(event.usage->prompt_tokens) + "/" +
            std::to_string(event.usage->completion_tokens) +
            " events=" + std::to_string(event.usage->events);
  }
  line += " bytes=" + std::to_string(event.bytes.size);
  return line;
}

class TestHook {
 public:
  static constexpr const char* kName = "test-hook";
  static constexpr const char* kDoc = "Writes down every call.";
  static constexpr uint32_t kWants =
      EPP_WANT_HEADERS | EPP_WANT_FIRST | EPP_WANT_CHUNKS | EPP_WANT_END | EPP_WANT_USAGE;
  static epp::Result<TestHook> Create(const epp::Context& ctx) {
    return TestHook(std::string(ctx.name()));
  }
  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling&, const epp::Candidates&,
                         const epp::Editor& edit) const {
    Note(name_ + ".pre");
    edit.SetHeader("x-" + name_, "request");
    edit.SetMetadata("test", name_ + "-request", 1.0);
    const std::string_view what = Order(call, name_ + ".pre");
    if (what == "remove") edit.RemoveHeader("x-remove-me");
    if (what == "forge") {
      edit.SetHeader("x-forged", "a\r\nx-injected: b");
      edit.SetHeader("x-gateway-destination-endpoint", "6.6.6.6:1");
      edit.SetMetadata("envoy.lb", "x-gateway-destination-endpoint", "6.6.6.6:1");
    }
    return Obey(call, name_ + ".pre");
  }
  epp::Status OnHeaders(const epp::Call& call, const epp_response_event&,
                        const epp::Editor& edit) const {
    Note(name_ + ".headers");
    edit.SetHeader("x-" + name_, "response");
    return Obey(call, name_ + ".headers");
  }
  epp::Status OnBody(const epp::Call& call, const epp_response_event& event,
                     const epp::Editor& edit) const {
    Note(name_ + ".body" + Describe(event));
    if (event.flags & EPP_CHUNK_LAST) edit.SetMetadata("test", name_, 1.0);
    return Obey(call, name_ + ".body");
  }

 private:
  explicit TestHook(std::string name) : name_(std::move(name)) {}
  std::string name_;
};

class TestEnd {
 public:
  static constexpr const char* kName = "test-end";
  static constexpr const char* kDoc = "Writes down the end.";
  static constexpr uint32_t kWants = EPP_WANT_END;
  static epp::Result<TestEnd> Create(const epp::Context&) { return TestEnd(); }
  epp::Status OnBody(const epp::Call&, const epp_response_event& event, const epp::Editor&) const {
    Note("end" + Describe(event));
    return {};
  }
};

class TestSlow {
 public:
  static constexpr const char* kName = "test-slow";
  static constexpr const char* kDoc = "Takes 2 ms of CPU time.";
  static epp::Result<TestSlow> Create(const epp::Context&) { return TestSlow(); }
  epp::Status Score(const epp::Call&, const epp::Candidates&, std::span<double> out) const {
    const std::clock_t until = std::clock() + CLOCKS_PER_SEC / 500;
    while (std::clock() < until) {
    }
    std::fill(out.begin(), out.end(), 0.5);
    return {};
  }
};

class TestLearner {
 public:
  static constexpr const char* kName = "test-learner";
  static constexpr const char* kDoc = "Counts the requests that are on every endpoint.";
  static constexpr std::array kParams{epp::Int("step", 1, 0, 1000, "Worth of a request.")};
  static constexpr std::array kProduces{epp::Makes(kTestLoad)};
  static constexpr uint32_t kWants = EPP_WANT_END;
  static epp::Result<TestLearner> Create(const epp::Context& ctx) {
    return std::make_unique<TestLearner>(ctx.i64(0));
  }
  explicit TestLearner(int64_t step) : step_(step) {}
  epp::Status Produce(const epp::Call&, const epp::Candidates& in, const epp::Outputs& out) const {
    const std::span<double> values = out.column<double>(0);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<double>(load_[in.slot(i) % kSlots].load());
    }
    return {};
  }
  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling& done, const epp::Candidates&,
                         const epp::Editor&) {
    auto* slot = call.Keep<uint32_t>(1);
    *slot = done.result(done.primary()).targets[0]->slot % kSlots;
    load_[*slot] += step_;
    call.state<uint32_t>() = slot;
    return {};
  }
  epp::Status OnBody(const epp::Call& call, const epp_response_event& event, const epp::Editor&) {
    if (!(event.flags & EPP_CHUNK_LAST) || call.state<uint32_t>() == nullptr) return {};
    load_[*call.state<uint32_t>()] -= step_;
    return {};
  }

 private:
  static constexpr size_t kSlots = 64;
  const int64_t step_;
  std::array<std::atomic<int64_t>, kSlots> load_{};
};

class TestIdle {
 public:
  static constexpr const char* kName = "test-idle";
  static constexpr const char* kDoc = "Prefers endpoints that test-learner has nothing on.";
  static constexpr std::array kConsumes{epp::Needs(kTestLoad)};
  static epp::Result<TestIdle> Create(const epp::Context&) { return TestIdle(); }
  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto load = in.column<double>(0);
    for (size_t i = 0; i < out.size(); ++i) out[i] = 1 / (1 + load[i]);
    return {};
  }
};

}  // namespace

std::span<const epp_plugin_type* const> TestPluginTypes() {
  static const std::vector<const epp_plugin_type*>& all = *[] {
    const std::span own =
        epp::detail::Types<TestFilter, TestScorer, TestGate, TestProducer, TestValued, TestPicker,
                           TestHandler, TestParser, TestHook, TestEnd, TestSlow, TestLearner,
                           TestIdle>::kTable;
    auto* types = new std::vector<const epp_plugin_type*>(own.begin(), own.end());
    types->push_back(TestWaiterType());
    types->push_back(TestWaitedType());
    return types;
  }();
  return all;
}

std::vector<std::string> TakeTrace() {
  std::lock_guard lock(TheTrace().mutex);
  return std::exchange(TheTrace().lines, {});
}

}  // namespace epp::integration
