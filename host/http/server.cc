#include "host/http/server.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/optional.hpp>
#include <chrono>
#include <cstring>
#include <set>
#include <thread>

#include "absl/strings/str_format.h"
#include "host/base/hostport.h"
#include "host/base/mutex.h"
#include "host/http/exchange.h"
#include "host/http/resolver.h"
#include "host/http/unix_socket.h"

namespace epp::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
using Protocol = asio::generic::stream_protocol;
using Socket = Protocol::socket;
using TlsSocket = asio::ssl::stream<Socket>;
using TlsContext = asio::ssl::context;

bool CleanHeader(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

std::string_view View(boost::string_view text) { return {text.data(), text.size()}; }

std::string HeadOf(const Response& response, std::string_view framing, bool keep) {
  std::string out =
      absl::StrFormat("HTTP/1.1 %d %s\r\n", response.status, StatusText(response.status));
  if (!response.content_type.empty() && CleanHeader(response.content_type)) {
    out.append("Content-Type: ").append(response.content_type).append("\r\n");
  }
  for (const auto& [name, value] : response.headers) {
    if (!name.empty() && CleanHeader(name) && CleanHeader(value)) {
      out.append(name).append(": ").append(value).append("\r\n");
    }
  }
  out.append("X-Content-Type-Options: nosniff\r\n").append(framing);
  return out.append(keep ? "\r\n" : "Connection: close\r\n\r\n");
}

Peer PeerOf(int fd) {
  Peer peer;
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return peer;
  if (address.ss_family == AF_UNIX) {
    peer.unix_socket = true;
    ucred credentials{};
    length = sizeof(credentials);
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) {
      peer.uid = credentials.uid;
      peer.gid = credentials.gid;
      peer.pid = credentials.pid;
    }
    return peer;
  }
  char host[64] = "";
  char port[8] = "0";
  ::getnameinfo(reinterpret_cast<sockaddr*>(&address), length, host, sizeof(host), port,
                sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
  peer.address = JoinHostPort(host, static_cast<uint16_t>(std::atoi(port)));
  return peer;
}

absl::StatusOr<std::shared_ptr<TlsContext>> MakeTls(const TlsServerOptions& options) {
  auto context = std::make_shared<TlsContext>(TlsContext::tls_server);
  error_code error;
  const auto bad = [&](const char* what) {
    return absl::InvalidArgumentError(absl::StrFormat("tls: %s: %s", what, error.message()));
  };
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  context->use_certificate_chain(asio::buffer(options.cert_pem), error);
  if (error) return bad("certificate");
  context->use_private_key(asio::buffer(options.key_pem), TlsContext::pem, error);
  if (error) return bad("key");
  if (SSL_CTX_check_private_key(context->native_handle()) != 1) {
    return absl::InvalidArgumentError("tls: key: does not belong to the certificate");
  }
  if (!options.client_ca_pem.empty()) {
    context->add_certificate_authority(asio::buffer(options.client_ca_pem), error);
    if (error) return bad("client certificate authority");
    context->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert,
                             error);
    if (error) return bad("client certificate authority");
  }
  return context;
}

absl::StatusOr<UniqueFd> ListenTcp(const std::string& text) {
  auto parsed = SplitHostPort(text);
  if (!parsed.ok()) return parsed.status();
  std::vector<std::string> hosts = {parsed->host};
  if (parsed->host.empty()) hosts = {"::", "0.0.0.0"};
  if (parsed->host == "localhost") hosts = {"127.0.0.1", "::1"};
  int error = 0;
  for (const std::string& host : hosts) {
    const auto address = ParseAddress(host, parsed->port);
    if (!address.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("listen %s: want an address, not a name", text));
    }
    UniqueFd fd(
        ::socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int on = 1, off = 0;
    if (fd) {
      ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
      if (host == "::") {
        ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
      }
      if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address->storage), address->length) ==
              0 &&
          ::listen(fd.get(), 128) == 0) {
        return fd;
      }
    }
    error = errno;
    if (error == EADDRINUSE) break;
  }
  const std::string message = absl::StrFormat("listen %s: %s", text, std::strerror(error));
  if (error == EADDRINUSE) return absl::AlreadyExistsError(message);
  if (error == EACCES) return absl::PermissionDeniedError(message);
  if (error == EADDRNOTAVAIL) return absl::InvalidArgumentError(message);
  return absl::InternalError(message);
}

