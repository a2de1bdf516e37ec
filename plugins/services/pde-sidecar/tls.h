// TLS on a socket of ours: contexts whose files may change, and sessions.
//
// The plugin owns them, rather than the host: a session is driven by the coroutines that own its
// socket, and an interface for that would be as wide as the part of OpenSSL it hides.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "io.h"

namespace sidecar {

struct TlsOptions {
  bool server = false;
  std::string directory;  // server: holds tls.crt and tls.key; empty: a certificate made now
  // Clients:
  bool verify = true;
  std::string ca_file;  // PEM; empty: the system's
  std::string name;     // that certificates must have; empty: the host that is connected to
};

// What many sessions share. TLS 1.2 and above. Threads: any, but Look one at a time.
class TlsContext : public std::enable_shared_from_this<TlsContext> {
 public:
  // Null, and *why, when a file cannot be used.
  static std::shared_ptr<TlsContext> Create(TlsOptions options, std::string* why);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  enum class Seen : uint8_t { kNothing, kReloaded, kRefused };
  // Looks at the files, to be called now and then. Files that changed and have kept still since the
  // last look are loaded: for new sessions, while those that are open go on. What cannot be used
  // changes nothing, and is told once; *what says what happened.
  Seen Look(std::string* what);
  const TlsOptions& options() const { return options_; }

 private:
  friend class TlsSession;
  explicit TlsContext(TlsOptions options);
  std::shared_ptr<void> Load(bool again, std::string* why) const;  // an SSL_CTX
  std::shared_ptr<void> current() const;
  std::string Stamp() const;

  const TlsOptions options_;
  void* method_ = nullptr;  // BIO_METHOD
  mutable std::mutex mutex_;
  std::shared_ptr<void> context_;  // guarded by mutex_
  std::string loaded_;             // stamps of the files
  std::string seen_;
};

// One session on a socket. Threads: the lane's. Of the coroutines one may read
// while another writes.
class TlsSession : public std::enable_shared_from_this<TlsSession> {
 public:
  // `host`: of a server, that we connect to.
  TlsSession(TlsContext& context, asio::ip::tcp::socket& socket, const std::string& host);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // Operations that are not done in time close the socket.
  Task<error_code> Handshake(Milliseconds limit);
  // Appends what comes, and what else is there already, to `max` bytes. asio::error::eof when the
  // peer has said that no more comes; connection_reset when it left without a word.
  Task<error_code> Read(std::string& buffer, size_t max, Milliseconds limit);
  Task<error_code> Write(std::string_view bytes, Milliseconds limit);
  // Takes what has come without waiting. What it was is given out by the next Read.
  enum class State : uint8_t { kNothing, kBytes, kEnd };
  State Poll();
  // Tells the peer that no more comes.
  void SayEnd();
  // The socket goes away; coroutines that wait for it may be left.
  void Detach() { socket_ = nullptr; }
  // Why the handshake failed.
  const std::string& why() const { return why_; }

 private:
  // True when an operation is done; false when it must wait. *error says how it ended.
  bool Done(int result, error_code* error);
  bool alive() const { return !broken_ && socket_ != nullptr && socket_->is_open(); }
  Task<error_code> Wait(std::chrono::steady_clock::time_point until);

  const std::shared_ptr<TlsContext> context_;
  asio::ip::tcp::socket* socket_;
  void* ssl_ = nullptr;
  asio::steady_timer read_timer_;
  asio::steady_timer write_timer_;
  bool wants_write_ = false;  // of the operation that must wait
  bool timed_out_ = false;
  bool broken_ = false;
  std::string early_;
  std::string why_;
};

}  // namespace sidecar
