// Listens, and spreads connections over lanes: one thread each, all accepting from the same
// sockets.
//
// Threads: Start, Drain and Stop one at a time; the rest is for any.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config.h"
#include "epp/plugin.hpp"

namespace sidecar {

class Server {
 public:
  Server(Config config, epp::Host host);
  ~Server();

  // Errors: an address that cannot be listened on.
  epp::Status Start();
  // Takes no new connection; says in answers that the connection ends; closes what is idle.
  void Drain();
  // Cuts what still runs, and joins the threads.
  void Stop();

  // Connections that are open, and prefill requests without one.
  uint64_t running() const;
  // Empty when requests can be served, or why not.
  std::string not_ready() const;
  uint16_t port() const;  // of rank 0
  std::string Describe() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sidecar
