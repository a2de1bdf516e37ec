#include "upstream.h"

#include <utility>

namespace sidecar {

namespace {

// Connections to one address with different ideas of trust are not the same.
std::string KeyOf(const Target& target) {
  std::string out = target.text();
  if (target.tls != nullptr) out += "/" + std::to_string(reinterpret_cast<uintptr_t>(target.tls));
  return out;
}

}  // namespace

std::unique_ptr<Connection> Pool::Take(const Target& target) {
  const auto it = idle_.find(KeyOf(target));
  if (it == idle_.end()) return nullptr;
  const auto oldest = std::chrono::steady_clock::now() - config_.pool_idle_timeout;
  std::unique_ptr<Connection> found;
  while (!it->second.empty() && !found) {
    std::unique_ptr<Connection> next = std::move(it->second.front());
    it->second.pop_front();
    if (next->idle_since >= oldest && next->stream.Quiet()) found = std::move(next);
  }
  if (it->second.empty()) idle_.erase(it);
  return found;
}

void Pool::Put(const Target& target, std::unique_ptr<Connection> connection) {
  auto& idle = idle_[KeyOf(target)];
  const auto now = std::chrono::steady_clock::now();
  while (!idle.empty() && (idle.size() >= config_.max_idle ||
                           idle.back()->idle_since < now - config_.pool_idle_timeout)) {
    idle.pop_back();
  }
  connection->idle_since = now;
  connection->reused = true;
  idle.push_front(std::move(connection));
}

bool Call::Fail(error_code error) {
  if (cancelled_) {
    error_ = CallError::kCancelled;
  } else if (error == boost::beast::error::timeout) {
    error_ = CallError::kTimedOut;
  } else if (!tls_error_.empty()) {
    error_ = CallError::kUntrusted;
  } else if (error == asio::error::connection_refused) {
    error_ = CallError::kRefused;
  } else {
    error_ = CallError::kBroken;
  }
  return false;
}

Task<bool> Call::Open(bool fresh) {
  unread_at_ = 0;
  any_byte_ = false;
  if (cancelled_) co_return Fail({});
  if (!fresh) connection_ = pool_.Take(target_);
  if (connection_ && !fresh) co_return true;
  error_code error;
  std::vector<asio::ip::tcp::endpoint> endpoints;
  const auto address = asio::ip::make_address(target_.host, error);
  if (!error) {
    endpoints.emplace_back(address, target_.port);
  } else {
    asio::ip::tcp::resolver resolver(pool_.io());
    const auto [failed, found] = co_await resolver.async_resolve(
        target_.host, std::to_string(target_.port), asio::as_tuple(asio::use_awaitable));
    if (failed || cancelled_) co_return Fail(failed);
    for (const auto& entry : found) endpoints.push_back(entry.endpoint());
  }
  for (const asio::ip::tcp::endpoint& endpoint : endpoints) {
    connection_ = std::make_unique<Connection>(pool_.io());
    error = co_await connection_->stream.Connect(endpoint, pool_.config().connect_timeout);
    if (!error && !cancelled_ && target_.tls != nullptr) {
      error = co_await connection_->stream.Secure(*target_.tls, target_.host,
                                                  pool_.config().connect_timeout);
      if (error) tls_error_ = connection_->stream.tls_error();
    }
    if (!error && !cancelled_) co_return true;
    if (cancelled_ || !tls_error_.empty()) break;
  }
  co_return Fail(error);
}

Task<bool> Call::Ask(std::string_view method, std::string head, std::string_view body,
                     Milliseconds limit, ResponseHead* out) {
  for (bool fresh = false;; fresh = true) {
    if (!co_await Open(fresh)) co_return false;
    const bool reused = connection_->reused;
    bool sent = co_await Send(head, body);
    if (sent || !reused) {
      if (co_await ReadHead(method, limit, out)) co_return true;
    }
    const bool stale = reused && !any_byte_ && error_ == CallError::kBroken && !fresh;
    if (!stale) co_return false;
    error_ = CallError::kNone;
    *out = {};
  }
}

Task<bool> Call::Begin(std::string head) {
  // The body cannot be sent again, so only a connection that is surely open will do.
  bool sent = co_await Open(true);
  if (sent) sent = co_await Send(head, "");
  co_return sent;
}

Task<bool> Call::Send(std::string_view first, std::string_view second) {
  const error_code error =
      co_await connection_->stream.Write(first, second, "", pool_.config().stream_timeout);
  if (!error) sent_ += first.size() + second.size();
  co_return error ? Fail(error) : true;
}

Task<bool> Call::ReadHead(std::string_view method, Milliseconds limit, ResponseHead* out) {
  std::string& bytes = connection_->unread;
  size_t scanned = 0;
  const auto until = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const size_t size = HeadSize(bytes, scanned);
    if (size != 0) {
      *out = {};
      if (ParseResponse(std::string_view(bytes).substr(0, size), method, out) != nullptr ||
          out->status == 101) {
        connection_->stream.Close();
        co_return Fail({});
      }
      if (out->status >= 200) {
        decoder_ = BodyDecoder(out->framing);
        keep_alive_ = out->keep_alive;
        unread_at_ = size;
        co_return true;
      }
      bytes.erase(0, size);
      scanned = 0;
      continue;
    }
    if (bytes.size() > pool_.config().max_header_bytes) {
      connection_->stream.Close();
      co_return Fail({});
    }
    const auto left =
        std::chrono::duration_cast<Milliseconds>(until - std::chrono::steady_clock::now());
    const size_t before = bytes.size();
    const error_code error =
        co_await connection_->stream.Read(bytes, std::max(left, Milliseconds(1)));
    received_ += bytes.size() - before;
    if (!bytes.empty()) any_byte_ = true;
    if (error) co_return Fail(error);
  }
}

