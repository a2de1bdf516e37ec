// What may be asked of a running process: take the configuration on disk, or go back to an older
// one. POST /admin/reload and POST /admin/rollback.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "host/http/message.h"
#include "host/http/router.h"

namespace epp::admin {

struct Change {
  std::string actor;                    // "uid 0 pid 812"
  std::string reason;                   // of a rollback
  std::string expect;                   // the digest on disk must begin like this; empty: any
  bool force = false;                   // although nothing changed
  std::optional<uint64_t> rollback_to;  // 0: the one before
};

// What it led to, for the client that asked for it.
struct ReloadAnswer {
  int status = 200;  // 404 not kept, 409 refused, 412 another digest
  std::string json;
  std::string text;
};

// A body of POST /admin/reload {"wait_ms", "expect", "force"} or /admin/rollback {"to", "reason",
// "wait_ms"}; empty means {}. Without wait_ms a reload is not waited for, a rollback is.
// Errors: InvalidArgument, for what is unknown, of a wrong type or out of range.
struct ChangeBody {
  Change change;
  std::optional<std::chrono::milliseconds> wait;
};
absl::StatusOr<ChangeBody> ParseReloadBody(std::string_view body);
absl::StatusOr<ChangeBody> ParseRollbackBody(std::string_view body);

// "uid 0 pid 812", or the address.
std::string ActorOf(const http::Peer& peer);

}  // namespace epp::admin
