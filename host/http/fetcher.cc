#include "host/http/fetcher.h"

#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <queue>
#include <thread>

#include "host/base/clock.h"
#include "host/base/hostport.h"
#include "host/base/mutex.h"
#include "host/base/unique_fd.h"
#include "host/http/resolver.h"
#include "host/http/response_reader.h"

namespace epp::http {
namespace {

constexpr size_t kBufferBytes = 64 * 1024;
constexpr size_t kMinReadRoom = 4 * 1024;
constexpr size_t kMaxSpareBuffers = 16;
constexpr size_t kMaxSpareBytes = 1024 * 1024;  // a larger buffer is not kept
constexpr uint64_t kResolveTtlNs = 30'000'000'000;
constexpr uint64_t kWakeId = UINT64_MAX;

// Not a vector: growing must not write zeroes that the kernel overwrites.
struct Buffer {
  std::unique_ptr<char[]> data;
  size_t capacity = 0;
  size_t size = 0;

  void Reserve(size_t wanted) {
    if (wanted <= capacity) return;
    std::unique_ptr<char[]> bigger(new char[wanted]);
    if (size != 0) std::memcpy(bigger.get(), data.get(), size);
    data = std::move(bigger);
    capacity = wanted;
  }
};

enum class State { kClosed, kResolving, kConnecting, kHandshake, kSending, kReceiving, kIdle };

struct Connection {
  FetchTarget target;
  std::string request;
  bool literal = false;
  std::vector<Address> addresses;  // to try, in order
  size_t next_address = 0;
  uint64_t resolved_ns = 0;
  bool resolving = false;
  Address peer;
  bool peer_gone = false;  // the name no longer has this address

  State state = State::kClosed;
  uint32_t slot = 0;
  uint32_t generation = 0;  // of the target
  uint32_t epoch = 0;       // of the descriptor; tells late events apart
  UniqueFd fd;
  uint32_t watched = 0;
  std::unique_ptr<TlsStream> tls;

