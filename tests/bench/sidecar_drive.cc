// The clients of sidecar_load: one thread, requests at random times, connections kept.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <vector>

#include "tests/bench/process_stats.h"
#include "tests/bench/sidecar_net.h"

namespace epp::bench {
namespace {

constexpr uint64_t kPatienceNs = 60'000'000'000;
constexpr uint64_t kLookNs = 20'000'000;  // at memory
constexpr std::string_view kTime = R"("t":)";

struct Client {
  int fd = -1;
  bool busy = false;
  size_t sent = 0;
  uint64_t since = 0;  // when the request should have begun
  std::string in;      // what was not understood yet
  bool head = false;   // has been read
  bool chunked = false;
  size_t left = 0;  // of a body that is not chunked
};

// Nanoseconds, kept as they are.
class Samples {
 public:
  void Add(uint64_t value) {
    values_.push_back(static_cast<uint32_t>(std::min<uint64_t>(value, UINT32_MAX)));
  }
  size_t size() const { return values_.size(); }
  std::string Json() {
    std::sort(values_.begin(), values_.end());
    std::string out = "{";
    for (const auto& [name, share] :
         {std::pair("p50", 0.5), {"p90", 0.9}, {"p99", 0.99}, {"max", 1.0}}) {
      const size_t at =
          values_.empty()
              ? 0
              : std::min(values_.size() - 1,
                         static_cast<size_t>(share * static_cast<double>(values_.size())));
      const double us = values_.empty() ? 0 : values_[at] / 1000.0;
      std::array<char, 64> text;
      const int n = std::snprintf(text.data(), text.size(), "%s\"%s\":%.1f",
                                  out.size() > 1 ? "," : "", name, us);
      out.append(text.data(), static_cast<size_t>(n));
    }
    return out + "}";
  }

 private:
  std::vector<uint32_t> values_;
};

class Driver {
 public:
  explicit Driver(const Flags& flags)
      : port_(static_cast<uint16_t>(flags.Int("port", 0))),
        pid_(static_cast<pid_t>(flags.Int("pid", 0))),
        rate_(static_cast<double>(flags.Int("rate", 1000))),
        concurrency_(static_cast<size_t>(flags.Int("concurrency", 0))),
        warmup_ns_(static_cast<uint64_t>(flags.Int("warmup-ms", 500)) * 1'000'000),
        measure_ns_(static_cast<uint64_t>(flags.Int("seconds", 5)) * 1'000'000'000) {
    const auto number = [&](const char* name, int64_t other) {
      return std::to_string(flags.Int(name, other));
    };
    const size_t body_bytes = static_cast<size_t>(flags.Int("body-bytes", 1024));
    std::string body =
        R"({"model":"m","stream":true,"max_tokens":100,"temperature":0.5,"messages":[)"
        R"({"role":"user","content":")";
    static constexpr std::string_view kEnd = "\"}]}";
    static constexpr std::string_view kWords = "Tell me again how the quick brown fox did it. ";
    while (body.size() + kEnd.size() < body_bytes) {
      body += kWords.substr(0, body_bytes - body.size() - kEnd.size());
    }
    body += kEnd;
    request_ = "POST /v1/chat/completions?chunks=" + number("chunks", 20) +
               "&gap_us=" + number("gap-us", 5000) + "&hold_us=" + number("hold-us", 0) +
               " HTTP/1.1\r\nHost: llm.example\r\nUser-Agent: bench/1\r\nAccept: */*\r\n"
               "Content-Type: application/json\r\nAuthorization: Bearer 0123456789abcdef\r\n"
               "x-request-id: 0f0e0d0c-0b0a-0908-0706-050403020100\r\n"
               "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    if (const int64_t prefill = flags.Int("prefill", 0); prefill != 0) {
      request_ += "x-prefiller-host-port: 127.0.0.1:" + std::to_string(prefill) + "\r\n";
    }
    request_ += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

  int Run() {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    start_ = NowNs();
    const uint64_t begin = start_ + warmup_ns_;
    const uint64_t end = begin + measure_ns_;
    uint64_t next = start_;
    uint64_t cpu_begin = 0;
    uint64_t cpu_end = 0;
    std::exponential_distribution<double> gap(rate_ / 1e9);
    for (;;) {
      uint64_t now = NowNs();
      if (!counting_ && cpu_begin == 0 && now >= begin) {
        counting_ = true;
        cpu_begin = ProcessCpuNs(pid_);
        counted_from_ = now;
      }
      if (counting_ && now >= end) {
        counting_ = false;
        cpu_end = ProcessCpuNs(pid_);
        counted_to_ = now;
      }
      if (now >= end && (active_ == 0 || now >= end + kPatienceNs)) break;
      if (now < end) {
        if (concurrency_ != 0) {
          while (active_ < concurrency_) Start(NowNs());
        } else {
          for (; next <= now; next += static_cast<uint64_t>(gap(random_)) + 1) Start(next);
        }
      }
      if (now >= looked_ + kLookNs) Look(now);
      now = NowNs();
      const uint64_t wake =
          std::min(concurrency_ == 0 && next < end ? next : now + kLookNs, now + kLookNs);
      Turn(wake > now ? wake - now : 0);
    }
    Print(cpu_end - cpu_begin);
    return failed_ + active_ == 0 ? 0 : 1;
  }

 private:
  void Look(uint64_t now) {
    looked_ = now;
    if (pid_ != 0) peak_kib_ = std::max(peak_kib_, ResidentKib(pid_));
  }

