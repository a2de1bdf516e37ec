// The fake host's I/O: timers that fire when a test says so, and an HTTP client that a test
// answers. Included by epp/testing.hpp.
#pragma once

#include <chrono>
#include <condition_variable>

#include "epp/detail/testing_host.hpp"

namespace epp::test {

// What an operation completes, possibly after its end: what is signalled stays for ever.
class Signal {
 public:
  epp_completion completion() const { return {1, state_, &Complete}; }
  bool Wait(std::chrono::nanoseconds patience) {
    std::unique_lock lock(state_->mu);
    return state_->changed.wait_for(lock, patience, [&] { return state_->done; });
  }

 private:
  struct State {
    std::mutex mu;
    std::condition_variable changed;
    bool done = false;
  };
  static void Complete(void* ctx, uint64_t) noexcept {
    State& state = *static_cast<State*>(ctx);
    const std::lock_guard lock(state.mu);
    state.done = true;
    state.changed.notify_all();
  }
  static State* NewState() {
    static std::mutex& mu = *new std::mutex;
    static auto& all = *new std::vector<std::unique_ptr<State>>;
    const std::lock_guard lock(mu);
    return all.emplace_back(std::make_unique<State>()).get();
  }

  State* const state_ = NewState();
};

// epp.host.timer/1: fires in Run, on the caller's thread, what is due by the host's clock. Outlives
// the instances that use it; call Stop before they are destroyed, as the host does.
class FakeTimers {
 public:
  explicit FakeTimers(Host& host) : host_(host) {
    table_.struct_size = sizeof(table_);
    table_.ctx = this;
    table_.set = [](void* c, uint64_t at, epp_timer_fn fire, void* arg) noexcept -> uint64_t {
      FakeTimers& self = *static_cast<FakeTimers*>(c);
      const std::lock_guard lock(self.mu_);
      self.timers_[++self.last_] = {at, fire, arg};
      return self.last_;
    };
    table_.cancel = [](void* c, uint64_t timer) noexcept -> int32_t {
      FakeTimers& self = *static_cast<FakeTimers*>(c);
      const std::lock_guard lock(self.mu_);
      return self.timers_.erase(timer) != 0;
    };
    host.SetExtension(EPP_HOST_TIMER_ID, &table_);
  }
  FakeTimers(const FakeTimers&) = delete;
  FakeTimers& operator=(const FakeTimers&) = delete;
  ~FakeTimers() { Stop(); }

  size_t size() const {
    const std::lock_guard lock(mu_);
    return timers_.size();
  }
  void Run() {
    End([&](const Timer& t) { return t.at <= host_.mono_ns(); }, EPP_OK);
  }
  void Advance(uint64_t ns) {
    host_.Advance(ns);
    Run();
  }
  void Stop() {
    End([](const Timer&) { return true; }, EPP_CANCELLED);
  }

 private:
  struct Timer {
    uint64_t at;
    epp_timer_fn fire;
    void* arg;
  };
  template <class Which>
  void End(Which which, epp_status status) {
    for (;;) {
      Timer next{};
      {
        const std::lock_guard lock(mu_);
        auto first = timers_.end();
        for (auto it = timers_.begin(); it != timers_.end(); ++it) {
          const bool earlier = first == timers_.end() || it->second.at < first->second.at;
          if (which(it->second) && earlier) first = it;
        }
        if (first == timers_.end()) return;
        next = first->second;
        timers_.erase(first);
      }
      next.fire(next.arg, status);
    }
  }

  Host& host_;
  epp_host_timer table_{};
  mutable std::mutex mu_;
  std::map<uint64_t, Timer> timers_;
  uint64_t last_ = 0;
};

// epp.host.http/1: keeps what was sent until the test answers it, on its own thread. Outlives the
// instances that use it; call Stop before they are destroyed, as the host does.
class FakeHttp {
 public:
  struct Sent {
    std::string method, url, body;
    uint64_t timeout_ns = 0;
    bool cancelled = false;
    bool answered = false;
  };

  explicit FakeHttp(Host& host) {
    table_.struct_size = sizeof(table_);
    table_.ctx = this;
    table_.send = &Send;
    table_.cancel = [](void* c, uint64_t exchange) noexcept -> int32_t {
      FakeHttp& self = *static_cast<FakeHttp*>(c);
      const std::lock_guard lock(self.mu_);
      Exchange& e = self.exchanges_[exchange - 1];
      if (e.sent.answered || e.sent.cancelled) return 0;
      e.sent.cancelled = true;
      return 1;
    };
    host.SetExtension(EPP_HOST_HTTP_ID, &table_);
  }
  FakeHttp(const FakeHttp&) = delete;
  FakeHttp& operator=(const FakeHttp&) = delete;
  ~FakeHttp() { Stop(); }

  size_t size() const {
    const std::lock_guard lock(mu_);
    return exchanges_.size();
  }
  Sent sent(size_t i) const {
    const std::lock_guard lock(mu_);
    return exchanges_.at(i).sent;
  }
  void Answer(size_t i, int32_t http_status, std::string_view body) {
    End(i, EPP_OK, http_status, body, "");
  }
  void Fail(size_t i, epp_status status, std::string_view error) { End(i, status, 0, "", error); }
  void Stop() {
    for (size_t i = 0; i < size(); ++i) End(i, EPP_CANCELLED, 0, "", "the instance ends");
  }

 private:
  struct Exchange {
    Sent sent;
    epp_http_fn done;
    void* arg;
  };
  static uint64_t Send(void* c, const epp_http_request* request, epp_http_fn done, void* arg,
                       epp_error*) noexcept {
    FakeHttp& self = *static_cast<FakeHttp*>(c);
    const std::lock_guard lock(self.mu_);
    self.exchanges_.push_back(
        {{std::string(View(request->method)), std::string(View(request->url)),
          std::string(View(request->body)), request->timeout_ns, false, false},
         done,
         arg});
    return self.exchanges_.size();
  }
  void End(size_t i, epp_status status, int32_t http_status, std::string_view body,
           std::string_view error) {
    Exchange exchange;
    {
      const std::lock_guard lock(mu_);
      Exchange& e = exchanges_.at(i);
      if (e.sent.answered || e.sent.cancelled) return;
      e.sent.answered = true;
      exchange = e;
    }
    const std::string copy(body);
    const epp_http_response response{sizeof(response),        status,    http_status, 0,
                                     Str("application/json"), Str(copy), Str(error)};
    exchange.done(exchange.arg, &response);
  }

  epp_host_http table_{};
  mutable std::mutex mu_;
  std::vector<Exchange> exchanges_;
};

}  // namespace epp::test