  // Of the fetch under way.
  bool busy = false;
  bool own_request = false;  // of this fetch, not of the target
  bool reused = false;       // on a kept connection
  bool retried = false;
  uint64_t fetch_number = 0;
  uint64_t deadline_ns = 0;
  uint64_t max_body_bytes = 0;
  size_t sent = 0;
  Fetcher::Callback done;
  ResponseReader reader;
  Buffer buffer;
};

bool CleanHeader(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

std::string BuildRequest(std::string_view method, const FetchTarget& target,
                         std::string_view body) {
  std::string path = target.path.empty() || target.path[0] != '/' ? "/" + target.path : target.path;
  // A blank or control character would end the request line early.
  std::erase_if(path, [](char c) { return c <= ' ' || c == 0x7F; });
  std::string out(method);
  out.append(" ").append(path).append(" HTTP/1.1\r\n");
  bool has_host = false;
  for (const auto& [name, value] : target.headers) {
    if (name.empty() || !CleanHeader(name) || !CleanHeader(value)) continue;
    out.append(name).append(": ").append(value).append("\r\n");
    has_host |= name.size() == 4 && strncasecmp(name.c_str(), "host", 4) == 0;
  }
  const uint16_t usual = target.tls == nullptr ? 80 : 443;
  if (!has_host) {
    std::string host = JoinHostPort(target.host, target.port);
    if (target.port == usual) host.resize(host.rfind(':'));
    if (CleanHeader(host)) out.append("Host: ").append(host).append("\r\n");
  }
  if (method != "GET") {
    out.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  }
  return out.append("\r\n").append(body);
}

uint64_t ThreadCpuNs() {
  timespec ts{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
}

}  // namespace

std::string_view FetchErrorName(FetchError error) {
  static constexpr std::string_view kNames[] = {"none",      "busy",      "no-target", "resolve",
                                                "connect",   "tls",       "timeout",   "closed",
                                                "malformed", "too-large", "cancelled"};
  return kNames[static_cast<int>(error)];
}

class Fetcher::Loop {
  static constinit thread_local const Loop* current;

 public:
  Loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    epoll_event event{EPOLLIN, {.u64 = kWakeId}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
    thread_ = std::thread([this] { Run(); });
  }

  ~Loop() {
    stop_.store(true, std::memory_order_release);
    Wake();
    thread_.join();
  }

  bool OnThread() const { return current == this; }

  void Post(std::function<void()> fn) {
    {
      MutexLock lock(&mu_);
      posted_.push_back(std::move(fn));
      if (woken_) return;
      woken_ = true;
    }
    if (!OnThread()) Wake();
  }

  // Runs now when already on the loop.
  void Do(std::function<void()> fn) {
    if (OnThread()) {
      fn();
    } else {
      Post(std::move(fn));
    }
  }

  TargetId NewId() {
    MutexLock lock(&mu_);
    uint32_t slot = next_slot_;
    if (!free_slots_.empty()) {
      slot = free_slots_.back();
      free_slots_.pop_back();
    } else {
      ++next_slot_;
    }
    return (uint64_t{++generations_} << 32) | slot;
  }

  void Add(TargetId id, FetchTarget target) {
    const auto slot = static_cast<uint32_t>(id);
    if (slot >= connections_.size()) connections_.resize(slot + 1);
    auto c = std::make_unique<Connection>();
    c->slot = slot;
    c->generation = static_cast<uint32_t>(id >> 32);
    c->request = BuildRequest("GET", target, "");
    c->target = std::move(target);
    if (auto address = ParseAddress(c->target.host, c->target.port)) {
      c->literal = true;
      c->addresses = {*address};
    }
    connections_[slot] = std::move(c);
  }

  void Remove(TargetId id) {
    Connection* c = Find(id);
    if (c == nullptr) return;
    Close(*c);
    if (c->busy) Complete(*c, {.error = FetchError::kCancelled, .detail = "target removed"});
    // The callback of this target may be running: keep the object until the end of the turn.
    graveyard_.push_back(std::move(connections_[c->slot]));
    MutexLock lock(&mu_);
    free_slots_.push_back(static_cast<uint32_t>(id));
  }

  // `request`: instead of the target's own; empty for that.
  void Fetch(TargetId id, std::string request, uint64_t timeout_ns, uint64_t max_body_bytes,
             Callback done) {
    Connection* c = Find(id);
    if (c == nullptr || c->busy) {
      const FetchError error = c == nullptr ? FetchError::kNoTarget : FetchError::kBusy;
      Post([done = std::move(done), error] { done({.error = error}); });
      return;
    }
    fetches_.fetch_add(1, std::memory_order_relaxed);
    const uint64_t now = Clock::Real().mono_ns();
    c->busy = true;
    c->own_request = !request.empty();
    if (c->own_request) c->request = std::move(request);
    c->done = std::move(done);
    c->retried = false;
    c->fetch_number = ++fetch_numbers_;
    c->deadline_ns = now + std::min(timeout_ns, uint64_t{3'600'000'000'000});
    c->max_body_bytes = max_body_bytes;
    timers_.push({c->deadline_ns, id, c->fetch_number});
    if (!c->literal && now - c->resolved_ns > kResolveTtlNs) Resolve(*c);
    if (c->state == State::kIdle) {
      c->reused = true;
      StartExchange(*c);
    } else {
      Connect(*c);
    }
  }

  void RunAt(uint64_t mono_ns, std::function<void()> fn) {
    const uint64_t number = ++fetch_numbers_;
    functions_.emplace(number, std::move(fn));
    timers_.push({mono_ns, 0, number});
  }

  Stats stats() const {
    return {fetches_.load(std::memory_order_relaxed), connects_.load(std::memory_order_relaxed),
            retries_.load(std::memory_order_relaxed), cpu_ns_.load(std::memory_order_relaxed)};
  }

 private:
  struct Timer {
    uint64_t at_ns;
    TargetId id;      // 0: a function
    uint64_t number;  // of the fetch or the function
    bool operator>(const Timer& other) const { return at_ns > other.at_ns; }
  };

  static TargetId IdOf(const Connection& c) { return (uint64_t{c.generation} << 32) | c.slot; }

  Connection* Find(TargetId id) {
    const auto slot = static_cast<uint32_t>(id);
    if (slot >= connections_.size() || connections_[slot] == nullptr) return nullptr;
    Connection* c = connections_[slot].get();
    return c->generation == id >> 32 ? c : nullptr;
  }

  void Wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_.get(), &one, sizeof(one));
  }

