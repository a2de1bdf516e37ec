// Structured logging: constant text plus keys, one event a line, JSON or text on stderr.
//
//   EPP_LOG(kInfo, "pool", "endpoint joined", {{"endpoint", id}, {"count", 3}});
//
// A disabled line costs one relaxed load. An enabled one is formatted by the caller, then queued;
// a thread of the sink writes. A full queue drops its oldest line and counts it: logging never
// blocks. Each call site may write 10 lines at once and 1 a second after that, the process 200 a
// second; the next line that passes carries `suppressed`. Lines that an operator waits for use
// EPP_LOG_EXEMPT, which no limit touches.
//
// Foreign text is made harmless: JSON escapes, control characters escaped in text form too, strings
// cut at 1 KiB with their length. Never log prompts or header values.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "host/base/clock.h"

namespace epp::log {

enum class Level : int { kError = 0, kWarn = 1, kInfo = 2, kDebug = 3, kTrace = 4 };

// "error" "warn" "info" "debug" "trace".
std::string_view LevelName(Level level);
// A level's name, or "panic" (shown as error), or an integer verbosity.
std::optional<Level> ParseLevel(std::string_view text);
// Up to 3 info, 4 debug, 5 and above trace.
Level LevelFromVerbosity(int verbosity);

// One key and its value, borrowed for the call.
struct Field {
  using Value = std::variant<std::string_view, int64_t, uint64_t, double, bool>;

  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(std::string_view(v)) {}
  Field(std::string_view k, const std::string& v) : key(k), value(std::string_view(v)) {}
  Field(std::string_view k, bool v) : key(k), value(v) {}
  Field(std::string_view k, double v) : key(k), value(v) {}
  template <std::integral Int>
  requires(!std::same_as<Int, bool>) Field(std::string_view k, Int v) : key(k), value(Widen(v)) {}

  std::string_view key;
  Value value;

 private:
  template <std::integral Int>
  static Value Widen(Int v) {
    if constexpr (std::signed_integral<Int>) {
      return static_cast<int64_t>(v);
    } else {
      return static_cast<uint64_t>(v);
    }
  }
};
using Fields = std::initializer_list<Field>;

// The rate limit of one place that logs. Usually made by the macro; a place that logs for many (the
// log service of plugins) keeps one for each.
class Site {
 public:
  constexpr Site() = default;
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

 private:
  friend class Logger;
  std::atomic<uint64_t> next_ns_{0};  // when the allowance is full again
  std::atomic<uint64_t> suppressed_{0};
};

enum class Format { kAuto, kJson, kText, kJournal };

struct Options {
  Level level = Level::kInfo;
  Format format = Format::kAuto;  // text on a terminal, journal under systemd, else JSON
  int fd = 2;                     // borrowed
  size_t queue_lines = 4096;
  const Clock* clock = nullptr;  // null: the real one
  uint32_t site_burst = 10;      // and one a second
  uint32_t lines_per_second = 200;
  bool color = false;  // colour the level in text form
};

// A line as Recent() gives it back.
struct RecentLine {
  uint64_t unix_ns;
  Level level;
  std::string component;
  std::string message;
  std::string json;
};

struct Stats {
  uint64_t written = 0;     // accepted into the queue
  uint64_t suppressed = 0;  // by a limit
  uint64_t dropped = 0;     // by a full queue or a stuck reader
};

// Turns queued logging on while it lives; at most one at a time. Destroy it when no other thread
// logs any more: it writes what is queued, waiting at most a second for a stuck reader. Without
// one, lines go straight to stderr, as text at info.
class Session {
 public:
  explicit Session(const Options& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};

void SetLevel(Level level);
// Overrides for one component ("plugin.queue"); nullopt goes back to the general level.
void SetComponentLevel(std::string_view component, std::optional<Level> level);

// The newest warnings and errors, oldest first, at most 512.
std::vector<RecentLine> Recent();
Stats GetStats();
// Waits until everything logged so far is written or given up; for tests and before exec.
void Flush();

namespace internal {
// The most verbose level that any component has.
inline constinit std::atomic<int> max_level{static_cast<int>(Level::kInfo)};
bool EnabledFor(Level level, std::string_view component);
}  // namespace internal

inline bool Enabled(Level level, std::string_view component) {
  return static_cast<int>(level) <= internal::max_level.load(std::memory_order_relaxed) &&
         internal::EnabledFor(level, component);
}

// Writes one line; prefer the macros. `file` is cut to its base name and shown at debug and trace.
void Write(Level level, Site& site, bool exempt, std::string_view component,
           std::string_view message, Fields fields, const char* file, int line);
inline void Write(Level level, Site& site, bool exempt, std::string_view component,
                  std::string_view message, const char* file, int line) {
  Write(level, site, exempt, component, message, Fields{}, file, line);
}

}  // namespace epp::log

#define EPP_LOG_IMPL(exempt, level_name, component, message, ...)                                \
  do {                                                                                           \
    if (::epp::log::Enabled(::epp::log::Level::level_name, component)) {                         \
      static constinit ::epp::log::Site epp_log_site;                                            \
      ::epp::log::Write(::epp::log::Level::level_name, epp_log_site, exempt, component, message, \
                        __VA_ARGS__ __VA_OPT__(, ) __FILE__, __LINE__);                          \
    }                                                                                            \
  } while (false)

#define EPP_LOG(level_name, component, message, ...) \
  EPP_LOG_IMPL(false, level_name, component, message __VA_OPT__(, ) __VA_ARGS__)
#define EPP_LOG_EXEMPT(level_name, component, message, ...) \
  EPP_LOG_IMPL(true, level_name, component, message __VA_OPT__(, ) __VA_ARGS__)
