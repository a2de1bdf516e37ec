// For tests: the sidecar between fake workers, over real sockets.
#pragma once

#include <memory>
#include <string>

#include "epp/testing.hpp"
#include "fake_worker.h"
#include "gtest/gtest.h"
#include "server.h"

namespace sidecar::test {

struct Rig {
  explicit Rig(Config c = {}) : config(std::move(c)) {
    config.listen = "127.0.0.1";
    config.port = 0;
    config.threads = 1;
    config.prefill_backoff = Milliseconds(5);
  }
  // Listens, with this engine beside.
  void Start(const FakeWorker& engine) {
    config.engine_port = static_cast<uint16_t>(engine.port());
    Start();
  }
  void Start() {
    host.SetCreating(true);
    server = std::make_unique<Server>(config, epp::Host(host.raw()));
    host.SetCreating(false);
    const epp::Status status = server->Start();
    ASSERT_TRUE(status.ok()) << status.message();
  }
  int port() const { return server->port(); }

  Config config;
  epp::test::Host host;
  std::unique_ptr<Server> server;
};

}  // namespace sidecar::test