  // ---- connecting

  void Resolve(Connection& c) {
    if (c.resolving) return;
    c.resolving = true;
    const TargetId id = IdOf(c);
    resolver_.Resolve(c.target.host, c.target.port, [this, id](std::vector<Address> addresses) {
      Post([this, id, addresses = std::move(addresses)] { Resolved(id, addresses); });
    });
  }

  void Resolved(TargetId id, const std::vector<Address>& addresses) {
    Connection* c = Find(id);
    if (c == nullptr) return;
    c->resolving = false;
    if (!addresses.empty()) {
      c->addresses = addresses;
      c->next_address = 0;
      c->resolved_ns = Clock::Real().mono_ns();
    }
    if (c->state == State::kResolving) {
      if (addresses.empty()) {
        c->state = State::kClosed;
        Complete(*c, {.error = FetchError::kResolve, .detail = "the name has no address"});
      } else {
        TryNextAddress(*c);
      }
    } else if (c->state >= State::kHandshake && !addresses.empty() &&
               std::find(addresses.begin(), addresses.end(), c->peer) == addresses.end()) {
      c->peer_gone = true;
      if (c->state == State::kIdle) Close(*c);
    }
  }

  void Connect(Connection& c) {
    c.reused = false;
    c.next_address = 0;
    // Known addresses serve while a refresh is under way, unless they just failed.
    if (c.addresses.empty() || (c.resolving && c.resolved_ns == 0)) {
      c.state = State::kResolving;
      Resolve(c);
      return;
    }
    TryNextAddress(c);
  }

  void TryNextAddress(Connection& c) {
    int error = 0;
    while (c.next_address < c.addresses.size()) {
      const Address& address = c.addresses[c.next_address++];
      c.fd.reset(
          ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      if (!c.fd) {
        error = errno;
        continue;
      }
      const int one = 1;
      setsockopt(c.fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
      c.peer = address;
      c.peer_gone = false;
      connects_.fetch_add(1, std::memory_order_relaxed);
      if (::connect(c.fd.get(), reinterpret_cast<const sockaddr*>(&address.storage),
                    address.length) == 0 ||
          errno == EINPROGRESS) {
        c.state = State::kConnecting;
        ++c.epoch;
        c.watched = EPOLLOUT;
        epoll_event event{c.watched, {.u64 = EventId(c)}};
        if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, c.fd.get(), &event) == 0) return;
      }
      error = errno;
      c.fd.reset();
    }
    ConnectFailed(c, error);
  }

  void ConnectFailed(Connection& c, int error) {
    Close(c);
    if (c.next_address < c.addresses.size()) {
      TryNextAddress(c);
      return;
    }
    c.resolved_ns = 0;  // the name may have moved: ask again next time
    Complete(c, {.error = FetchError::kConnect, .detail = std::strerror(error)});
  }

  void Connected(Connection& c) {
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(c.fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
      ConnectFailed(c, error);
      return;
    }
    if (c.target.tls == nullptr) {
      StartExchange(c);
      return;
    }
    c.tls = TlsStream::Create(c.target.tls, c.fd.get(),
                              c.target.server_name.empty() ? c.target.host : c.target.server_name);
    if (c.tls == nullptr) {
      Fail(c, FetchError::kTls, "tls: cannot start a session for this name");
      return;
    }
    c.state = State::kHandshake;
    Handshake(c);
  }

  void Handshake(Connection& c) {
    switch (c.tls->Handshake()) {
      case Io::kOk:
        StartExchange(c);
        return;
      case Io::kWantRead:
        Watch(c, EPOLLIN);
        return;
      case Io::kWantWrite:
        Watch(c, EPOLLOUT);
        return;
      default:
        Fail(c, FetchError::kTls, c.tls->error().empty() ? "closed" : c.tls->error());
    }
  }

  // ---- one exchange

  void StartExchange(Connection& c) {
    c.sent = 0;
    c.reader.Reset(c.max_body_bytes);
    c.state = State::kSending;
    Send(c);
  }

