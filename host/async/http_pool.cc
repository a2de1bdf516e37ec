#include "host/async/http_pool.h"

#include <algorithm>
#include <utility>

#include "host/base/clock.h"
#include "host/base/hostport.h"
#include "host/base/str_cat.h"

namespace epp::async {
namespace {

constexpr uint64_t kIdleNs = 60'000'000'000;

}  // namespace

absl::StatusOr<Url> ParseUrl(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(StrCat("url \"", text.substr(0, 200), "\": ", why));
  };
  Url url;
  std::string_view rest = text;
  if (rest.starts_with("https://")) {
    url.tls = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return refuse("want http:// or https://");
  }
  const size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  std::string authority(rest.substr(0, end));
  url.path = rest.substr(end);
  if (url.path.find('#') != std::string::npos) url.path.resize(url.path.find('#'));
  if (url.path.empty() || url.path[0] != '/') url.path.insert(0, "/");
  if (authority.empty()) return refuse("it has no host");
  if (authority.find('@') != std::string::npos) return refuse("it must not carry a user");
  const size_t bracket = authority.rfind(']');
  const size_t colon = authority.rfind(':');
  const bool has_port =
      colon != std::string::npos && (bracket == std::string::npos || colon > bracket);
  if (!has_port) authority += url.tls ? ":443" : ":80";
  const auto parts = SplitHostPort(authority);
  if (!parts.ok() || parts->host.empty() || parts->port == 0)
    return refuse("want HOST or HOST:PORT");
  url.host = parts->host;
  url.port = parts->port;
  return url;
}

void HttpPool::Start(uint64_t number, HttpJob job) {
  const auto [it, fresh] = running_.try_emplace(number);
  if (!fresh) return;
  it->second.job = std::move(job);
  const Url& url = it->second.job.url;
  Server& server = servers_[Key(url.tls, url.host, url.port)];
  if (!server.idle.empty() || server.connections < kMaxConnections) {
    Send(number, it->second, server);
    return;
  }
  server.waiting.push_back(number);
  fetcher_->RunAt(it->second.job.deadline_ns, [this, number] { Expired(number); });
}

void HttpPool::Send(uint64_t number, Running& running, Server& server) {
  HttpJob& job = running.job;
  http::FetchTarget target;
  target.host = job.url.host;
  target.port = job.url.port;
  target.path = job.url.path;
  target.headers = std::move(job.headers);
  if (job.url.tls) {
    if (tls_ == nullptr) {
      auto made = http::TlsClient::Create({});
      if (made.ok()) tls_ = *std::move(made);
    }
    target.tls = tls_;
  }
  std::string request = http::Fetcher::Format(job.method, target, job.body);
  std::string().swap(job.body);
  if (job.url.tls && tls_ == nullptr) {
    // Never in plain text instead.
    fetcher_->Post([this, number] {
      Ended(number, {.error = http::FetchError::kTls, .detail = "no TLS on this host"});
    });
    return;
  }
  if (server.idle.empty()) {
    ++server.connections;
    target.headers.clear();
    running.target = fetcher_->Add(std::move(target));
  } else {
    running.target = server.idle.back().target;
    server.idle.pop_back();
  }
  const uint64_t now = Clock::Real().mono_ns();
  fetcher_->Send(running.target, std::move(request),
                 job.deadline_ns > now ? job.deadline_ns - now : 0, job.max_body_bytes,
                 [this, number](const http::FetchResult& result) { Ended(number, result); });
}

void HttpPool::Ended(uint64_t number, const http::FetchResult& result) {
  const auto it = running_.find(number);
  if (it == running_.end()) return;
  const Running running = std::move(it->second);
  running_.erase(it);
  if (result.error == http::FetchError::kCancelled) return running.job.done(result);  // the end
  const Url& url = running.job.url;
  Server& server = servers_[Key(url.tls, url.host, url.port)];
  if (running.target != 0) {
    server.idle.push_back({running.target, Clock::Real().mono_ns()});
    if (!std::exchange(sweeping_, true)) {
      fetcher_->RunAt(Clock::Real().mono_ns() + kIdleNs, [this] { Sweep(); });
    }
  }
  running.job.done(result);
  Next(server);
}

void HttpPool::Cancel(uint64_t number) {
  const auto it = running_.find(number);
  if (it == running_.end()) return;
  const http::Fetcher::TargetId target = it->second.target;
  const Url& url = it->second.job.url;
  Server& server = servers_[Key(url.tls, url.host, url.port)];
  running_.erase(it);
  if (target == 0) return;
  fetcher_->Remove(target);
  --server.connections;
  Next(server);
}

void HttpPool::Expired(uint64_t number) {
  const auto it = running_.find(number);
  if (it == running_.end() || it->second.target != 0) return;
  const HttpJob job = std::move(it->second.job);
  running_.erase(it);
  job.done({.error = http::FetchError::kTimeout, .detail = "timed out waiting for a connection"});
}

void HttpPool::Next(Server& server) {
  while (!server.waiting.empty() &&
         (!server.idle.empty() || server.connections < kMaxConnections)) {
    const uint64_t number = server.waiting.front();
    server.waiting.pop_front();
    const auto it = running_.find(number);
    if (it == running_.end() || it->second.target != 0) continue;
    Send(number, it->second, server);
  }
}

void HttpPool::Sweep() {
  const uint64_t now = Clock::Real().mono_ns();
  for (auto it = servers_.begin(); it != servers_.end();) {
    Server& server = it->second;
    while (!server.idle.empty() && now - server.idle.front().since_ns >= kIdleNs) {
      fetcher_->Remove(server.idle.front().target);
      server.idle.erase(server.idle.begin());
      --server.connections;
    }
    it = server.connections == 0 && server.waiting.empty() ? servers_.erase(it) : std::next(it);
  }
  sweeping_ = !servers_.empty();
  if (sweeping_) fetcher_->RunAt(now + kIdleNs / 2, [this] { Sweep(); });
}

}  // namespace epp::async