uint16_t PortOf(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  if (address.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
  }
  return address.ss_family == AF_INET6
             ? ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port)
             : 0;
}

// What the server tells its connections.
class Closer {
 public:
  virtual ~Closer() = default;
  virtual void CloseNow() = 0;
};

struct Shared {
  ServerOptions options;
  Router router;
  std::shared_ptr<internal::Poster> poster;
  std::set<std::shared_ptr<Closer>> connections;  // the server's thread only
  std::atomic<size_t> count{0};
};

// One connection: read a request, wait for its answer, write it, again. All on one thread.
template <typename StreamType>
class Connection final : public Closer,
                         public internal::Sink,
                         public std::enable_shared_from_this<Connection<StreamType>> {
 public:
  Connection(StreamType stream, std::shared_ptr<TlsContext> tls, std::shared_ptr<Shared> shared,
             size_t listener)
      : tls_(std::move(tls)),
        stream_(std::move(stream)),
        shared_(std::move(shared)),
        listener_(listener),
        timer_(stream_.get_executor()),
        peer_(PeerOf(socket().native_handle())) {}

  void Start(bool too_many) {
    shared_->connections.insert(Self());
    shared_->count.store(shared_->connections.size(), std::memory_order_relaxed);
    too_many_ = too_many;
    if constexpr (std::is_same_v<StreamType, TlsSocket>) {
      Deadline(shared_->options.header_timeout);
      stream_.async_handshake(asio::ssl::stream_base::server, [self = Self()](error_code error) {
        error ? self->CloseNow() : self->AfterHandshake();
      });
    } else {
      AfterHandshake();
    }
  }

  void CloseNow() override {
    if (closed_) return;
    closed_ = true;
    error_code ignored;
    timer_.cancel();
    socket().shutdown(Socket::shutdown_both, ignored);
    socket().close(ignored);
    if (auto exchange = std::exchange(exchange_, nullptr)) exchange->Close();
    shared_->connections.erase(Self());
    shared_->count.store(shared_->connections.size(), std::memory_order_relaxed);
  }

  void SendWhole(Response response) override {
    if (closed_ || exchange_ == nullptr) return;
    const bool bodiless = response.status == 204 || response.status == 304;
    if (bodiless) response.body.clear();
    const std::string length =
        bodiless ? "" : absl::StrFormat("Content-Length: %d\r\n", response.body.size());
    output_ = HeadOf(response, length, keep_);
    if (!head_request_) output_ += response.body;
    Flush([self = Self()] { self->EndExchange(); });
  }

  void StartStream(Response head) override {
    if (closed_ || exchange_ == nullptr) return;
    chunked_ = http11_;
    if (!chunked_) keep_ = false;
    streaming_ = true;
    output_ = HeadOf(head, chunked_ ? "Transfer-Encoding: chunked\r\n" : "", keep_);
    if (head_request_) {
      Flush([self = Self()] { self->EndExchange(); });
      return;
    }
    Flush([self = Self()] { self->Flushed(); });
    WatchForClose();
  }

  void Drain() override {
    if (closed_ || !streaming_ || exchange_ == nullptr || head_request_) return;
    if (exchange_->Overflowed()) {
      CloseNow();
      return;
    }
    if (writing_) return;
    bool ended = false;
    std::string pieces = exchange_->TakePending(&ended);
    if (pieces.empty() && !ended) return;
    in_flight_ = pieces.size();
    output_.clear();
    if (!pieces.empty()) {
      if (chunked_) {
        output_ = absl::StrFormat("%x\r\n", pieces.size());
        output_.append(pieces).append("\r\n");
      } else {
        output_ = std::move(pieces);
      }
    }
    if (!ended) {
      Flush([self = Self()] { self->Flushed(); });
      return;
    }
    if (chunked_) output_.append("0\r\n\r\n");
    // The read that watches for the client's end would eat the next request.
    keep_ = false;
    Flush([self = Self()] { self->EndExchange(); });
  }

 private:
  using Parser = beast::http::request_parser<beast::http::string_body>;

  std::shared_ptr<Connection> Self() { return this->shared_from_this(); }

  Socket& socket() {
    if constexpr (std::is_same_v<StreamType, TlsSocket>) {
      return stream_.next_layer();
    } else {
      return stream_;
    }
  }

  // Ends the connection unless the next Deadline comes first.
  void Deadline(absl::Duration after) {
    timer_.expires_after(absl::ToChronoNanoseconds(after));
    timer_.async_wait([self = Self()](error_code error) {
      if (!error) self->CloseNow();
    });
  }
  void NoDeadline() { timer_.cancel(); }

  void AfterHandshake() {
    if (too_many_) {
      Refuse(503, "too many connections\n");
    } else {
      AwaitRequest();
    }
  }

  void AwaitRequest() {
    if (buffer_.size() != 0) {
      ReadHead();
      return;
    }
    Deadline(shared_->options.idle_timeout);
    stream_.async_read_some(buffer_.prepare(4096), [self = Self()](error_code error, size_t n) {
      if (error) {
        self->CloseNow();
        return;
      }
      self->buffer_.commit(n);
      self->ReadHead();
    });
  }

  void ReadHead() {
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(shared_->options.max_header_bytes));
    parser_->body_limit(shared_->options.max_body_bytes);
    Deadline(shared_->options.header_timeout);
    beast::http::async_read_header(stream_, buffer_, *parser_,
                                   [self = Self()](error_code error, size_t) {
                                     error ? self->BadRequest(error) : self->ReadBody();
                                   });
  }

  void ReadBody() {
    const auto& message = parser_->get();
    http11_ = message.version() >= 11;
    Deadline(shared_->options.body_timeout);
    if (beast::iequals(message[beast::http::field::expect], "100-continue")) {
      output_ = "HTTP/1.1 100 Continue\r\n\r\n";
      asio::async_write(stream_, asio::buffer(output_), [self = Self()](error_code error, size_t) {
        error ? self->CloseNow() : self->ReadRest();
      });
      return;
    }
    ReadRest();
  }

  void ReadRest() {
    beast::http::async_read(stream_, buffer_, *parser_, [self = Self()](error_code error, size_t) {
      error ? self->BadRequest(error) : self->Dispatch();
    });
  }

  void BadRequest(error_code code) {
    if (closed_) return;
    using Error = beast::http::error;
    if (code == Error::header_limit) {
      Refuse(431, "headers too large\n");
    } else if (code == Error::body_limit) {
      Refuse(413, "body too large\n");
    } else if (code.category() == make_error_code(Error::bad_method).category() &&
               code != Error::end_of_stream && code != Error::partial_message) {
      Refuse(400, "malformed request\n");
    } else {
      CloseNow();
    }
  }

  // Answers outside of any handler and ends the connection.
  void Refuse(int status, std::string text) {
    keep_ = head_request_ = false;
    output_ = HeadOf({.status = status, .content_type = "text/plain", .body = ""},
                     absl::StrFormat("Content-Length: %d\r\n", text.size()), false) +
              text;
    Flush([self = Self()] { self->LingerClose(); });
  }

  void Dispatch() {
    NoDeadline();
    auto message = parser_->release();
    Request request;
    request.method = View(message.method_string());
    const std::string_view target = View(message.target());
    const size_t question = std::min(target.find('?'), target.size());
    request.path = target.substr(0, question);
    if (question < target.size()) request.query = target.substr(question + 1);
    for (const auto& field : message) {
      request.headers.emplace_back(View(field.name_string()), View(field.value()));
    }
    request.body = std::move(message.body());
    request.peer = peer_;
    request.listener = listener_;
    keep_ = message.keep_alive();
    head_request_ = request.method == "HEAD";
    streaming_ = false;
    exchange_ = std::make_shared<internal::Exchange>(
        shared_->poster, std::weak_ptr<internal::Sink>(Self()), shared_->options.max_pending_bytes);
    Responder responder(exchange_);
    Router::Match match = shared_->router.Find(request.method, request.path);
    if (match.handler != nullptr) {
      request.params = std::move(match.params);
      (*match.handler)(std::move(request), std::move(responder));
      return;
    }
    Response response{.status = match.status, .content_type = "text/plain", .body = ""};
    if (match.status != 204) response.body = std::string(StatusText(match.status)) + "\n";
    if (!match.allow.empty()) response.headers.emplace_back("Allow", match.allow);
    responder.Send(std::move(response));
  }

  // Writes output_, then goes on with `next`.
  template <typename Next>
  void Flush(Next next) {
    writing_ = true;
    Deadline(shared_->options.write_timeout);
    WriteSome(0, std::move(next));
  }

  template <typename Next>
  void WriteSome(size_t from, Next next) {
    stream_.async_write_some(
        asio::buffer(output_.data() + from, output_.size() - from),
        [self = Self(), from, next = std::move(next)](error_code error, size_t n) mutable {
          if (error || self->closed_) {
            self->CloseNow();
          } else if (from + n < self->output_.size()) {
            // Progress buys more time: the limit is for a reader that stands still.
            self->Deadline(self->shared_->options.write_timeout);
            self->WriteSome(from + n, std::move(next));
          } else {
            self->writing_ = false;
            self->NoDeadline();
            next();
          }
        });
  }

  void Flushed() {
    if (exchange_ == nullptr) return;
    exchange_->Sent(std::exchange(in_flight_, 0));
    Drain();
  }

  void EndExchange() {
    if (auto exchange = std::exchange(exchange_, nullptr)) exchange->Close();
    streaming_ = false;
    if (keep_ && !closed_) {
      AwaitRequest();
    } else {
      LingerClose();
    }
  }

  // Ends our side, then waits a little for the client's: closing with unread input would reset the
  // connection and destroy the answer on its way.
  void LingerClose() {
    if (closed_) return;
    error_code ignored;
    socket().shutdown(Socket::shutdown_send, ignored);
    Deadline(absl::Seconds(1));
    SkipInput();
  }

  void SkipInput() {
    socket().async_read_some(asio::buffer(scratch_), [self = Self()](error_code error, size_t n) {
      self->skipped_ += n;
      if (error || self->closed_ || self->skipped_ > 1024 * 1024) {
        self->CloseNow();
      } else {
        self->SkipInput();
      }
    });
  }

  // While a stream runs, the client has nothing to say; its end must not go unnoticed.
  void WatchForClose() {
    stream_.async_read_some(asio::buffer(scratch_), [self = Self()](error_code error, size_t) {
      if (self->closed_ || !self->streaming_) return;
      error ? self->CloseNow() : self->WatchForClose();
    });
  }

  std::shared_ptr<TlsContext> tls_;  // outlives stream_
  StreamType stream_;
  std::shared_ptr<Shared> shared_;
  const size_t listener_;
  asio::steady_timer timer_;
  const Peer peer_;
  beast::flat_buffer buffer_;
  boost::optional<Parser> parser_;
  std::shared_ptr<internal::Exchange> exchange_;
  std::string output_;
  char scratch_[512];
  size_t in_flight_ = 0;
  size_t skipped_ = 0;
  bool http11_ = true;
  bool keep_ = false;
  bool head_request_ = false;
  bool streaming_ = false;
  bool chunked_ = false;
  bool writing_ = false;
  bool closed_ = false;
  bool too_many_ = false;
};

}  // namespace