  void Send(Connection& c) {
    while (c.sent < c.request.size()) {
      size_t n = 0;
      const char* from = c.request.data() + c.sent;
      const size_t bytes = c.request.size() - c.sent;
      Io io;
      if (c.tls != nullptr) {
        io = c.tls->Write(from, bytes, &n);
      } else {
        const ssize_t result = ::send(c.fd.get(), from, bytes, MSG_NOSIGNAL);
        n = result > 0 ? static_cast<size_t>(result) : 0;
        io = result >= 0                         ? Io::kOk
             : errno == EAGAIN || errno == EINTR ? Io::kWantWrite
                                                 : Io::kClosed;
      }
      c.sent += n;
      if (io == Io::kOk) continue;
      if (io == Io::kWantRead || io == Io::kWantWrite) {
        Watch(c, io == Io::kWantRead ? EPOLLIN : EPOLLOUT);
        return;
      }
      Lost(c, "connection reset while sending");
      return;
    }
    c.state = State::kReceiving;
    Watch(c, EPOLLIN);
  }

  Io Read(Connection& c, size_t* n) {
    Buffer& b = c.buffer;
    if (c.tls != nullptr) return c.tls->Read(b.data.get() + b.size, b.capacity - b.size, n);
    const ssize_t result = ::recv(c.fd.get(), b.data.get() + b.size, b.capacity - b.size, 0);
    *n = result > 0 ? static_cast<size_t>(result) : 0;
    if (result > 0) return Io::kOk;
    if (result == 0) return Io::kClosed;
    return errno == EAGAIN || errno == EINTR ? Io::kWantRead : Io::kError;
  }

  void Receive(Connection& c) {
    if (c.buffer.capacity == 0) TakeBuffer(&c.buffer);
    while (true) {
      MakeRoom(c);
      size_t n = 0;
      const size_t room = c.buffer.capacity - c.buffer.size;
      const Io io = Read(c, &n);
      if (io == Io::kWantRead || io == Io::kWantWrite) {
        Watch(c, io == Io::kWantRead ? EPOLLIN : EPOLLOUT);
        return;
      }
      ResponseReader::Result result;
      if (io == Io::kOk) {
        c.buffer.size += n;
        result = c.reader.Advance(c.buffer.data.get(), &c.buffer.size);
      } else if (c.buffer.size == 0) {
        Lost(c, "connection closed before a response");
        return;
      } else if (io == Io::kError) {
        Fail(c, FetchError::kClosed, "connection reset inside the response");
        return;
      } else {
        result = c.reader.Finish();
      }
      if (result == ResponseReader::Result::kDone) {
        Succeed(c);
        return;
      }
      if (result == ResponseReader::Result::kError) {
        FailReader(c);
        return;
      }
      // A short read drained the socket; epoll tells of more. TLS may hold decrypted bytes.
      if (n < room && (c.tls == nullptr || !c.tls->HasPending())) {
        Watch(c, EPOLLIN);
        return;
      }
    }
  }

  void MakeRoom(Connection& c) {
    const size_t announced =
        static_cast<size_t>(std::min<uint64_t>(c.reader.remaining(), c.max_body_bytes));
    c.buffer.Reserve(c.buffer.size + announced);
    if (c.buffer.capacity - c.buffer.size < (announced != 0 ? 1 : kMinReadRoom)) {
      c.buffer.Reserve(c.buffer.capacity * 2);
    }
  }

  void Succeed(Connection& c) {
    const bool keep = c.reader.keep_alive() && !c.peer_gone;
    const char* data = c.buffer.data.get();
    const FetchResult result{.status = c.reader.status(),
                             .content_type = c.reader.Header(data, "content-type"),
                             .body = c.reader.body(data)};
    if (keep) {
      c.state = State::kIdle;
      Watch(c, EPOLLIN);
    } else {
      CloseSocket(c);
    }
    Complete(c, result);
  }

  void FailReader(Connection& c) {
    switch (c.reader.error()) {
      case ResponseReader::Error::kBodyTooLarge:
        Fail(c, FetchError::kTooLarge, "body above the limit");
        return;
      case ResponseReader::Error::kEndedEarly:
        Fail(c, FetchError::kClosed, "connection closed inside the response");
        return;
      case ResponseReader::Error::kHeadTooLarge:
        Fail(c, FetchError::kMalformed, "headers above the limit");
        return;
      default:
        Fail(c, FetchError::kMalformed, "malformed response");
    }
  }

