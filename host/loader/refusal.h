// The one shape of a loader's error: text, then the code in brackets.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "host/base/str_cat.h"

namespace epp::loader {

inline absl::Status Refuse(std::string_view code, std::string_view message) {
  return absl::FailedPreconditionError(StrCat(message, " [", code, "]"));
}

// Foreign text for a message: in quotes, escaped, at most 200 bytes of it.
inline std::string Quoted(std::string_view text) {
  return StrCat("\"", absl::CHexEscape(std::string(text.substr(0, 200))), "\"");
}

inline std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

// The same status with `where` in front.
inline absl::Status At(std::string_view where, const absl::Status& status) {
  return {status.code(), StrCat(where, ": ", MessageOf(status))};
}

}  // namespace epp::loader
