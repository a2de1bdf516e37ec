#include "host/serve/history.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "absl/strings/str_format.h"
#include "host/base/atomic_file.h"
#include "host/base/str_cat.h"
#include "host/telemetry/log.h"

namespace epp::serve {
namespace {

constexpr size_t kMaxFileBytes = size_t{32} << 20;
constexpr std::string_view kSuffix = ".attempt";
constexpr size_t kNumberDigits = 12;

// The number in a file name of ours; 0 for any other name.
uint64_t NumberOf(std::string_view name) {
  if (name.size() != kNumberDigits + kSuffix.size() || !name.ends_with(kSuffix)) return 0;
  uint64_t number = 0;
  for (const char c : name.substr(0, kNumberDigits)) {
    if (c < '0' || c > '9') return 0;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  return number;
}

absl::Status Errno(std::string_view what) {
  return absl::InternalError(StrCat(what, ": ", std::strerror(errno)));
}

std::string_view View(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

// Only what we could have written: a plain file of ours that nobody else may change.
absl::StatusOr<std::string> ReadOwn(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (fd.get() < 0) return Errno("open");
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return Errno("fstat");
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError("not a plain file");
  if (info.st_uid != geteuid() || (info.st_mode & 0022) != 0) {
    return absl::InvalidArgumentError("others may write it");
  }
  if (info.st_size < 0 || static_cast<size_t>(info.st_size) > kMaxFileBytes) {
    return absl::InvalidArgumentError("too large");
  }
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = read(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

std::string DirectoryOf(const std::string& path) { return path.substr(0, path.rfind('/') + 1); }

}  // namespace

std::vector<ConfigFile> FilesOf(const config::SourceText* config, const std::string& path) {
  std::vector<ConfigFile> files{{path, config ? config->text : ""}};
  if (!config) return files;
  for (const auto& [relative, included] : config->included) {
    if (included.text) files.push_back({DirectoryOf(path) + relative, included.text->text});
  }
  return files;
}

std::shared_ptr<const config::SourceText> SourceOf(const Attempt& attempt) {
  const ConfigFile& main = attempt.files.front();
  auto config = std::make_shared<config::SourceText>(config::SourceText{main.path, main.text});
  const std::string directory = DirectoryOf(main.path);
  for (const ConfigFile& file : std::span(attempt.files).subspan(1)) {
    if (!file.path.starts_with(directory)) continue;
    config->included[file.path.substr(directory.size())].text =
        std::make_shared<const config::SourceText>(config::SourceText{file.path, file.text});
  }
  return config;
}

bool Attempt::SameContent(const Attempt& other) const {
  const auto pairs = [](const Attempt& of) {
    std::vector<std::pair<std::string_view, std::string_view>> out;
    for (const UsedLibrary& library : of.libraries) out.emplace_back(library.name, library.digest);
    std::ranges::sort(out);
    return out;
  };
  return digest == other.digest && pairs(*this) == pairs(other);
}

void History::Open(const std::string& dir) {
  std::lock_guard lock(mutex_);
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
    why_in_memory_ = StrCat(dir, ": ", std::strerror(errno));
    return;
  }
  const std::string path = StrCat(dir, "/lock");
  lock_ = UniqueFd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (lock_.get() < 0) {
    why_in_memory_ = StrCat(path, ": ", std::strerror(errno));
    return;
  }
  if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    why_in_memory_ = StrCat(path, ": another process keeps its history here");
    return;
  }
  dir_ = dir;
  why_in_memory_.clear();
  std::vector<std::string> names;
  if (DIR* listing = opendir(dir.c_str())) {
    while (const dirent* entry = readdir(listing)) names.emplace_back(entry->d_name);
    closedir(listing);
  }
  std::ranges::sort(names);
  for (const std::string& name : names) {
    if (name != "." && name != ".." && name != "lock") Read(name);
  }
  Drop();
}

void History::Read(const std::string& name) {
  const std::string path = StrCat(dir_, "/", name);
  const auto ignore = [&](std::string_view why) {
    EPP_LOG_EXEMPT(kWarn, "config", "a file of the history is ignored",
                   {{"path", path}, {"why", why}});
  };
  const uint64_t number = NumberOf(name);
  if (number == 0) return ignore("not one of ours");
  next_file_ = std::max(next_file_, number + 1);
  const auto bytes = ReadOwn(path);
  if (!bytes.ok()) return ignore(View(bytes.status()));
  auto attempt = DecodeAttempt(*bytes);
  if (!attempt.ok()) return ignore(View(attempt.status()));
  entries_.push_front({std::make_shared<const Attempt>(*std::move(attempt)), name});
}

std::string History::why_in_memory() const {
  std::lock_guard lock(mutex_);
  return why_in_memory_;
}

void History::Add(Attempt attempt) {
  std::lock_guard lock(mutex_);
  entries_.push_front({std::make_shared<const Attempt>(std::move(attempt)), ""});
  if (!dir_.empty()) Store(entries_.front());
  Drop();
}

void History::Store(Entry& entry) {
  const std::string name = absl::StrFormat("%012d%s", next_file_++, kSuffix.data());
  const absl::Status status =
      WriteFileAtomically(StrCat(dir_, "/", name), EncodeAttempt(*entry.attempt), 0600);
  if (status.ok()) {
    entry.file = name;
    return;
  }
  why_in_memory_ = std::string(View(status));
  EPP_LOG_EXEMPT(kWarn, "config", "the history is kept in memory only from now on",
                 {{"why", why_in_memory_}});
  dir_.clear();
}

// Starts with the same content go first, then the oldest; but neither what serves nor what a
// rollback takes. Restarts and refused attempts must not use up the way back.
void History::Drop() {
  while (entries_.size() > keep_) {
    const uint64_t serving = entries_.front().attempt->serving;
    const auto back = BeforeLocked(serving);
    const auto current = FindLocked(serving);
    auto victim = entries_.end();
    bool repeated = false;
    for (auto it = std::prev(entries_.end()); it != entries_.begin() && !repeated; --it) {
      const Attempt& a = *it->attempt;
      if (it->attempt == back || it->attempt == current) continue;
      if (victim == entries_.end()) victim = it;
      repeated = a.cause == "start" && std::any_of(entries_.begin(), it, [&](const Entry& newer) {
                   return newer.attempt->applied() && newer.attempt->SameContent(a);
                 });
      if (repeated) victim = it;
    }
    if (victim == entries_.end()) return;
    if (!victim->file.empty() && !dir_.empty()) unlink(StrCat(dir_, "/", victim->file).c_str());
    entries_.erase(victim);
  }
}

std::shared_ptr<const Attempt> History::FindLocked(uint64_t generation) const {
  for (const Entry& entry : entries_) {
    if (generation != 0 && entry.attempt->generation == generation) return entry.attempt;
  }
  return nullptr;
}

std::shared_ptr<const Attempt> History::BeforeLocked(uint64_t serving) const {
  const auto current = FindLocked(serving);
  if (!current) return nullptr;
  const uint64_t base = current->restored != 0 ? current->restored : current->generation;
  for (const Entry& entry : entries_) {
    const Attempt& a = *entry.attempt;
    if (a.applied() && a.generation < base && !a.SameContent(*current)) return entry.attempt;
  }
  return nullptr;
}

std::shared_ptr<const Attempt> History::Find(uint64_t generation) const {
  std::lock_guard lock(mutex_);
  return FindLocked(generation);
}

std::shared_ptr<const Attempt> History::Before(uint64_t serving) const {
  std::lock_guard lock(mutex_);
  return BeforeLocked(serving);
}

std::vector<std::shared_ptr<const Attempt>> History::all() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const Attempt>> out;
  for (const Entry& entry : entries_) out.push_back(entry.attempt);
  return out;
}

std::string History::KeptGenerations() const {
  std::vector<uint64_t> numbers;
  for (const auto& attempt : all()) {
    if (attempt->applied()) numbers.push_back(attempt->generation);
  }
  std::ranges::sort(numbers);
  std::string out;
  for (size_t i = 0; i < numbers.size();) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    StrAppend(&out, out.empty() ? "" : ", ", numbers[i]);
    if (last > i) StrAppend(&out, last == i + 1 ? ", " : " to ", numbers[last]);
    i = last + 1;
  }
  return out.empty() ? "none" : out;
}

uint64_t History::last_generation() const {
  uint64_t last = 0;
  for (const auto& attempt : all()) last = std::max({last, attempt->generation, attempt->serving});
  return last;
}

}  // namespace epp::serve