  void Start(uint64_t since) {
    Client* client;
    if (idle_.empty()) {
      client = clients_.emplace_back(std::make_unique<Client>()).get();
      client->fd = Connect(port_);
      SetNonBlocking(client->fd);
      epoll_event event{EPOLLIN | EPOLLRDHUP, {.ptr = client}};
      epoll_ctl(epoll_, EPOLL_CTL_ADD, client->fd, &event);
    } else {
      client = idle_.back();
      idle_.pop_back();
    }
    client->busy = true;
    client->head = client->chunked = false;
    client->sent = client->left = 0;
    client->since = since;
    client->in.clear();
    most_ = std::max(most_, ++active_);
    Send(client);
  }

  void Send(Client* client) {
    const std::string_view rest = std::string_view(request_).substr(client->sent);
    const ssize_t n = send(client->fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return Fail(client);
    client->sent += static_cast<size_t>(std::max<ssize_t>(n, 0));
    const bool more = client->sent < request_.size();
    if (more || rest.size() < request_.size()) {
      epoll_event event{EPOLLIN | EPOLLRDHUP | (more ? EPOLLOUT : 0U), {.ptr = client}};
      epoll_ctl(epoll_, EPOLL_CTL_MOD, client->fd, &event);
    }
  }

  void Fail(Client* client) {
    if (client->busy) {
      ++failed_;
      --active_;
    } else {
      std::erase(idle_, client);
    }
    client->busy = false;
    close(client->fd);
    client->fd = -1;
  }

  void Turn(uint64_t ns) {
    std::array<epoll_event, 64> events;
    const timespec wait{static_cast<time_t>(ns / 1'000'000'000),
                        static_cast<long>(ns % 1'000'000'000)};
    const int n = epoll_pwait2(epoll_, events.data(), events.size(), &wait, nullptr);
    for (int i = 0; i < n; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      auto* const client = static_cast<Client*>(event.data.ptr);
      if (event.events & EPOLLOUT) Send(client);
      if (client->fd >= 0 && (event.events & ~static_cast<uint32_t>(EPOLLOUT))) Read(client);
    }
  }

  void Read(Client* client) {
    const ssize_t n = recv(client->fd, scratch_.data(), scratch_.size(), 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0 || !client->busy) return Fail(client);
    const uint64_t now = NowNs();
    std::string& in = client->in;
    in.append(scratch_.data(), static_cast<size_t>(n));
    if (!client->head) {
      const size_t end = in.find("\r\n\r\n");
      if (end == in.npos) return;
      const std::string_view head = std::string_view(in).substr(0, end + 4);
      if (!head.starts_with("HTTP/1.1 200")) {
        if (failed_ == 0) std::fprintf(stderr, "an answer: %s\n", in.c_str());
        return Fail(client);
      }
      client->head = true;
      client->left = ContentLength(head);
      client->chunked = head.find("hunked") != head.npos;
      in.erase(0, end + 4);
      if (counting_) first_.Add(now - client->since);
    }
    const bool done = client->chunked ? in.ends_with("0\r\n\r\n") : in.size() >= client->left;
    size_t at = 0;
    for (size_t found;
         (found = in.find(kTime, at)) != in.npos && found + kTime.size() + 19 <= in.size();) {
      at = found + kTime.size();
      const uint64_t sent = std::strtoull(in.c_str() + at, nullptr, 10) - kTimeBase;
      if (counting_) event_.Add(now - sent);
    }
    if (!done) {
      // The last bytes may be the beginning of what was looked for.
      const size_t keep = std::min<size_t>(in.size() - at, kTime.size() + 19);
      if (client->chunked) in.erase(0, in.size() - keep);
      return;
    }
    if (counting_) whole_.Add(now - client->since);
    client->busy = false;
    --active_;
    idle_.push_back(client);
  }

  void Print(uint64_t cpu_ns) {
    const double seconds = static_cast<double>(counted_to_ - counted_from_) / 1e9;
    const size_t requests = whole_.size();
    const size_t events = event_.size();
    std::printf(
        "{\"requests\":%zu,\"events\":%zu,\"failed\":%zu,\"seconds\":%.3f,\"cpu_us\":%.0f,"
        "\"cpu_us_per_request\":%.2f,\"most_at_once\":%zu,\"connections\":%zu,\"peak_kib\":%llu,"
        "\"head_us\":%s,\"event_us\":%s,\"whole_us\":%s}\n",
        requests, events, failed_ + active_, seconds, static_cast<double>(cpu_ns) / 1e3,
        requests == 0 ? 0 : static_cast<double>(cpu_ns) / 1e3 / static_cast<double>(requests),
        most_, clients_.size(), static_cast<unsigned long long>(peak_kib_), first_.Json().c_str(),
        event_.Json().c_str(), whole_.Json().c_str());
  }

  const uint16_t port_;
  const pid_t pid_;
  const double rate_;
  const size_t concurrency_;
  const uint64_t warmup_ns_;
  const uint64_t measure_ns_;
  std::string request_;
  int epoll_ = -1;
  uint64_t start_ = 0;
  uint64_t counted_from_ = 0;
  uint64_t counted_to_ = 0;
  uint64_t looked_ = 0;
  uint64_t peak_kib_ = 0;
  bool counting_ = false;
  size_t active_ = 0;
  size_t most_ = 0;
  size_t failed_ = 0;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<Client*> idle_;
  std::mt19937_64 random_{1};
  std::array<char, 256 * 1024> scratch_;
  Samples first_;
  Samples event_;
  Samples whole_;
};

}  // namespace

int RunDrive(const Flags& flags) { return std::make_unique<Driver>(flags)->Run(); }

}  // namespace epp::bench
