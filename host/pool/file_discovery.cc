#include "host/pool/file_discovery.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <set>

#include "absl/strings/str_format.h"
#include "epp/plugin.hpp"

namespace epp::pool {
namespace {

constexpr uint32_t kWatchedEvents = IN_MOVED_TO | IN_CREATE | IN_CLOSE_WRITE | IN_DELETE |
                                    IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr uint64_t kRewatchNs = 1'000'000'000;

// ---- The plugin types ----

// Both types are this, so that one accessor serves them.
class FileDiscovery {
 public:
  static constexpr const char* kName = "file-discovery";
  static constexpr const char* kDoc = "Takes the endpoints from a YAML or JSON file.";
  static constexpr std::array kParams{
      String("path", nullptr, "the endpoints file, at most 1 MiB").Required(),
      Bool("watchFile", false, "follow changes of the file")};
  static Result<FileDiscovery> Create(const Context& ctx) {
    return Make<FileDiscovery>(ctx, false);
  }

  const FileDiscoverySettings& settings() const { return settings_; }

 protected:
  template <class T>
  static Result<T> Make(const Context& ctx, bool multicluster) {
    if (ctx.str(0).empty()) return Status::Invalid("path is empty, want the name of a file");
    auto made = std::make_unique<T>();
    made->settings_ = {std::string(ctx.str(0)), ctx.flag(1), multicluster};
    return Result<T>(std::move(made));
  }
  FileDiscoverySettings settings_;

 public:
  FileDiscovery() = default;
};

class MulticlusterFileDiscovery : public FileDiscovery {
 public:
  static constexpr const char* kName = "multicluster-file-discovery";
  static constexpr const char* kDoc =
      "Takes the endpoints, which stand for whole clusters, from a YAML or JSON file; the labels "
      "metricsAddress and metricsPort say where each is scraped.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static Result<MulticlusterFileDiscovery> Create(const Context& ctx) {
    return Make<MulticlusterFileDiscovery>(ctx, true);
  }
};

constexpr const char* kInterfaces[] = {kFileDiscoveryInterface};

const void* GetInterface(void*, const char* id) noexcept {
  // Only its presence means something: what these types do is done by Discovery.
  return std::string_view(id) == kFileDiscoveryInterface ? kInterfaces : nullptr;
}

template <class T>
constexpr epp_plugin_type RecordOf() {
  epp_plugin_type record = detail::Type<T>::kRecord;
  record.interfaces = kInterfaces;
  record.interface_count = 1;
  record.get_interface = &GetInterface;
  return record;
}

}  // namespace

const epp_plugin_type* FileDiscoveryType() {
  static constexpr epp_plugin_type kRecord = RecordOf<FileDiscovery>();
  return &kRecord;
}

const epp_plugin_type* MulticlusterFileDiscoveryType() {
  static constexpr epp_plugin_type kRecord = RecordOf<MulticlusterFileDiscovery>();
  return &kRecord;
}

const FileDiscoverySettings& FileDiscoverySettingsOf(const void* self) {
  return static_cast<const FileDiscovery*>(self)->settings();
}

// ---- Reading ----

