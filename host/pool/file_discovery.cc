#include "host/pool/file_discovery.h"

#include <fcntl.h>
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
  if (options_.watch) {
    // Watching starts before reading, so no change falls in between.
    watch_ = std::make_unique<FileWatch>(path_,
                                         FileWatch::Options{.debounce_ns = options_.debounce_ns,
                                                            .poll_ns = options_.poll_ns,
                                                            .retry_ns = options_.retry_ns},
                                         [this] { return ReloadIfChanged(); });
  }
  LoadReport report;
  {
    std::lock_guard lock(mutex_);
    bool unchanged = false;
    report = LoadLocked(true, &unchanged);
  }
  if (watch_ && report.applied) watch_->Start();
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

// On the watching thread. True: read once more before the verdict, it may be half written.
bool Discovery::ReloadIfChanged() {
  LoadReport report;
  bool unchanged = false;
  {
    std::lock_guard lock(mutex_);
    report = LoadLocked(retrying_, &unchanged);
  }
  const bool first_failure = !unchanged && !report.applied && !retrying_;
  retrying_ = first_failure;
  if (!unchanged && !first_failure && options_.on_reload) options_.on_reload(report);
  return first_failure;
}

}  // namespace epp::pool
