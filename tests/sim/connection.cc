#include "tests/sim/connection.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <deque>
#include <optional>
#include <unordered_set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/text.h"

namespace epp::sim {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;

constexpr uint64_t kMaxBodyBytes = 64u << 20;
constexpr uint32_t kMaxHeaderBytes = 256u << 10;
constexpr auto kAcceptRetry = std::chrono::milliseconds(20);

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

std::string_view HttpRequest::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (absl::EqualsIgnoreCase(ToAbsl(key), ToAbsl(name))) return value;
  }
  return {};
}

// The listening socket and its connections; shared with the handlers of pending operations.
class Listener::State : public std::enable_shared_from_this<State> {
 public:
  class Peer;

  State(asio::io_context& io, ConnectionHandler* handler)
      : acceptor_(io), retry_(io), handler_(handler) {}

  absl::Status Open(const std::string& address, uint16_t port);
  void Accept();
  void Close();
  void Forget(const std::shared_ptr<Peer>& peer) { peers_.erase(peer); }

  ConnectionHandler* handler() const { return handler_; }
  uint16_t port() const { return port_; }

 private:
  tcp::acceptor acceptor_;
  asio::steady_timer retry_;
  ConnectionHandler* handler_;  // null once closed
  uint16_t port_ = 0;
  std::unordered_set<std::shared_ptr<Peer>> peers_;
};

class Listener::State::Peer : public Connection, public std::enable_shared_from_this<Peer> {
 public:
  Peer(tcp::socket socket, std::shared_ptr<State> listener)
      : socket_(std::move(socket)), listener_(std::move(listener)) {}

  void Start() { Read(); }

  void Respond(HttpResponse response, size_t body_bytes) override {
    if (closed_) return;
    std::string bytes = Head(response);
    absl::StrAppend(&bytes, "content-length: ", response.body.size(), "\r\n\r\n");
    const bool whole = body_bytes >= response.body.size();
    bytes.append(response.body, 0, body_bytes);
    Enqueue(std::move(bytes));
    if (whole) {
      Complete();
    } else {
      CloseWhenWritten({});
    }
  }

  void StartStream(const HttpResponse& response) override {
    if (closed_) return;
    std::string bytes = Head(response);
    bytes += chunked_ ? "transfer-encoding: chunked\r\n\r\n" : "\r\n";
    Enqueue(std::move(bytes));
  }

  void WriteChunk(std::string_view data) override {
    if (closed_ || data.empty()) return;
    Enqueue(chunked_ ? absl::StrCat(absl::Hex(data.size()), "\r\n", ToAbsl(data), "\r\n")
                     : std::string(data));
  }

  void EndStream() override {
    if (closed_) return;
    if (chunked_) Enqueue("0\r\n\r\n");
    Complete();
  }

  void StreamFrom(std::function<std::string()> source) override {
    source_ = std::move(source);
    Pump();
  }

  void CloseWhenWritten(std::function<void()> then) override {
    if (closed_) return;
    close_when_written_ = true;
    after_close_ = std::move(then);
    Pump();
  }

  void Close() {
    if (std::exchange(closed_, true)) return;
    const auto self = shared_from_this();
    error_code ignored;
    socket_.close(ignored);
    source_ = nullptr;
    listener_->Forget(self);
    if (std::exchange(answering_, false) && listener_->handler() != nullptr) {
      listener_->handler()->OnAbandoned(this);
    }
    if (const auto then = std::exchange(after_close_, nullptr)) then();
  }

 private:
  using Parser = http::request_parser<http::string_body>;

  // A read is always pending, also while answering: it is how a vanished client is noticed.
  void Read() {
    if (reading_ || next_ || closed_) return;
    reading_ = true;
    parser_.emplace();
    parser_->body_limit(kMaxBodyBytes);
    parser_->header_limit(kMaxHeaderBytes);
    http::async_read_header(socket_, buffer_, *parser_,
                            [self = shared_from_this()](error_code error, size_t) {
                              if (error) return self->OnReadError(error);
                              self->ReadBody();
                            });
  }

  void ReadBody() {
    if (closed_) return;
    if (!answering_ && View(parser_->get()[http::field::expect]) == "100-continue") {
      Enqueue("HTTP/1.1 100 Continue\r\n\r\n");
    }
    http::async_read(socket_, buffer_, *parser_,
                     [self = shared_from_this()](error_code error, size_t) {
                       if (error) return self->OnReadError(error);
                       self->reading_ = false;
                       self->next_ = self->parser_->release();
                       self->Dispatch();
                     });
  }

  void OnReadError(error_code error) {
    reading_ = false;
    const bool protocol = error.category() == make_error_code(http::error::bad_method).category() &&
                          error != http::error::end_of_stream &&
                          error != http::error::partial_message;
    // A client may close its half as soon as it has asked; what is written still goes out.
    if (!answering_ && !protocol) return CloseWhenWritten({});
    if (closed_ || answering_) return Close();
    answering_ = true;
    keep_alive_ = false;
    Respond({.status = error == http::error::body_limit ? 413 : 400,
             .content_type = "text/plain; charset=utf-8",
             .headers = {},
             .body = "Invalid HTTP request received."},
            kWholeBody);
  }

