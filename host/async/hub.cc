#include "host/async/hub.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/async/http_pool.h"
#include "host/base/clock.h"
#include "host/base/utf8.h"

namespace epp::async {
namespace {

constexpr size_t kMaxTimers = 65536;     // of an instance
constexpr size_t kMaxExchanges = 65536;  // likewise
constexpr uint64_t kDefaultBodyBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxBodyBytes = uint64_t{1} << 30;
constexpr uint32_t kMaxHeaders = 256;

std::string_view View(epp_str s) {
  return s.data == nullptr || s.size == 0 ? std::string_view() : std::string_view(s.data, s.size);
}
epp_str Str(std::string_view s) { return {s.data(), s.size()}; }

void Fill(epp_error* error, epp_status code, std::string_view message) {
  if (error == nullptr || error->struct_size < sizeof(epp_error)) return;
  error->code = code;
  message = utf8::Truncate(message, sizeof(error->message) - 1);
  std::memcpy(error->message, message.data(), message.size());
  error->message[message.size()] = '\0';
}

epp_status StatusOf(http::FetchError error) {
  switch (error) {
    case http::FetchError::kNone:
      return EPP_OK;
    case http::FetchError::kTimeout:
      return EPP_DEADLINE_EXCEEDED;
    case http::FetchError::kTooLarge:
      return EPP_RESOURCE_EXHAUSTED;
    default:
      return EPP_UNAVAILABLE;
  }
}

}  // namespace

class Hub::Loop {
 public:
  // What is under way ends while the pool is there.
  ~Loop() { fetcher_.reset(); }
  http::Fetcher& fetcher() { return *fetcher_; }
  HttpPool& pool() { return pool_; }

 private:
  std::unique_ptr<http::Fetcher> fetcher_ = std::make_unique<http::Fetcher>();
  HttpPool pool_{fetcher_.get()};
};

// The timers and exchanges of one instance. Callbacks of all instances run on the loop's thread,
// one at a time; a callback is taken out of its map before it is called, so that it runs once.
class Hub::Instance : public std::enable_shared_from_this<Hub::Instance> {
 public:
  explicit Instance(Hub* hub) : hub_(hub) {}

  uint64_t Set(uint64_t at_ns, epp_timer_fn fire, void* arg) {
    uint64_t number;
    {
      const std::lock_guard lock(mutex_);
      if (stopped_ || timers_.size() >= kMaxTimers) return 0;
      number = ++last_;
      timers_.emplace(number, Timer{fire, arg});
    }
    hub_->loop().fetcher().RunAt(at_ns, [self = shared_from_this(), number] {
      Timer timer;
      if (!self->Take(self->timers_, number, &timer)) return;
      timer.fire(timer.arg, EPP_OK);
      self->Returned();
    });
    return number;
  }
  int32_t CancelTimer(uint64_t number) {
    const std::lock_guard lock(mutex_);
    return timers_.erase(number) != 0;
  }

  uint64_t Send(const epp_http_request* request, epp_http_fn done, void* arg, epp_error* err) {
    HttpJob job;
    if (!Copy(request, job, err)) return 0;
    uint64_t number;
    {
      const std::lock_guard lock(mutex_);
      if (stopped_ || exchanges_.size() >= kMaxExchanges) {
        Fill(err, EPP_RESOURCE_EXHAUSTED, stopped_ ? "the instance ends" : "too many exchanges");
        return 0;
      }
      number = ++last_;
      // Numbers of the pool are those of the process.
      exchanges_.emplace(number, Exchange{done, arg, NextInPool()});
    }
    job.done = [self = shared_from_this(), number](const http::FetchResult& result) {
      self->Done(number, result);
    };
    Loop& loop = hub_->loop();
    loop.fetcher().Post([&loop, self = shared_from_this(), number, job = std::move(job)]() mutable {
      if (const uint64_t in_pool = self->InPool(number)) loop.pool().Start(in_pool, std::move(job));
    });
    return number;
  }
  int32_t CancelExchange(uint64_t number) {
    uint64_t in_pool;
    {
      const std::lock_guard lock(mutex_);
      const auto it = exchanges_.find(number);
      if (it == exchanges_.end()) return 0;
      in_pool = it->second.in_pool;
      exchanges_.erase(it);
    }
    GiveUp(in_pool);
    return 1;
  }

  // Ends everything, and returns when no callback runs any more.
  void Stop() {
    std::map<uint64_t, Timer> timers;
    std::map<uint64_t, Exchange> exchanges;
    {
      std::unique_lock lock(mutex_);
      stopped_ = true;
      timers.swap(timers_);
      exchanges.swap(exchanges_);
      returned_.wait(lock, [this] { return !inside_; });
    }
    for (const auto& [number, timer] : timers) timer.fire(timer.arg, EPP_CANCELLED);
    const epp_http_response response{sizeof(response),        EPP_CANCELLED, 0, 0, {}, {},
                                     Str("the instance ends")};
    for (const auto& [number, exchange] : exchanges) {
      GiveUp(exchange.in_pool);
      exchange.done(exchange.arg, &response);
    }
  }

 private:
  struct Timer {
    epp_timer_fn fire = nullptr;
    void* arg = nullptr;
  };
  struct Exchange {
    epp_http_fn done = nullptr;
    void* arg = nullptr;
    uint64_t in_pool = 0;
  };