std::string_view Call::Come() {
  if (!decoder_.done() && connection_) {
    const std::string& bytes = connection_->unread;
    std::string_view in = std::string_view(bytes).substr(unread_at_);
    const std::string_view piece = decoder_.Take(in);
    unread_at_ = bytes.size() - in.size();
    if (!piece.empty()) return piece;
  }
  Finish();
  return {};
}

Task<bool> Call::More() {
  if (!connection_ || decoder_.done()) co_return false;
  if (decoder_.bad()) {
    connection_->stream.Close();
    co_return Fail({});
  }
  std::string& bytes = connection_->unread;
  Empty(bytes);
  unread_at_ = 0;
  const error_code error = co_await connection_->stream.Read(bytes, pool_.config().stream_timeout);
  received_ += bytes.size();
  if (!error) co_return true;
  if (error == asio::error::eof && !cancelled_ && decoder_.End()) {
    Finish();
    co_return false;
  }
  co_return Fail(error == asio::error::connection_refused ? error_code() : error);
}

Task<std::string_view> Call::Piece() {
  for (;;) {
    const std::string_view piece = Come();
    if (!piece.empty()) co_return piece;
    const bool more = co_await More();
    if (!more) co_return std::string_view();
  }
}

// Gives the connection back, if it can be used again.
void Call::Finish() {
  if (!connection_ || !decoder_.done()) return;
  const bool clean = unread_at_ == connection_->unread.size();
  Empty(connection_->unread);
  if (keep_alive_ && clean && !cancelled_) pool_.Put(target_, std::move(connection_));
  connection_.reset();
}

Task<bool> Call::Whole(std::string* out, size_t max, Milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const std::string_view piece = co_await Piece();
    if (piece.empty()) co_return error_ == CallError::kNone&& decoder_.done();
    if (out->size() + piece.size() > max) {
      Cancel();
      error_ = CallError::kTooLarge;
      co_return false;
    }
    out->append(piece);
    if (std::chrono::steady_clock::now() > until) {
      Cancel();
      error_ = CallError::kTimedOut;
      co_return false;
    }
  }
}

void Call::Cancel() {
  cancelled_ = true;
  if (connection_) connection_->stream.Close();
}

}  // namespace sidecar