  void Dispatch() {
    if (closed_ || answering_ || !next_) return;
    auto message = *std::exchange(next_, std::nullopt);
    HttpRequest request;
    request.method = View(message.method_string());
    const std::string_view target = View(message.target());
    request.path = target.substr(0, target.find('?'));
    for (const auto& field : message) {
      request.headers.emplace_back(View(field.name_string()), View(field.value()));
    }
    request.body = std::move(message.body());
    chunked_ = message.version() >= 11;
    keep_alive_ = message.keep_alive() && chunked_;
    answering_ = true;
    Read();
    if (listener_->handler() == nullptr) return;
    listener_->handler()->OnRequest(shared_from_this(), std::move(request));
  }

  std::string Head(const HttpResponse& response) const {
    std::string head = absl::StrCat(
        "HTTP/1.1 ", response.status, " ",
        ToAbsl(View(http::obsolete_reason(static_cast<http::status>(response.status)))),
        "\r\nserver: uvicorn\r\ncontent-type: ", response.content_type, "\r\n");
    for (const auto& [name, value] : response.headers) {
      absl::StrAppend(&head, name, ": ", value, "\r\n");
    }
    if (!keep_alive_) head += "connection: close\r\n";
    return head;
  }

  void Complete() {
    answering_ = false;
    if (!keep_alive_) return CloseWhenWritten({});
    // Posted, so that a handler is never called from within its own call.
    asio::post(socket_.get_executor(), [self = shared_from_this()] {
      self->Dispatch();
      self->Read();
    });
  }

  void Enqueue(std::string bytes) {
    queue_.push_back(std::move(bytes));
    Pump();
  }

  void Pump() {
    if (closed_ || writing_) return;
    if (queue_.empty() && source_) {
      std::string data = source_();
      if (data.empty()) {
        source_ = nullptr;
        return EndStream();
      }
      return WriteChunk(data);
    }
    if (queue_.empty()) {
      if (close_when_written_) Close();
      return;
    }
    writing_ = true;
    asio::async_write(socket_, asio::buffer(queue_.front()),
                      [self = shared_from_this()](error_code error, size_t) {
                        self->writing_ = false;
                        self->queue_.pop_front();
                        if (error) return self->Close();
                        self->Pump();
                      });
  }

  tcp::socket socket_;
  std::shared_ptr<State> listener_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::optional<Parser::value_type> next_;  // read, but not handed over yet
  std::deque<std::string> queue_;
  std::function<std::string()> source_;
  std::function<void()> after_close_;
  bool reading_ = false;
  bool writing_ = false;
  bool answering_ = false;
  bool chunked_ = true;
  bool keep_alive_ = true;
  bool close_when_written_ = false;
  bool closed_ = false;
};

absl::Status Listener::State::Open(const std::string& address, uint16_t port) {
  error_code error;
  const auto ip = asio::ip::make_address(address, error);
  if (error)
    return absl::InvalidArgumentError(absl::StrCat("bind: got \"", address, "\", want an IP"));
  const tcp::endpoint endpoint(ip, port);
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (!error) port_ = acceptor_.local_endpoint(error).port();
  if (error) {
    return absl::UnavailableError(absl::StrCat(address, ":", port, ": ", error.message()));
  }
  Accept();
  return absl::OkStatus();
}

void Listener::State::Accept() {
  acceptor_.async_accept([self = shared_from_this()](error_code error, tcp::socket socket) {
    if (self->handler_ == nullptr) return;
    if (error) {
      // Out of file descriptors, most likely: trying again at once would spin.
      self->retry_.expires_after(kAcceptRetry);
      self->retry_.async_wait([self](error_code cancelled) {
        if (!cancelled && self->handler_ != nullptr) self->Accept();
      });
      return;
    }
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    const auto peer = std::make_shared<Peer>(std::move(socket), self);
    self->peers_.insert(peer);
    peer->Start();
    self->Accept();
  });
}

void Listener::State::Close() {
  error_code ignored;
  acceptor_.close(ignored);
  retry_.cancel();
  const auto peers = std::exchange(peers_, {});
  for (const auto& peer : peers) peer->Close();
  handler_ = nullptr;
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(asio::io_context& io,
                                                         const std::string& address, uint16_t port,
                                                         ConnectionHandler* handler) {
  auto state = std::make_shared<State>(io, handler);
  if (absl::Status status = state->Open(address, port); !status.ok()) return status;
  return std::unique_ptr<Listener>(new Listener(std::move(state)));
}

Listener::Listener(std::shared_ptr<State> state) : state_(std::move(state)) {}
Listener::~Listener() { state_->Close(); }
uint16_t Listener::port() const { return state_->port(); }

}  // namespace epp::sim
