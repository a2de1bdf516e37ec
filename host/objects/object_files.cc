#include "host/objects/object_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>

#include "host/base/str_cat.h"
#include "host/base/unique_fd.h"

namespace epp::objects {
namespace {

bool IsYaml(std::string_view name) {
  return !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"));
}

// At most one byte more than is allowed. Nothing, and errno, when it cannot be read.
std::optional<std::string> ReadSome(const std::string& path) {
  // Not blocking, in case somebody put a pipe there.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return std::nullopt;
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return std::nullopt;
  if (!S_ISREG(info.st_mode)) {
    errno = EISDIR;
    return std::nullopt;
  }
  std::string text(kMaxObjectsFileBytes + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(fd.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::nullopt;
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  text.resize(size);
  return text;
}

config::Mark MarkOf(const std::string& path) {
  auto source = std::make_shared<config::SourceText>();
  source->name = path;
  return {std::move(source), 0, 0, 0};
}

}  // namespace

std::vector<std::string> ObjectFiles::Files() const {
  std::set<std::string> files = {endpoints_file_};
  std::error_code error;
  std::filesystem::directory_iterator it(directory_, error);
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!IsYaml(name)) continue;
    std::error_code same;
    if (std::filesystem::equivalent(it->path(), endpoints_file_, same)) continue;
    files.insert(it->path().string());
  }
  return {files.begin(), files.end()};
}

void ObjectFiles::ReadFile(const std::string& path, const std::string& text,
                           std::map<Key, Known>& next, std::vector<std::string>& unusable,
                           ObjectsReport& report) const {
  if (text.size() > kMaxObjectsFileBytes) {
    report.diagnostics.Error(MarkOf(path), "EPP-OBJ-READ",
                             StrCat("is larger than ", kMaxObjectsFileBytes, " bytes"));
    ++report.refused;
    return unusable.push_back(path);
  }
  auto source = std::make_shared<config::SourceText>();
  source->name = path;
  source->text = text;
  ObjectsText parsed = ParseObjects(source, options_.pool, report.diagnostics);
  if (parsed.nameless) {
    ++report.refused;
    unusable.push_back(path);
  }
  for (Object& object : parsed.objects) {
    Key key{object.kind, object.name};
    if (object.refused) {
      ++report.refused;
      const auto former = known_.find(key);
      if (former != known_.end()) next.emplace(std::move(key), former->second);
      continue;
    }
    const auto other = next.find(key);
    if (other != next.end()) {
      report.diagnostics.Warning(object.mark, "EPP-OBJ-DUPLICATE",
                                 StrCat(KindName(object.kind), " \"", object.name, "\" is also in ",
                                        other->second.file, "; this one counts"));
    }
    next.insert_or_assign(std::move(key), Known{std::move(object), path});
  }
}

bool ObjectFiles::LoadLocked(ObjectsReport& report) {
  report.unix_ns = options_.clock->unix_ns();
  std::map<std::string, std::string> texts;
  std::vector<std::string> unusable;
  const std::vector<std::string> files = Files();
  for (const std::string& path : files) {
    if (texts.size() == kMaxObjectsFiles) {
      report.diagnostics.Warning(
          MarkOf(path), "EPP-OBJ-READ",
          StrCat("not read: more than ", kMaxObjectsFiles, " files in the directory have objects"));
      break;
    }
    std::optional<std::string> text = ReadSome(path);
    if (!text) {
      const int error = errno;
      const auto former = texts_.find(path);
      // A file that went between the listing and now is gone; another stays as it was.
      if (error == ENOENT || former == texts_.end()) continue;
      report.diagnostics.Error(MarkOf(path), "EPP-OBJ-READ",
                               StrCat("cannot be read: ", std::strerror(error)));
      ++report.refused;
      unusable.push_back(path);
      texts.insert(*former);
    } else if (MentionsObjects(*text)) {
      texts.emplace(path, *std::move(text));
    }
  }
  const bool unreadable = !unusable.empty();
  if (read_ && texts == texts_ && !unreadable && !unreadable_) return false;
  read_ = true;
  unreadable_ = unreadable;

  std::map<Key, Known> next;
  for (const auto& [path, text] : texts) {
    if (std::ranges::find(unusable, path) == unusable.end()) {
      ReadFile(path, text, next, unusable, report);
    }
  }
  for (const std::string& path : unusable) {
    for (const auto& [key, known] : known_) {
      if (known.file == path) next.emplace(key, known);
    }
  }

  bool current[2] = {false, false};  // by kind: there are some of the newer group
  for (const auto& [key, known] : next) {
    if (!known.object.legacy) current[static_cast<size_t>(key.first)] = true;
  }
  std::vector<Objective> objectives;
  std::vector<ModelRewrite> rewrites;
  for (const auto& [key, known] : next) {
    const Object& object = known.object;
    const bool outdated = object.legacy && current[static_cast<size_t>(key.first)];
    if (outdated) {
      report.diagnostics.Warning(
          object.mark, "EPP-OBJ-LEGACY",
          StrCat(KindName(object.kind), " \"", object.name,
                 "\" is ignored: others of its kind are of the newer API group llm-d.ai"));
    }
    if (outdated || !object.ours) {
      ++report.ignored;
    } else if (object.kind == Kind::kObjective) {
      objectives.push_back(object.objective);
    } else {
      rewrites.push_back(object.rewrite);
    }
  }
  texts_ = std::move(texts);
  known_ = std::move(next);
  report.objects = std::make_shared<const ObjectSet>(std::move(objectives), std::move(rewrites));
  slot_->Publish(report.objects);
  last_ = report;
  return true;
}

ObjectsReport ObjectFiles::Start(std::string endpoints_file, Options options, ObjectSlot* slot) {
  endpoints_file_ = std::move(endpoints_file);
  directory_ = std::filesystem::path(endpoints_file_).parent_path().string();
  if (directory_.empty()) directory_ = ".";
  options_ = std::move(options);
  slot_ = slot;
  if (options_.watch) {
    // Watching starts before reading, so no change falls in between.
    watch_ = std::make_unique<DirWatch>(std::vector{directory_}, &IsYaml, options_.timing,
                                        [this] { Reload(); });
  }
  ObjectsReport report;
  {
    const std::lock_guard lock(mutex_);
    LoadLocked(report);
  }
  if (watch_) watch_->Start();
  return report;
}

void ObjectFiles::Reload() {
  ObjectsReport report;
  {
    const std::lock_guard lock(mutex_);
    if (!LoadLocked(report)) return;
  }
  if (options_.on_change) options_.on_change(report);
}

ObjectsReport ObjectFiles::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

}  // namespace epp::objects