  static uint64_t NextInPool() {
    static std::atomic<uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  template <class T>
  bool Take(std::map<uint64_t, T>& from, uint64_t number, T* out) {
    const std::lock_guard lock(mutex_);
    const auto it = from.find(number);
    if (it == from.end()) return false;
    *out = it->second;
    from.erase(it);
    inside_ = true;
    return true;
  }
  void Returned() {
    const std::lock_guard lock(mutex_);
    inside_ = false;
    returned_.notify_all();
  }

  uint64_t InPool(uint64_t number) {
    const std::lock_guard lock(mutex_);
    const auto it = exchanges_.find(number);
    return it == exchanges_.end() ? 0 : it->second.in_pool;
  }
  void GiveUp(uint64_t in_pool) {
    Loop& loop = hub_->loop();
    loop.fetcher().Post([&loop, in_pool] { loop.pool().Cancel(in_pool); });
  }

  static bool Copy(const epp_http_request* request, HttpJob& job, epp_error* err) {
    const std::string_view method = View(request->method);
    if (method != "GET" && method != "POST") {
      Fill(err, EPP_INVALID_ARGUMENT, "method, want GET or POST");
      return false;
    }
    absl::StatusOr<Url> url = ParseUrl(View(request->url));
    if (!url.ok()) {
      Fill(err, EPP_INVALID_ARGUMENT,
           {url.status().message().data(), url.status().message().size()});
      return false;
    }
    if (request->header_count > kMaxHeaders) {
      Fill(err, EPP_INVALID_ARGUMENT, "too many headers");
      return false;
    }
    job.url = *std::move(url);
    job.method = method;
    for (uint32_t i = 0; i < request->header_count; ++i) {
      job.headers.emplace_back(View(request->headers[i].name), View(request->headers[i].value));
    }
    job.body = View(request->body);
    const uint64_t most = request->max_body_bytes ? request->max_body_bytes : kDefaultBodyBytes;
    job.max_body_bytes = std::min(most, kMaxBodyBytes);
    const uint64_t now = Clock::Real().mono_ns();
    job.deadline_ns = now + std::min<uint64_t>(request->timeout_ns, uint64_t{3'600'000'000'000});
    return true;
  }

  void Done(uint64_t number, const http::FetchResult& result) {
    Exchange exchange;
    if (!Take(exchanges_, number, &exchange)) return;
    const std::string error =
        result.error == http::FetchError::kNone
            ? std::string()
            : std::string(http::FetchErrorName(result.error)) + ": " + std::string(result.detail);
    const epp_http_response response{
        sizeof(response),         StatusOf(result.error), result.status, 0,
        Str(result.content_type), Str(result.body),       Str(error)};
    exchange.done(exchange.arg, &response);
    Returned();
  }

  Hub* const hub_;
  std::mutex mutex_;
  std::condition_variable returned_;
  bool stopped_ = false;
  bool inside_ = false;  // a callback runs
  uint64_t last_ = 0;
  std::map<uint64_t, Timer> timers_;
  std::map<uint64_t, Exchange> exchanges_;
};

class Hub::Extensions final : public loader::Extensions {
 public:
  explicit Extensions(Hub* hub) : instance_(std::make_shared<Instance>(hub)) {
    timer_ = {sizeof(timer_), 0, instance_.get(), &SetTimer, &CancelTimer};
    http_ = {sizeof(http_), 0, instance_.get(), &Send, &CancelExchange};
  }

  const void* Get(std::string_view id) noexcept override {
    if (id == EPP_HOST_TIMER_ID) return &timer_;
    if (id == EPP_HOST_HTTP_ID) return &http_;
    return nullptr;
  }
  void Stop() noexcept override { instance_->Stop(); }

 private:
  static Instance& Of(void* ctx) { return *static_cast<Instance*>(ctx); }
  static uint64_t SetTimer(void* ctx, uint64_t at, epp_timer_fn fire, void* arg) noexcept {
    return Of(ctx).Set(at, fire, arg);
  }
  static int32_t CancelTimer(void* ctx, uint64_t number) noexcept {
    return Of(ctx).CancelTimer(number);
  }
  static uint64_t Send(void* ctx, const epp_http_request* request, epp_http_fn done, void* arg,
                       epp_error* err) noexcept {
    return Of(ctx).Send(request, done, arg, err);
  }
  static int32_t CancelExchange(void* ctx, uint64_t number) noexcept {
    return Of(ctx).CancelExchange(number);
  }

  const std::shared_ptr<Instance> instance_;
  epp_host_timer timer_{};
  epp_host_http http_{};
};

Hub::Hub(uint32_t workers)
    : operations_(workers, [this](uint64_t mono_ns, std::function<void()> fn) {
        loop().fetcher().RunAt(mono_ns, std::move(fn));
      }) {}

// The loop goes first: it holds functions that use the operations.
Hub::~Hub() { loop_.reset(); }

Hub::Loop& Hub::loop() {
  if (Loop* const started = started_.load(std::memory_order_acquire)) return *started;
  std::call_once(once_, [this] {
    loop_ = std::make_unique<Loop>();
    started_.store(loop_.get(), std::memory_order_release);
  });
  return *loop_;
}

std::unique_ptr<loader::Extensions> Hub::ForInstance() {
  return std::make_unique<Extensions>(this);
}

}  // namespace epp::async
