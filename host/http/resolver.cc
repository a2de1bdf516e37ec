#include "host/http/resolver.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>

#include <cstring>
#include <deque>
#include <thread>

#include "host/base/mutex.h"

namespace epp::http {
namespace {

constexpr int kThreads = 2;

std::vector<Address> Lookup(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  std::vector<Address> out;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list) != 0) return out;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    Address address;
    if (entry->ai_addrlen > sizeof(address.storage)) continue;
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.length = entry->ai_addrlen;
    out.push_back(address);
  }
  freeaddrinfo(list);
  return out;
}

}  // namespace

bool Address::operator==(const Address& other) const {
  return length == other.length && std::memcmp(&storage, &other.storage, length) == 0;
}

std::optional<Address> ParseAddress(const std::string& host, uint16_t port) {
  Address out;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    out.length = sizeof(*v4);
    return out;
  }
  const size_t percent = host.find('%');
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
  if (inet_pton(AF_INET6, host.substr(0, percent).c_str(), &v6->sin6_addr) != 1)
    return std::nullopt;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(port);
  if (percent != std::string::npos) {
    v6->sin6_scope_id = if_nametoindex(host.substr(percent + 1).c_str());
  }
  out.length = sizeof(*v6);
  return out;
}

struct Resolver::State {
  struct Job {
    std::string host;
    uint16_t port;
    Callback done;
  };
  Mutex mu;
  std::deque<Job> jobs ABSL_GUARDED_BY(mu);
  int threads ABSL_GUARDED_BY(mu) = 0;
  bool stopped ABSL_GUARDED_BY(mu) = false;

  static void Run(const std::shared_ptr<State>& state) {
    while (true) {
      Job job;
      {
        MutexLock lock(&state->mu);
        if (state->stopped || state->jobs.empty()) {
          --state->threads;
          return;
        }
        job = std::move(state->jobs.front());
        state->jobs.pop_front();
      }
      std::vector<Address> addresses = Lookup(job.host, job.port);
      // The lock keeps the destructor from returning while the callback runs; it only posts.
      MutexLock lock(&state->mu);
      if (!state->stopped) job.done(std::move(addresses));
    }
  }
};

Resolver::Resolver() : state_(std::make_shared<State>()) {}

Resolver::~Resolver() {
  MutexLock lock(&state_->mu);
  state_->stopped = true;
  state_->jobs.clear();
}

void Resolver::Resolve(const std::string& host, uint16_t port, Callback done) {
  MutexLock lock(&state_->mu);
  state_->jobs.push_back({host, port, std::move(done)});
  if (state_->threads >= kThreads) return;
  ++state_->threads;
  std::thread([state = state_] { State::Run(state); }).detach();
}

}  // namespace epp::http
