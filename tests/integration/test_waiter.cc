#include "tests/integration/test_waiter.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "epp/plugin.hpp"

namespace epp::integration {
namespace {

struct Desk {
  std::mutex mutex;
  std::vector<std::function<void()>> waiting;
  std::atomic<size_t> started{0}, finished{0}, cancelled{0};
};
Desk& TheDesk() {
  static Desk& desk = *new Desk;
  return desk;
}

constexpr epp::AttributeKind kWaited{"test-waited", EPP_T_F64, EPP_SCOPE_ENDPOINT, "test-waiter"};

class TestWaiter {
 public:
  static constexpr const char* kName = "test-waiter";
  static constexpr const char* kDoc = "Waits.";
  static constexpr std::array kParams{epp::Duration("timeout", 20, 0, 60, "Of an operation.")};
  static constexpr std::array kProduces{epp::Makes(kWaited)};
  static epp::Result<TestWaiter> Create(const epp::Context& ctx) {
    return TestWaiter(static_cast<uint64_t>(ctx.ns(0)));
  }
  struct Operation {
    bool ended = false;
  };
  uint64_t ProduceTimeoutNs() const { return timeout_; }
  epp::Status StartProduce(const epp::Call& call, const epp::Candidates& in, epp::Outputs& out,
                           epp::Completion done, std::shared_ptr<Operation>& operation) const {
    if (!call.header("x-wait")) return Write(in, out);
    operation = std::make_shared<Operation>();
    ++TheDesk().started;
    const std::lock_guard lock(TheDesk().mutex);
    TheDesk().waiting.push_back([done] { done(); });
    return {};
  }
  epp::Status FinishProduce(Operation& operation, const epp::Call&, const epp::Candidates& in,
                            epp::Outputs& out) const {
    if (std::exchange(operation.ended, true)) std::abort();
    ++TheDesk().finished;
    return Write(in, out);
  }
  void CancelProduce(Operation& operation) const {
    if (std::exchange(operation.ended, true)) std::abort();
    ++TheDesk().cancelled;
  }

 private:
  explicit TestWaiter(uint64_t timeout) : timeout_(timeout) {}
  static epp::Status Write(const epp::Candidates& in, epp::Outputs& out) {
    for (size_t i = 0; i < in.size(); ++i) {
      const std::string label(epp::Label(in.endpoint(i), "waited"));
      out.column<double>(0)[i] = std::strtod(label.c_str(), nullptr);
    }
    return {};
  }
  uint64_t timeout_;
};

class TestWaited {
 public:
  static constexpr const char* kName = "test-waited";
  static constexpr const char* kDoc = "Scores by what test-waiter says.";
  static constexpr std::array kConsumes{epp::Needs(kWaited)};
  static epp::Result<TestWaited> Create(const epp::Context&) { return TestWaited(); }
  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto waited = in.column<double>(0);
    for (size_t i = 0; i < in.size(); ++i) out[i] = waited[i];
    return {};
  }
};

}  // namespace

const epp_plugin_type* TestWaiterType() { return &epp::detail::Type<TestWaiter>::kRecord; }
const epp_plugin_type* TestWaitedType() { return &epp::detail::Type<TestWaited>::kRecord; }

std::vector<std::function<void()>> WaiterDesk::Take() {
  const std::lock_guard lock(TheDesk().mutex);
  return std::exchange(TheDesk().waiting, {});
}
size_t WaiterDesk::waiting() {
  const std::lock_guard lock(TheDesk().mutex);
  return TheDesk().waiting.size();
}
size_t WaiterDesk::started() { return TheDesk().started; }
size_t WaiterDesk::finished() { return TheDesk().finished; }
size_t WaiterDesk::cancelled() { return TheDesk().cancelled; }
void WaiterDesk::Reset() {
  Take();
  TheDesk().started = TheDesk().finished = TheDesk().cancelled = 0;
}

}  // namespace epp::integration
