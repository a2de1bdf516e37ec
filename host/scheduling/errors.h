// Errors that end a request, and how the client sees them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "epp/abi.h"

namespace epp::scheduling {

// The classes of the reference; each has a fixed HTTP status. kUnknown fails the stream instead.
enum class ErrorCode : uint8_t {
  kUnknown,
  kBadRequest,
  kUnauthorized,
  kForbidden,
  kNotFound,
  kPreconditionFailed,
  kPayloadTooLarge,
  kResourceExhausted,
  kInternal,
  kServiceUnavailable,
};

constexpr std::string_view Name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kBadRequest:
      return "BadRequest";
    case ErrorCode::kUnauthorized:
      return "Unauthorized";
    case ErrorCode::kForbidden:
      return "Forbidden";
    case ErrorCode::kNotFound:
      return "NotFound";
    case ErrorCode::kPreconditionFailed:
      return "PreconditionFailed";
    case ErrorCode::kPayloadTooLarge:
      return "PayloadTooLarge";
    case ErrorCode::kResourceExhausted:
      return "ResourceExhausted";
    case ErrorCode::kInternal:
      return "Internal";
    case ErrorCode::kServiceUnavailable:
      return "ServiceUnavailable";
    case ErrorCode::kUnknown:
      break;
  }
  return "Unknown";
}

// 0 for kUnknown, which has no HTTP answer.
constexpr int HttpStatus(ErrorCode code) {
  switch (code) {
    case ErrorCode::kBadRequest:
      return 400;
    case ErrorCode::kUnauthorized:
      return 401;
    case ErrorCode::kForbidden:
      return 403;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kPreconditionFailed:
      return 412;
    case ErrorCode::kPayloadTooLarge:
      return 413;
    case ErrorCode::kResourceExhausted:
      return 429;
    case ErrorCode::kInternal:
      return 500;
    case ErrorCode::kServiceUnavailable:
      return 503;
    case ErrorCode::kUnknown:
      break;
  }
  return 0;
}

// The class of a plugin's status.
constexpr ErrorCode FromStatus(epp_status status) {
  switch (status) {
    case EPP_INVALID_ARGUMENT:
      return ErrorCode::kBadRequest;
    case EPP_UNAUTHENTICATED:
      return ErrorCode::kUnauthorized;
    case EPP_PERMISSION_DENIED:
      return ErrorCode::kForbidden;
    case EPP_NOT_FOUND:
      return ErrorCode::kNotFound;
    case EPP_FAILED_PRECONDITION:
      return ErrorCode::kPreconditionFailed;
    case EPP_RESOURCE_EXHAUSTED:
      return ErrorCode::kResourceExhausted;
    case EPP_UNAVAILABLE:
      return ErrorCode::kServiceUnavailable;
    default:
      return ErrorCode::kInternal;
  }
}

inline constexpr std::string_view kRejectedSaturated = "rejected-saturated";
inline constexpr std::string_view kRejectedNoEndpoints = "rejected-no-endpoints";

struct Error {
  ErrorCode code = ErrorCode::kUnknown;
  std::string message;
  std::string_view drop_reason;  // a constant; empty for none
};

}  // namespace epp::scheduling