  // A kept connection that died before a byte came back says nothing about the server.
  void Lost(Connection& c, std::string_view detail) {
    if (c.reused && !c.retried) {
      c.retried = true;
      retries_.fetch_add(1, std::memory_order_relaxed);
      Close(c);
      Connect(c);
      return;
    }
    Fail(c, FetchError::kClosed, detail);
  }

  void Fail(Connection& c, FetchError error, std::string_view detail) {
    const std::string copy(detail);  // it may live in the TLS session
    Close(c);
    Complete(c, {.error = error, .detail = copy});
  }

  // Ends the fetch. The callback may start another one or remove the target.
  void Complete(Connection& c, const FetchResult& result) {
    const Callback done = std::move(c.done);
    c.done = nullptr;
    Buffer buffer = std::move(c.buffer);  // what the result points into
    c.buffer = {};
    c.busy = false;
    if (c.own_request) std::string().swap(c.request);
    done(result);
    GiveBuffer(std::move(buffer));
  }

  void CloseSocket(Connection& c) {
    c.tls.reset();
    c.fd.reset();
    ++c.epoch;
    c.state = State::kClosed;
  }

  void Close(Connection& c) {
    CloseSocket(c);
    c.buffer.size = 0;
  }

  // ---- the loop

  uint64_t EventId(const Connection& c) const { return (uint64_t{c.epoch} << 32) | c.slot; }

  void Watch(Connection& c, uint32_t events) {
    if (c.watched == events) return;
    c.watched = events;
    epoll_event event{events, {.u64 = EventId(c)}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, c.fd.get(), &event);
  }

  void TakeBuffer(Buffer* buffer) {
    if (!spare_.empty()) {
      *buffer = std::move(spare_.back());
      spare_.pop_back();
    } else {
      buffer->Reserve(kBufferBytes);
    }
    buffer->size = 0;
  }

  void GiveBuffer(Buffer buffer) {
    if (buffer.capacity == 0 || buffer.capacity > kMaxSpareBytes) return;
    if (spare_.size() < kMaxSpareBuffers) spare_.push_back(std::move(buffer));
  }

  void OnEvent(uint64_t id) {
    const auto slot = static_cast<uint32_t>(id);
    if (slot >= connections_.size() || connections_[slot] == nullptr) return;
    Connection& c = *connections_[slot];
    if (c.epoch != id >> 32) return;
    switch (c.state) {
      case State::kConnecting:
        Connected(c);
        return;
      case State::kHandshake:
        Handshake(c);
        return;
      case State::kSending:
        Send(c);
        return;
      case State::kReceiving:
        Receive(c);
        return;
      case State::kIdle:
        // The peer closed, or sent something that nobody asked for.
        Close(c);
        return;
      default:
        return;
    }
  }

  void RunPosted() {
    std::vector<std::function<void()>> batch;
    {
      MutexLock lock(&mu_);
      batch.swap(posted_);
      woken_ = false;
    }
    for (auto& fn : batch) fn();
  }

  void RunTimers(uint64_t now) {
    while (!timers_.empty() && timers_.top().at_ns <= now) {
      const Timer timer = timers_.top();
      timers_.pop();
      if (timer.id == 0) {
        const auto it = functions_.find(timer.number);
        const std::function<void()> fn = std::move(it->second);
        functions_.erase(it);
        fn();
      } else if (Connection* c = Find(timer.id);
                 c != nullptr && c->busy && c->fetch_number == timer.number) {
        Fail(*c, FetchError::kTimeout, Step(c->state));
      }
    }
  }

  static std::string_view Step(State state) {
    switch (state) {
      case State::kResolving:
        return "timed out resolving the name";
      case State::kConnecting:
        return "timed out connecting";
      case State::kHandshake:
        return "timed out in the tls handshake";
      default:
        return "timed out waiting for the response";
    }
  }

