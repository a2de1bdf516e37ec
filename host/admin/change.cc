#include "host/admin/change.h"

#include "host/base/str_cat.h"
#include "nlohmann/json.hpp"

namespace epp::admin {
namespace {

using Json = nlohmann::json;

constexpr std::chrono::milliseconds kRollbackWait{30'000};
constexpr uint64_t kMaxWaitMs = 600'000;
constexpr size_t kMinDigest = 6;  // digits; fewer are met by chance
constexpr size_t kMaxReason = 500;

absl::Status Wrong(std::string_view key, std::string_view want) {
  return absl::InvalidArgumentError(StrCat("\"", key, "\": want ", want));
}

absl::Status Read(std::string_view key, const Json& value, bool rollback, ChangeBody& out) {
  if (key == "wait_ms") {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > kMaxWaitMs) {
      return Wrong(key, StrCat("milliseconds, 0 to ", kMaxWaitMs));
    }
    out.wait = std::chrono::milliseconds(value.get<uint64_t>());
  } else if (key == "expect" && !rollback) {
    const bool text = value.is_string();
    out.change.expect = text ? value.get<std::string>() : "";
    const std::string& digits = out.change.expect;
    if (digits.size() < kMinDigest || digits.size() > 64 ||
        digits.find_first_not_of("0123456789abcdef") != std::string::npos) {
      return Wrong(key, StrCat("a digest, or at least its first ", kMinDigest, " digits"));
    }
  } else if (key == "force" && !rollback) {
    if (!value.is_boolean()) return Wrong(key, "true or false");
    out.change.force = value.get<bool>();
  } else if (key == "to" && rollback) {
    if (!value.is_number_unsigned()) return Wrong(key, "the number of a generation");
    out.change.rollback_to = value.get<uint64_t>();
  } else if (key == "reason" && rollback) {
    if (!value.is_string() || value.get<std::string>().size() > kMaxReason) {
      return Wrong(key, StrCat("a text of at most ", kMaxReason, " bytes"));
    }
    out.change.reason = value.get<std::string>();
  } else {
    return Wrong(key, rollback ? "only to, reason, wait_ms" : "only wait_ms, expect, force");
  }
  return absl::OkStatus();
}

absl::StatusOr<ChangeBody> Parse(std::string_view body, bool rollback) {
  ChangeBody out;
  if (rollback) {
    out.change.rollback_to = 0;
    out.wait = kRollbackWait;
  }
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) return out;
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object()) return absl::InvalidArgumentError("the body is no JSON object");
  for (const auto& [key, value] : json.items()) {
    if (absl::Status status = Read(key, value, rollback, out); !status.ok()) return status;
  }
  return out;
}

}  // namespace

absl::StatusOr<ChangeBody> ParseReloadBody(std::string_view body) { return Parse(body, false); }
absl::StatusOr<ChangeBody> ParseRollbackBody(std::string_view body) { return Parse(body, true); }

std::string ActorOf(const http::Peer& peer) {
  return peer.unix_socket ? StrCat("uid ", peer.uid, " pid ", peer.pid) : peer.address;
}

}  // namespace epp::admin