class Server::Impl final : public internal::Poster, public std::enable_shared_from_this<Impl> {
 public:
  explicit Impl(const ServerOptions& options) : io_(1), work_(asio::make_work_guard(io_)) {
    shared_ = std::make_shared<Shared>();
    shared_->options = options;
  }

  absl::Status Open(Router router) {
    shared_->router = std::move(router);
    shared_->poster = shared_from_this();
    for (size_t i = 0; i < shared_->options.listen.size(); ++i) {
      const Listen& listen = shared_->options.listen[i];
      auto listener = std::make_unique<Listener>(io_);
      listener->index = i;
      if (listen.tls.has_value()) {
        auto tls = MakeTls(*listen.tls);
        if (!tls.ok()) return tls.status();
        listener->tls = *tls;
      }
      auto fd = listen.unix_path.empty() ? ListenTcp(listen.tcp)
                                         : ListenUnix(listen.unix_path, listen.mode, listen.group);
      if (!fd.ok()) return fd.status();
      listener->port = PortOf(fd->get());
      if (!listen.unix_path.empty()) {
        listener->path = listen.unix_path;
        listener->file = FileAt(listen.unix_path);
      }
      int family = AF_UNIX;
      socklen_t length = sizeof(family);
      ::getsockopt(fd->get(), SOL_SOCKET, SO_DOMAIN, &family, &length);
      error_code error;
      listener->acceptor.assign(Protocol(family, 0), fd->get(), error);
      if (error) return absl::InternalError("listen: " + error.message());
      (void)fd->release();
      listeners_.push_back(std::move(listener));
    }
    for (auto& listener : listeners_) Accept(*listener);
    thread_ = std::thread([this] { Run(); });
    return absl::OkStatus();
  }

