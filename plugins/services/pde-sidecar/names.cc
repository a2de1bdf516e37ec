#include "names.h"

#include <algorithm>
#include <memory>

namespace sidecar {
namespace {

std::string Best(const std::vector<asio::ip::address>& found) {
  if (found.empty()) return "";
  const auto v4 = std::ranges::find_if(found, [](const auto& address) { return address.is_v4(); });
  return (v4 != found.end() ? *v4 : found.front()).to_string();
}

}  // namespace

Names::Names(const std::vector<std::string>& hosts) {
  for (const std::string& host : hosts) {
    error_code no_address;
    asio::ip::make_address(host, no_address);
    if (no_address && !host.empty()) addresses_.emplace(host, "");
  }
}

std::string Names::Of(const std::string& host) const {
  const auto it = addresses_.find(host);
  if (it == addresses_.end()) return host;
  const std::lock_guard lock(mutex_);
  return it->second.empty() ? host : it->second;
}

Task<std::string> Names::First(Lookup lookup) {
  for (auto& [name, address] : addresses_) {
    const std::vector<asio::ip::address> found = co_await lookup(name);
    if (found.empty()) co_return name;
    const std::lock_guard lock(mutex_);
    address = Best(found);
  }
  co_return std::string();
}

Task<void> Names::Follow(asio::io_context& io, Milliseconds ttl, Lookup lookup,
                         std::function<void(News)> tell) {
  while (!addresses_.empty()) {
    co_await Sleep(io, ttl);
    for (auto& [name, address] : addresses_) {
      const std::vector<asio::ip::address> found = co_await lookup(name);
      std::string best = Best(found);
      News news = News::kFailed;
      if (!best.empty()) {
        const std::lock_guard lock(mutex_);
        news = best == address ? News::kSame : News::kChanged;
        address = std::move(best);
      }
      tell(news);
    }
  }
}

Names::Lookup Names::System(asio::io_context& io, Milliseconds limit) {
  return [&io, limit](std::string name) -> Task<std::vector<asio::ip::address>> {
    // The timer ends the wait, not the lookup, which nothing can end.
    const auto resolver = std::make_shared<asio::ip::tcp::resolver>(io);
    asio::steady_timer timer(io, limit);
    timer.async_wait([resolver](error_code error) {
      if (!error) resolver->cancel();
    });
    const auto [error, entries] =
        co_await resolver->async_resolve(name, "", asio::as_tuple(asio::use_awaitable));
    timer.cancel();
    std::vector<asio::ip::address> out;
    if (error) co_return out;
    for (const auto& entry : entries) out.push_back(entry.endpoint().address());
    co_return out;
  };
}

}  // namespace sidecar