  int WaitMs() {
    {
      MutexLock lock(&mu_);
      if (!posted_.empty()) return 0;
    }
    if (timers_.empty()) return -1;
    const uint64_t now = Clock::Real().mono_ns();
    if (timers_.top().at_ns <= now) return 0;
    return static_cast<int>(
        std::min<uint64_t>((timers_.top().at_ns - now + 999'999) / 1'000'000, 60'000));
  }

  void Run() {
    // A TLS session writes without MSG_NOSIGNAL.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    pthread_setname_np(pthread_self(), "epp-fetch");
    current = this;
    epoll_event events[256];
    uint32_t turn = 0;
    while (!stop_.load(std::memory_order_acquire)) {
      const int n = epoll_wait(epoll_.get(), events, std::size(events), WaitMs());
      for (int i = 0; i < n; ++i) {
        if (events[i].data.u64 == kWakeId) {
          uint64_t count;
          [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof(count));
        } else {
          OnEvent(events[i].data.u64);
        }
      }
      RunPosted();
      if (!timers_.empty()) RunTimers(Clock::Real().mono_ns());
      graveyard_.clear();
      if (++turn % 64 == 0) cpu_ns_.store(ThreadCpuNs(), std::memory_order_relaxed);
    }
    RunPosted();  // adopt what was handed over, so that its callbacks are called, too
    for (size_t slot = 0; slot < connections_.size(); ++slot) {
      if (connections_[slot] != nullptr) Remove(IdOf(*connections_[slot]));
    }
    RunPosted();
    graveyard_.clear();
  }

  const UniqueFd epoll_;
  const UniqueFd wake_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> fetches_{0}, connects_{0}, retries_{0}, cpu_ns_{0};

  Mutex mu_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mu_);
  bool woken_ ABSL_GUARDED_BY(mu_) = false;
  uint32_t next_slot_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t generations_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<uint32_t> free_slots_ ABSL_GUARDED_BY(mu_);

  // The loop's thread only.
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::unique_ptr<Connection>> graveyard_;
  std::vector<Buffer> spare_;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  std::map<uint64_t, std::function<void()>> functions_;
  uint64_t fetch_numbers_ = 0;
  Resolver resolver_;
  std::thread thread_;
};

constinit thread_local const Fetcher::Loop* Fetcher::Loop::current = nullptr;

Fetcher::Fetcher() : loop_(std::make_unique<Loop>()) {}
Fetcher::~Fetcher() = default;

Fetcher::TargetId Fetcher::Add(FetchTarget target) {
  const TargetId id = loop_->NewId();
  loop_->Do([loop = loop_.get(), id, target = std::move(target)]() mutable {
    loop->Add(id, std::move(target));
  });
  return id;
}

void Fetcher::Remove(TargetId id) {
  loop_->Do([loop = loop_.get(), id] { loop->Remove(id); });
}

void Fetcher::Fetch(TargetId id, uint64_t timeout_ns, uint64_t max_body_bytes, Callback done) {
  Send(id, {}, timeout_ns, max_body_bytes, std::move(done));
}

void Fetcher::Send(TargetId id, std::string request, uint64_t timeout_ns, uint64_t max_body_bytes,
                   Callback done) {
  if (loop_->OnThread()) {
    loop_->Fetch(id, std::move(request), timeout_ns, max_body_bytes, std::move(done));
    return;
  }
  loop_->Post([loop = loop_.get(), id, request = std::move(request), timeout_ns, max_body_bytes,
               done = std::move(done)]() mutable {
    loop->Fetch(id, std::move(request), timeout_ns, max_body_bytes, std::move(done));
  });
}

std::string Fetcher::Format(std::string_view method, const FetchTarget& target,
                            std::string_view body) {
  return BuildRequest(method, target, body);
}

void Fetcher::Post(std::function<void()> fn) { loop_->Post(std::move(fn)); }

void Fetcher::RunAt(uint64_t mono_ns, std::function<void()> fn) {
  if (loop_->OnThread()) {
    loop_->RunAt(mono_ns, std::move(fn));
    return;
  }
  loop_->Post([loop = loop_.get(), mono_ns, fn = std::move(fn)]() mutable {
    loop->RunAt(mono_ns, std::move(fn));
  });
}

bool Fetcher::OnLoopThread() const { return loop_->OnThread(); }
Fetcher::Stats Fetcher::stats() const { return loop_->stats(); }

}  // namespace epp::http