  // Ends everything; the object may live on in responders.
  void Stop() {
    if (thread_.joinable()) {
      Post([this] {
        error_code ignored;
        for (auto& listener : listeners_) listener->acceptor.close(ignored);
        const auto connections = shared_->connections;
        for (const auto& connection : connections) connection->CloseNow();
        work_.reset();
      });
      {
        MutexLock lock(&mu_);
        stopped_ = true;
      }
      thread_.join();
    }
    for (const auto& listener : listeners_) UnlinkIf(listener->path, listener->file);
    listeners_.clear();
    shared_->poster.reset();
  }

  bool Post(std::function<void()> fn) override {
    MutexLock lock(&mu_);
    if (stopped_) return false;
    asio::post(io_, std::move(fn));
    return true;
  }

  uint16_t port(size_t i) const { return i < listeners_.size() ? listeners_[i]->port : 0; }
  size_t connections() const { return shared_->count.load(std::memory_order_relaxed); }

  absl::Status ReplaceTls(size_t i, const TlsServerOptions& options) {
    if (i >= listeners_.size() || !shared_->options.listen[i].tls.has_value()) {
      return absl::InvalidArgumentError("tls: not a listener with tls");
    }
    auto tls = MakeTls(options);
    if (!tls.ok()) return tls.status();
    Post([this, i, tls = *tls] { listeners_[i]->tls = tls; });
    return absl::OkStatus();
  }