Discovery::~Discovery() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  // Cannot fail: the counter is 0 and the descriptor is ours.
  [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

bool Discovery::ReadText(std::string& text, config::Diagnostics& out) const {
  const auto fail = [&](std::string_view what, int error) {
    auto source = std::make_shared<config::SourceText>();
    source->name = path_;
    out.Error({std::move(source), 0, 0, 0}, "EPP-POOL-READ",
              absl::StrFormat("cannot read the endpoints file: %s%s", what,
                              error != 0 ? std::strerror(error) : ""));
    return false;
  };
  // Not blocking, in case somebody put a pipe there.
  const UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail("", errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail("", errno);
  if (!S_ISREG(info.st_mode)) return fail("not a regular file", 0);
  text.resize(kMaxEndpointsFileBytes + 1);
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(fd.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("", errno);
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  text.resize(size);
  return true;
}

LoadReport Discovery::LoadLocked(bool even_if_same, bool* unchanged) {
  LoadReport report;
  report.unix_ns = options_.clock->unix_ns();
  std::string text;
  if (!ReadText(text, report.diagnostics)) {
    // A file that stays away is reported once.
    *unchanged = !even_if_same && read_ && !last_.applied && text_.empty();
    text_.clear();
    read_ = true;
  } else if (!even_if_same && read_ && text == text_) {
    *unchanged = true;
  } else {
    text_ = text;
    read_ = true;
    auto source = std::make_shared<config::SourceText>();
    source->name = path_;
    source->text = std::move(text);
    std::optional<EndpointsFile> file =
        ParseEndpointsFile(std::move(source), options_.multicluster, report.diagnostics);
    if (file) {
      report.applied = true;
      report.refused = file->refused.size();
      Apply(*std::move(file));
    }
  }
  for (const auto& [key, endpoints] : entries_) report.endpoints += endpoints.size();
  if (!*unchanged) last_ = report;
  return report;
}

void Discovery::Apply(EndpointsFile file) {
  std::map<Key, std::vector<Endpoint::Fields>> next;
  for (EndpointsFile::Entry& entry : file.entries) {
    next[{std::move(entry.name_space), std::move(entry.name)}] = std::move(entry.endpoints);
  }
  bool keep_all = false;
  for (EndpointsFile::Refused& refused : file.refused) {
    if (refused.name.empty()) {
      keep_all = true;
      continue;
    }
    Key key{std::move(refused.name_space), std::move(refused.name)};
    const auto former = entries_.find(key);
    if (former != entries_.end()) next.emplace(std::move(key), former->second);
  }
  if (keep_all) next.insert(entries_.begin(), entries_.end());

  std::vector<Endpoint::Fields> all;
  std::set<Key> names;
  // Kept entries come from another version of the file, so a name may be taken by now.
  for (const auto& [key, endpoints] : next) {
    for (const Endpoint::Fields& fields : endpoints) {
      if (names.insert({fields.name_space, fields.name}).second) all.push_back(fields);
    }
  }
  pool_->Replace(std::move(all));
  entries_ = std::move(next);
}

LoadReport Discovery::Start(std::string path, Options options, Pool* pool) {
  path_ = std::move(path);
  options_ = std::move(options);
  pool_ = pool;
  const size_t slash = path_.rfind('/');
  directory_ = slash == std::string::npos ? "." : slash == 0 ? "/" : path_.substr(0, slash);
  file_name_ = slash == std::string::npos ? path_ : path_.substr(slash + 1);

  if (options_.watch) {
    // Watching starts before reading, so no change falls in between.
    inotify_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    stop_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    AddWatch();
  }
  LoadReport report;
  {
    std::lock_guard lock(mutex_);
    bool unchanged = false;
    report = LoadLocked(true, &unchanged);
  }
  if (options_.watch && report.applied) thread_ = std::thread([this] { Watch(); });
  return report;
}

LoadReport Discovery::Reload() {
  std::lock_guard lock(mutex_);
  bool unchanged = false;
  return LoadLocked(true, &unchanged);
}

LoadReport Discovery::last() const {
  std::lock_guard lock(mutex_);
  return last_;
}

// ---- Watching ----

void Discovery::AddWatch() {
  watch_ = ::inotify_add_watch(inotify_.get(), directory_.c_str(), kWatchedEvents);
}

// True when the file may have changed.
bool Discovery::ConsumeEvents() {
  bool touched = false;
  alignas(inotify_event) char buffer[4096];
  for (;;) {
    const ssize_t size = ::read(inotify_.get(), buffer, sizeof(buffer));
    if (size <= 0) return touched;
    for (ssize_t at = 0; at < size;) {
      inotify_event event{};
      std::memcpy(&event, buffer + at, sizeof(event));
      const char* const name = buffer + at + sizeof(event);
      at += static_cast<ssize_t>(sizeof(event) + event.len);
      if (event.mask & IN_Q_OVERFLOW) touched = true;
      if (event.mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) {
        if (event.wd == watch_) {
          if (event.mask & IN_MOVE_SELF) ::inotify_rm_watch(inotify_.get(), watch_);
          watch_ = -1;
        }
        touched = true;
      }
      // A mounted ConfigMap changes by turning the link ..data, of which the file is a part.
      if (event.len > 0 && (file_name_ == name || std::strcmp(name, "..data") == 0)) touched = true;
    }
  }
}

void Discovery::ReloadIfChanged(bool& retrying) {
  LoadReport report;
  bool unchanged = false;
  {
    std::lock_guard lock(mutex_);
    report = LoadLocked(retrying, &unchanged);
  }
  // Perhaps it is half written: the verdict waits for a second look.
  const bool first_failure = !unchanged && !report.applied && !retrying;
  retrying = first_failure;
  if (!unchanged && !first_failure && options_.on_reload) options_.on_reload(report);
}

void Discovery::Watch() {
  const auto now = [] { return Clock::Real().mono_ns(); };
  uint64_t next_poll = now() + options_.poll_ns;
  uint64_t due = ~uint64_t{0};  // of a reading that was asked for
  bool retrying = false;
  for (;;) {
    uint64_t wake = std::min(next_poll, due);
    if (watch_ < 0) wake = std::min(wake, now() + kRewatchNs);
    const uint64_t at = now();
    const uint64_t wait_ms = wake > at ? (wake - at + 999'999) / 1'000'000 : 0;
    pollfd fds[2] = {{inotify_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    ::poll(fds, 2, static_cast<int>(std::min<uint64_t>(wait_ms, 3'600'000)));
    if (fds[1].revents != 0) return;
    if (fds[0].revents != 0 && ConsumeEvents()) due = now() + options_.debounce_ns;
    if (watch_ < 0) {
      AddWatch();
      if (watch_ >= 0) due = now() + options_.debounce_ns;
    }
    if (now() < std::min(due, next_poll)) continue;
    ReloadIfChanged(retrying);
    due = retrying ? now() + options_.retry_ns : ~uint64_t{0};
    next_poll = now() + options_.poll_ns;
  }
}

}  // namespace epp::pool
