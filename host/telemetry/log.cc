#include "host/telemetry/log.h"

#include <poll.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/sinks/base_sink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "host/telemetry/log_format.h"

namespace epp::log {
namespace {

constexpr size_t kRecentLines = 512;
constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr int kStuckMs = 1000;  // how long the end of a session waits for a reader

// Writes lines to a descriptor; waits for a slow reader except while the session ends.
class FdSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FdSink(int fd) : fd_(fd) {}

  void EndBy(uint64_t mono_ns) { end_ns_.store(mono_ns, std::memory_order_release); }
  uint64_t given_up() const { return given_up_.load(std::memory_order_relaxed); }
  uint64_t handled() const { return handled_.load(std::memory_order_acquire); }

 private:
  // A pipe takes this much without blocking once poll says it is writable.
  static constexpr size_t kPiece = 4096;

  void sink_it_(const spdlog::details::log_msg& message) override {
    std::string_view rest(message.payload.data(), message.payload.size());
    while (!rest.empty()) {
      if (!Writable()) {
        given_up_.fetch_add(1, std::memory_order_relaxed);
        break;
      }
      const ssize_t n = ::write(fd_, rest.data(), std::min(rest.size(), kPiece));
      if (n > 0) {
        rest.remove_prefix(static_cast<size_t>(n));
      } else if (errno != EINTR && errno != EAGAIN) {
        given_up_.fetch_add(1, std::memory_order_relaxed);
        break;
      }
    }
    handled_.fetch_add(1, std::memory_order_release);
  }
  void flush_() override {}

  bool Writable() {
    while (true) {
      const uint64_t end = end_ns_.load(std::memory_order_acquire);
      const bool last_try = end != 0 && Clock::Real().mono_ns() >= end;
      pollfd p{fd_, POLLOUT, 0};
      const int ready = ::poll(&p, 1, last_try ? 0 : 50);
      if (ready > 0) return true;
      if (last_try || (ready < 0 && errno != EINTR)) return false;
    }
  }

  const int fd_;
  std::atomic<uint64_t> end_ns_{0};
  std::atomic<uint64_t> given_up_{0};
  std::atomic<uint64_t> handled_{0};
};

bool UnderJournal(int fd) {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat st {};
  if (stream == nullptr || ::fstat(fd, &st) != 0) return false;
  const std::string own = std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino);
  return own == stream;
}

Format Resolve(const Options& options) {
  if (options.format != Format::kAuto) return options.format;
  if (UnderJournal(options.fd)) return Format::kJournal;
  return ::isatty(options.fd) == 1 ? Format::kText : Format::kJson;
}

// Levels outlive sessions. An override set is immutable once published and never freed, since a
// reader may hold it: operators change it a few times in a process's life.
struct Levels {
  Level general = Level::kInfo;
  std::map<std::string, Level, std::less<>> components;
};

struct LevelStore {
  LevelStore() { all.push_back(now.load()); }
  std::mutex mu;
  std::atomic<const Levels*> now{new Levels};
  std::vector<const Levels*> all;  // keeps old sets reachable
};

LevelStore& Store() {
  static auto* const store = new LevelStore;
  return *store;
}

template <typename Change>
void ChangeLevels(Change change) {
  LevelStore& store = Store();
  std::lock_guard<std::mutex> lock(store.mu);
  auto* next = new Levels(*store.now.load(std::memory_order_acquire));
  change(*next);
  Level most = next->general;
  for (const auto& [component, level] : next->components) most = std::max(most, level);
  store.all.push_back(next);
  store.now.store(next, std::memory_order_release);
  internal::max_level.store(static_cast<int>(most), std::memory_order_relaxed);
}

}  // namespace

// The queue, its thread and the limits. Behind Session.
class Logger {
 public:
  explicit Logger(const Options& options)
      : options_(options),
        format_(Resolve(options)),
        clock_(options.clock != nullptr ? *options.clock : Clock::Real()),
        sink_(std::make_shared<FdSink>(options.fd)),
        pool_(std::make_shared<spdlog::details::thread_pool>(options.queue_lines, 1)),
        queue_(std::make_shared<spdlog::async_logger>(
            "epp", sink_, pool_, spdlog::async_overflow_policy::overrun_oldest)) {
    queue_->set_level(spdlog::level::trace);
  }

  ~Logger() {
    sink_->EndBy(Clock::Real().mono_ns() + uint64_t{kStuckMs} * 1'000'000);
    queue_.reset();
    pool_.reset();
  }