 private:
  struct Listener {
    explicit Listener(asio::io_context& io) : acceptor(io), retry(io) {}
    size_t index = 0;
    asio::basic_socket_acceptor<Protocol> acceptor;
    asio::steady_timer retry;
    std::shared_ptr<TlsContext> tls;
    uint16_t port = 0;
    std::string path;
    FileId file;
  };

  void Run() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    pthread_setname_np(pthread_self(), shared_->options.thread_name.substr(0, 15).c_str());
    io_.run();
  }

  void Accept(Listener& listener) {
    listener.acceptor.async_accept([this, &listener](error_code error, Socket socket) {
      if (error == asio::error::operation_aborted || !listener.acceptor.is_open()) return;
      if (error) {
        // Out of descriptors, most likely: trying again at once would spin.
        listener.retry.expires_after(std::chrono::milliseconds(100));
        listener.retry.async_wait([this, &listener](error_code) {
          if (listener.acceptor.is_open()) Accept(listener);
        });
        return;
      }
      Welcome(listener, std::move(socket));
      Accept(listener);
    });
  }

  void Welcome(Listener& listener, Socket socket) {
    const size_t open = shared_->connections.size();
    const size_t limit = shared_->options.max_connections;
    // Refusals are connections, too: beyond twice the limit there is not even an answer.
    if (open >= limit * 2) return;
    const int on = 1;  // fails on a Unix socket, which has no such delay
    ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (listener.tls != nullptr) {
      std::make_shared<Connection<TlsSocket>>(TlsSocket(std::move(socket), *listener.tls),
                                              listener.tls, shared_, listener.index)
          ->Start(open >= limit);
    } else {
      std::make_shared<Connection<Socket>>(std::move(socket), nullptr, shared_, listener.index)
          ->Start(open >= limit);
    }
  }

  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::shared_ptr<Shared> shared_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Router router) {
  auto impl = std::make_shared<Impl>(options);
  if (absl::Status status = impl->Open(std::move(router)); !status.ok()) {
    impl->Stop();
    return status;
  }
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::~Server() { impl_->Stop(); }

uint16_t Server::port(size_t listener) const { return impl_->port(listener); }
size_t Server::connections() const { return impl_->connections(); }

absl::Status Server::ReplaceTls(size_t listener, const TlsServerOptions& tls) {
  return impl_->ReplaceTls(listener, tls);
}

}  // namespace epp::http
