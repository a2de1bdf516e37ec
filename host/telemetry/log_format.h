// Bytes of a log line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "host/telemetry/log.h"

namespace epp::log {

struct Line {
  Level level;
  uint64_t unix_ns;
  std::string_view component;
  std::string_view message;
  Fields fields;
  std::string_view caller;  // "file.cc:12" or empty
  uint64_t suppressed = 0;
};

// Without a line end.
std::string ToJson(const Line& line);
// "10:15:03.412 info  pool: endpoint joined endpoint=default/a count=3", local time.
std::string ToText(const Line& line, bool color);
// "<6>pool: endpoint joined ...": priority, no time.
std::string ToJournal(const Line& line);

}  // namespace epp::log