  void Write(Site& site, bool exempt, Line line) {
    const uint64_t now = clock_.mono_ns();
    if (!exempt && (!Take(site.next_ns_, now, kSecondNs, options_.site_burst) ||
                    !Take(process_next_ns_, now, kSecondNs / options_.lines_per_second,
                          options_.lines_per_second))) {
      site.suppressed_.fetch_add(1, std::memory_order_relaxed);
      suppressed_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    line.suppressed = site.suppressed_.exchange(0, std::memory_order_relaxed);
    line.unix_ns = clock_.unix_ns();
    std::string text = format_ == Format::kJson      ? ToJson(line)
                       : format_ == Format::kJournal ? ToJournal(line)
                                                     : ToText(line, options_.color);
    if (line.level <= Level::kWarn) Remember(line, format_ == Format::kJson ? text : ToJson(line));
    text.push_back('\n');
    written_.fetch_add(1, std::memory_order_relaxed);
    queue_->log(spdlog::level::info, spdlog::string_view_t(text.data(), text.size()));
  }

  std::vector<RecentLine> Recent() {
    std::lock_guard<std::mutex> lock(recent_mu_);
    return {recent_.begin(), recent_.end()};
  }

  Stats GetStats() {
    return {written_.load(std::memory_order_relaxed), suppressed_.load(std::memory_order_relaxed),
            pool_->overrun_counter() + sink_->given_up()};
  }

  void Flush() {
    const uint64_t goal = written_.load(std::memory_order_acquire);
    const uint64_t end = Clock::Real().mono_ns() + 5 * kSecondNs;
    while (sink_->handled() + pool_->overrun_counter() < goal && Clock::Real().mono_ns() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 private:
  // A leaky bucket in one word: `next` is when the bucket would be empty again.
  static bool Take(std::atomic<uint64_t>& next, uint64_t now, uint64_t interval, uint32_t burst) {
    uint64_t seen = next.load(std::memory_order_relaxed);
    while (true) {
      const uint64_t base = std::max(seen, now);
      if (base - now > interval * (burst - 1)) return false;
      if (next.compare_exchange_weak(seen, base + interval, std::memory_order_relaxed)) return true;
    }
  }

  void Remember(const Line& line, std::string json) {
    std::lock_guard<std::mutex> lock(recent_mu_);
    if (recent_.size() == kRecentLines) recent_.pop_front();
    recent_.push_back({line.unix_ns, line.level, std::string(line.component),
                       std::string(line.message), std::move(json)});
  }

  const Options options_;
  const Format format_;
  const Clock& clock_;
  std::shared_ptr<FdSink> sink_;
  std::shared_ptr<spdlog::details::thread_pool> pool_;
  std::shared_ptr<spdlog::async_logger> queue_;
  std::atomic<uint64_t> process_next_ns_{0};
  std::atomic<uint64_t> written_{0};
  std::atomic<uint64_t> suppressed_{0};
  std::mutex recent_mu_;
  std::deque<RecentLine> recent_;
};

namespace {
constinit std::atomic<Logger*> active{nullptr};
}  // namespace

std::string_view LevelName(Level level) {
  static constexpr std::string_view kNames[] = {"error", "warn", "info", "debug", "trace"};
  return kNames[static_cast<int>(level)];
}

Level LevelFromVerbosity(int verbosity) {
  if (verbosity >= 5) return Level::kTrace;
  return verbosity == 4 ? Level::kDebug : Level::kInfo;
}

std::optional<Level> ParseLevel(std::string_view text) {
  for (const Level level :
       {Level::kError, Level::kWarn, Level::kInfo, Level::kDebug, Level::kTrace}) {
    if (text == LevelName(level)) return level;
  }
  if (text == "panic") return Level::kError;
  int verbosity = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), verbosity);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return LevelFromVerbosity(verbosity);
}

Session::Session(const Options& options) {
  SetLevel(options.level);
  active.store(new Logger(options), std::memory_order_release);
}

Session::~Session() { delete active.exchange(nullptr, std::memory_order_acq_rel); }

void SetLevel(Level level) {
  ChangeLevels([level](Levels& levels) { levels.general = level; });
}

void SetComponentLevel(std::string_view component, std::optional<Level> level) {
  ChangeLevels([&](Levels& levels) {
    if (level.has_value()) {
      levels.components.insert_or_assign(std::string(component), *level);
    } else if (const auto it = levels.components.find(component); it != levels.components.end()) {
      levels.components.erase(it);
    }
  });
}

bool internal::EnabledFor(Level level, std::string_view component) {
  const Levels& levels = *Store().now.load(std::memory_order_acquire);
  if (levels.components.empty()) return level <= levels.general;
  const auto it = levels.components.find(component);
  return level <= (it == levels.components.end() ? levels.general : it->second);
}

void Write(Level level, Site& site, bool exempt, std::string_view component,
           std::string_view message, Fields fields, const char* file, int line) {
  std::string caller;
  if (level >= Level::kDebug) {
    const char* slash = std::strrchr(file, '/');
    caller = slash == nullptr ? file : slash + 1;
    caller.append(":").append(std::to_string(line));
  }
  Line out{level, 0, component, message, fields, caller, 0};
  if (Logger* logger = active.load(std::memory_order_acquire)) {
    logger->Write(site, exempt, out);
    return;
  }
  out.unix_ns = Clock::Real().unix_ns();
  const std::string text = ToText(out, false) + "\n";
  [[maybe_unused]] const ssize_t n = ::write(2, text.data(), text.size());
}

std::vector<RecentLine> Recent() {
  Logger* logger = active.load(std::memory_order_acquire);
  return logger == nullptr ? std::vector<RecentLine>{} : logger->Recent();
}

Stats GetStats() {
  Logger* logger = active.load(std::memory_order_acquire);
  return logger == nullptr ? Stats{} : logger->GetStats();
}

void Flush() {
  if (Logger* logger = active.load(std::memory_order_acquire)) logger->Flush();
}

}  // namespace epp::log
