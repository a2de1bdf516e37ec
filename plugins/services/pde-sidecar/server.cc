#include "server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <list>
#include <map>
#include <thread>

#include "names.h"
#include "reply.h"
#include "session.h"

namespace sidecar {
namespace {

constexpr Milliseconds kIdleGrace{1'000};  // a request may be on its way while we say good-bye
constexpr Milliseconds kDrainTick{100};
constexpr Milliseconds kEngineTick{1'000};
constexpr Milliseconds kFilesTick{250};

// Listening sockets, lent by the host, or our own where the host lends none.
class Sockets {
 public:
  explicit Sockets(epp::Host host)
      : host_(host), table_(host.Extension<epp_host_listener>(EPP_HOST_LISTENER_ID)) {}

  epp::Status Borrow(const std::string& listen, uint16_t port, int* out) {
    const std::string address = listen + ":" + std::to_string(port);
    if (table_ == nullptr) return Open(listen, port, out);
    epp_error err{sizeof(epp_error), EPP_OK, {}};
    const epp_status status = table_->borrow(host_.raw()->ctx, epp::Str(address), out, &err);
    if (status != EPP_OK) return {status, err.message};
    return {};
  }
  void GiveBack(int fd) const {
    if (table_ != nullptr) {
      table_->give_back(host_.raw()->ctx, fd);
    } else {
      ::close(fd);
    }
  }

 private:
  epp::Status Open(const std::string& listen, uint16_t port, int* out) {
    if (const auto it = own_.find(port); it != own_.end()) {
      *out = ::fcntl(it->second, F_DUPFD_CLOEXEC, 0);
      return *out < 0 ? epp::Status(EPP_UNAVAILABLE, "no descriptor is left") : epp::Status();
    }
    std::string host = listen;
    if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
    error_code error;
    const auto address = asio::ip::make_address(host, error);
    if (error) return epp::Status::Invalid("listen address " + listen + ": " + error.message());
    asio::io_context io;
    asio::ip::tcp::acceptor acceptor(io);
    const asio::ip::tcp::endpoint where(address, port);
    acceptor.open(where.protocol(), error);
    if (!error) acceptor.set_option(asio::ip::tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(where, error);
    if (!error) acceptor.listen(4096, error);
    if (error) {
      return {EPP_UNAVAILABLE,
              "cannot listen on " + listen + ":" + std::to_string(port) + ": " + error.message()};
    }
    *out = own_[port] = acceptor.release(error);
    ::fcntl(*out, F_SETFD, FD_CLOEXEC);
    return {};
  }

  const epp::Host host_;
  const epp_host_listener* const table_;
  std::map<uint16_t, int> own_;  // the first lane's descriptors, by port
};

uint16_t PortOf(int fd) {
  sockaddr_storage where{};
  socklen_t size = sizeof(where);
  getsockname(fd, reinterpret_cast<sockaddr*>(&where), &size);
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&where);
  return ntohs(v4->sin_port);  // at the same place in IPv6
}

struct Listener {
  Listener(asio::io_context& io, uint32_t r) : acceptor(io), rank(r) {}
  asio::ip::tcp::acceptor acceptor;
  const uint32_t rank;
};

}  // namespace

struct Server::Impl {
  struct Thread {
    explicit Thread(Shared& shared) : lane(shared) {}
    Sessions sessions;
    Lane lane;
    std::list<Listener> listeners;
    std::thread thread;
  };

  static Config WithNames(Config c) {
    MoriConfig& mori = c.mori;
    if (!mori.write_mode) return c;
    std::vector<std::string> hosts = mori.remote_hosts;
    hosts.insert(hosts.end(), mori.decode_hosts.begin(), mori.decode_hosts.end());
    hosts.push_back(mori.local_host);
    mori.names = std::make_shared<Names>(hosts);
    return c;
  }

  Impl(Config c, epp::Host h) : config(WithNames(std::move(c))), shared(config, h), sockets(h) {
    shared.connector = MakeConnector(config);
  }

  epp::Status Listen(Thread& thread) {
    for (uint32_t rank = 0; rank < config.data_parallel_size; ++rank) {
      int fd = -1;
      const auto port = static_cast<uint16_t>(config.port + rank);
      epp::Status status = sockets.Borrow(config.listen, port, &fd);
      if (!status.ok()) return status;
      if (rank == 0) shared.bound_port.store(PortOf(fd));
      Listener& listener = thread.listeners.emplace_back(thread.lane.io, rank);
      error_code error;
      listener.acceptor.assign(
          config.listen.starts_with('[') ? asio::ip::tcp::v6() : asio::ip::tcp::v4(), fd, error);
      if (error) {
        sockets.GiveBack(fd);
        thread.listeners.pop_back();
        return {EPP_INTERNAL, error.message()};
      }
    }
    return {};
  }

  // On the lane's thread. The socket lives on elsewhere, so it must leave our epoll set before its
  // descriptor is closed; release does that, close would not.
  void StopListening(Thread& thread) {
    for (Listener& listener : thread.listeners) {
      error_code error;
      if (!listener.acceptor.is_open()) continue;
      const int fd = listener.acceptor.release(error);
      if (!error) sockets.GiveBack(fd);
    }
  }

  Task<void> Accept(Thread& thread, Listener& listener) {
    while (listener.acceptor.is_open()) {
      auto [error, socket] =
          co_await listener.acceptor.async_accept(asio::as_tuple(asio::use_awaitable));
      // A connection that was accepted before the listener was given back is served all the same.
      if (error) {
        if (!listener.acceptor.is_open()) co_return;
        // Out of descriptors, most likely.
        if (error != asio::error::connection_aborted) co_await Sleep(thread.lane.io, kDrainTick);
        continue;
      }
      if (shared.connections.fetch_add(1) >= config.max_connections) {
        shared.connections.fetch_sub(1);
        Spawn(thread.lane.io, TurnAway(std::move(socket)));
        continue;
      }
      Spawn(thread.lane.io,
            RunSession(thread.lane, thread.sessions, std::move(socket), listener.rank));
    }
  }

  epp::Status MakeTls() {
    const TlsConfig& tls = config.tls;
    std::string why;
    if (tls.listen) {
      TlsOptions options;
      options.server = true;
      options.directory = tls.cert_path;
      shared.listener_tls = TlsContext::Create(std::move(options), &why);
      if (!shared.listener_tls) return {EPP_UNAVAILABLE, "certPath: " + why};
    }
    for (size_t stage = 0; stage < tls.hops.size(); ++stage) {
      if (!tls.hops[stage].on) continue;
      TlsOptions options;
      options.verify = tls.hops[stage].verify;
      if (options.verify) options.ca_file = tls.ca_file;
      options.name = tls.name;
      shared.hop_tls[stage] = TlsContext::Create(std::move(options), &why);
      if (!shared.hop_tls[stage]) return {EPP_UNAVAILABLE, "tlsCaFile: " + why};
    }
    return {};
  }

  // The first lookups, before anything is served.
  epp::Status FindNames() const {
    const MoriConfig& mori = config.mori;
    if (!mori.names || mori.names->empty()) return {};
    asio::io_context io;
    std::string missing;
    const auto first = [&]() -> Task<void> {
      missing = co_await mori.names->First(Names::System(io, mori.dns_timeout));
    };
    Spawn(io, first());
    io.run();
    if (missing.empty()) return {};
    return {EPP_UNAVAILABLE, "moriio: host " + missing + " has no address"};
  }

  Task<void> FollowNames(Thread& thread) {
    const MoriConfig& mori = config.mori;
    if (!mori.names) co_return;
    const std::vector<epp::Series>& metrics = shared.metrics.names;
    co_await mori.names->Follow(thread.lane.io, mori.dns_ttl,
                                Names::System(thread.lane.io, mori.dns_timeout),
                                [&metrics](Names::News news) {
                                  metrics[0].Add(1);
                                  if (news == Names::News::kChanged) metrics[1].Add(1);
                                  if (news == Names::News::kFailed) metrics[2].Add(1);
                                });
  }

  // Follows the files of certificates.
  Task<void> LookAtFiles(Thread& thread) {
    std::vector<TlsContext*> contexts{shared.listener_tls.get()};
    for (const auto& context : shared.hop_tls) contexts.push_back(context.get());
    std::erase_if(contexts, [](const TlsContext* context) {
      return context == nullptr ||
             (context->options().directory.empty() && context->options().ca_file.empty());
    });
    while (!contexts.empty()) {
      co_await Sleep(thread.lane.io, kFilesTick);
      for (TlsContext* context : contexts) {
        std::string what;
        const TlsContext::Seen seen = context->Look(&what);
        if (seen == TlsContext::Seen::kReloaded) {
          shared.host.Log(EPP_LOG_INFO, "new connections use the certificates now in " + what);
        } else if (seen == TlsContext::Seen::kRefused) {
          shared.host.Log(EPP_LOG_ERROR,
                          "changed certificates are not used, those before stay: " + what);
        }
      }
    }
  }

  Task<void> TurnAway(asio::ip::tcp::socket socket) {
    if (shared.listener_tls) co_return;  // a handshake would cost more than we have
    Stream stream(std::move(socket));
    const RequestHead unknown;
    Reply reply(stream, unknown, config, true);
    co_await reply.Error(503, "ServiceUnavailable", "too many connections");
    stream.FinishWriting();
    std::string ignored;
    co_await stream.Read(ignored, kIdleGrace);
  }

  // Whether the engine takes connections, for readiness.
  Task<void> LookAtEngine(Thread& thread) {
    const Target engine{config.engine_host, config.engine_port};
    for (;;) {
      error_code error;
      const auto address = asio::ip::make_address(engine.host, error);
      if (error) {
        shared.engine_up.store(true);  // a name: the calls will tell
        co_return;
      }
      Stream stream(thread.lane.io);
      const asio::ip::tcp::endpoint where(address, engine.port);
      const error_code failed = co_await stream.Connect(where, config.connect_timeout);
      shared.engine_up.store(!failed);
      stream.Close();
      co_await Sleep(thread.lane.io, kEngineTick);
    }
  }

  Task<void> CloseIdle(Thread& thread) {
    co_await Sleep(thread.lane.io, kIdleGrace);
    for (;;) {
      thread.sessions.CloseIdle(kIdleGrace);
      co_await Sleep(thread.lane.io, kDrainTick);
    }
  }

  const Config config;
  Shared shared;
  Sockets sockets;
  std::vector<std::unique_ptr<Thread>> threads;
};

Server::Server(Config config, epp::Host host)
    : impl_(std::make_unique<Impl>(std::move(config), host)) {}

Server::~Server() { Stop(); }

epp::Status Server::Start() {
  epp::Status ready = impl_->MakeTls();
  if (ready.ok()) ready = impl_->FindNames();
  if (!ready.ok()) return ready;
  for (uint32_t i = 0; i < impl_->config.threads; ++i) {
    auto& thread = impl_->threads.emplace_back(std::make_unique<Impl::Thread>(impl_->shared));
    epp::Status status = impl_->Listen(*thread);
    if (!status.ok()) {
      for (const auto& started : impl_->threads) impl_->StopListening(*started);
      impl_->threads.clear();
      return status;
    }
  }
  Spawn(impl_->threads.front()->lane.io, impl_->LookAtEngine(*impl_->threads.front()));
  Spawn(impl_->threads.front()->lane.io, impl_->LookAtFiles(*impl_->threads.front()));
  Spawn(impl_->threads.front()->lane.io, impl_->FollowNames(*impl_->threads.front()));
  for (const auto& thread : impl_->threads) {
    for (Listener& listener : thread->listeners) {
      Spawn(thread->lane.io, impl_->Accept(*thread, listener));
    }
    thread->thread = std::thread([lane = &thread->lane] { lane->io.run(); });
  }
  return {};
}

void Server::Drain() {
  if (impl_->shared.draining.exchange(true)) return;
  for (const auto& thread : impl_->threads) {
    asio::post(thread->lane.io, [this, thread = thread.get()] {
      impl_->StopListening(*thread);
      Spawn(thread->lane.io, impl_->CloseIdle(*thread));
    });
  }
}

void Server::Stop() {
  for (const auto& thread : impl_->threads) thread->lane.io.stop();
  for (const auto& thread : impl_->threads) {
    if (thread->thread.joinable()) thread->thread.join();
    impl_->StopListening(*thread);
  }
  impl_->threads.clear();
}

uint64_t Server::running() const {
  return impl_->shared.connections.load() + impl_->shared.detached.load();
}

std::string Server::not_ready() const {
  if (impl_->shared.draining.load()) return "draining";
  if (!impl_->shared.engine_up.load()) {
    return "the engine at " + impl_->config.engine_host + ":" +
           std::to_string(impl_->config.engine_port) + " does not accept connections";
  }
  return "";
}

uint16_t Server::port() const { return impl_->shared.bound_port.load(); }

std::string Server::Describe() const {
  const Shared& shared = impl_->shared;
  return R"({"port":)" + std::to_string(port()) + R"(,"connections":)" +
         std::to_string(shared.connections.load()) + R"(,"requests":)" +
         std::to_string(shared.exchanges.load()) + R"(,"detached_prefills":)" +
         std::to_string(shared.detached.load()) + R"(,"engine_up":)" +
         (shared.engine_up.load() ? "true" : "false") + R"(,"draining":)" +
         (shared.draining.load() ? "true" : "false") + "}";
}

}  // namespace sidecar
