#include "host/config/includes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "host/base/str_cat.h"
#include "host/base/unique_fd.h"
#include "host/config/merge.h"

namespace epp::config {
namespace {

// "a/b/c" -> "a/b/"; "c" -> "".
std::string_view DirectoryOf(std::string_view path) { return path.substr(0, path.rfind('/') + 1); }

// `path` as seen from the directory of the config, for a file in `directory` ("" or "a/b/") that
// says `path`; nothing when that leads upwards or starts at the root.
std::optional<std::string> Inside(std::string_view directory, std::string_view path) {
  if (path.empty() || path.front() == '/') return std::nullopt;
  std::string out(directory);
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (part == "..") return std::nullopt;
    if (part.empty() || part == ".") continue;
    if (!out.empty() && out.back() != '/') out += '/';
    out += part;
  }
  if (out == directory) return std::nullopt;
  return out;
}

// Null where there is none, or no map.
Node* Member(Node* map, std::string_view name) {
  if (map == nullptr) return nullptr;
  for (auto& [key, value] : map->members) {
    if (key.text == name) return &value;
  }
  return nullptr;
}

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

class Composer {
 public:
  using Source = std::function<const SourceText::Included*(const std::string& path,
                                                           const std::string& within)>;

  Composer(Source source, Diagnostics& out) : source_(std::move(source)), out_(out) {}

  std::optional<Node> Run(const std::shared_ptr<const SourceText>& config) {
    Node merged;
    const std::string& name = config->name;
    bytes_ = config->text.size();
    File(config, name.substr(DirectoryOf(name).size()), &merged);
    if (out_.errors() > 0) return std::nullopt;
    return merged;
  }

 private:
  void File(const std::shared_ptr<const SourceText>& text, const std::string& path, Node* merged) {
    std::optional<Node> root = ParseDocument(text, out_);
    if (!root) return;
    stack_.push_back(path);
    const std::string directory(DirectoryOf(path));
    if (Node* ours = Member(&*root, "epp")) {
      Includes(*ours, directory, merged);
      std::erase_if(ours->members,
                    [](const auto& member) { return member.first.text == "include"; });
      ShadowFile(*ours, directory);
    }
    stack_.pop_back();
    MergeConfig(std::move(*root), merged, out_);
  }

  void Includes(const Node& ours, const std::string& directory, Node* merged) {
    const Node* includes = ours.Find("include");
    if (includes == nullptr || includes->kind == Node::Kind::kNull) return;
    if (includes->kind != Node::Kind::kList) {
      out_.Error(includes->mark, "EPP-CFG-TYPE",
                 StrCat("epp.include is ", includes->KindName(), ", want a list of paths"));
      return;
    }
    for (const Node& include : includes->items) {
      if (!include.IsText()) {
        out_.Error(include.mark, "EPP-CFG-TYPE",
                   StrCat("an entry of epp.include is ", include.KindName(), ", want a path"));
        continue;
      }
      if (!full_) Include(include, directory, merged);
    }
  }

  void Include(const Node& include, const std::string& directory, Node* merged) {
    const std::optional<std::string> path = Inside(directory, include.text);
    if (!path) {
      Refuse(include, "must be below the directory of the file that includes it",
             "want a relative path without ..");
      return;
    }
    if (std::find(stack_.begin(), stack_.end(), *path) != stack_.end()) {
      std::string chain;
      for (const std::string& file : stack_) StrAppend(&chain, file, " -> ");
      Refuse(include, StrCat("includes itself: ", chain, *path));
      return;
    }
    if (done_.contains(*path)) return;
    if (stack_.size() > kMaxIncludeDepth) {
      Refuse(include, StrCat("is included more than ", kMaxIncludeDepth, " files deep"));
      return;
    }
    if (done_.size() == kMaxIncludedFiles) {
      full_ = true;
      Refuse(include, StrCat("is one too many, want at most ", kMaxIncludedFiles, " files"));
      return;
    }
    done_.insert(*path);
    const SourceText::Included* found = source_(*path, directory);
    if (found == nullptr) {
      Refuse(include, "cannot be found: only a configuration file can include others");
      return;
    }
    if (!found->text) {
      Refuse(include, found->error);
      return;
    }
    // Half of a rewrite in place, most likely.
    if (IsBlank(found->text->text)) {
      Refuse(include, "is empty");
      return;
    }
    bytes_ += found->text->text.size();
    if (bytes_ > kMaxDocumentBytes) {
      full_ = true;
      Refuse(include, StrCat("makes all files of the configuration ", bytes_,
                             " bytes, want at most ", kMaxDocumentBytes));
      return;
    }
    File(found->text, *path, merged);
  }

  void Refuse(const Node& include, std::string_view why, std::string caret = {}) {
    out_.Error(include.mark, "EPP-CFG-INCLUDE", StrCat("include \"", include.text, "\": ", why),
               std::move(caret));
  }

  void ShadowFile(Node& ours, const std::string& directory) {
    Node* const file = Member(Member(&ours, "shadow"), "file");
    if (file == nullptr || !file->IsText() || file->text.empty()) return;
    std::optional<std::string> path = Inside(directory, file->text);
    if (!path) {
      out_.Error(file->mark, "EPP-CFG-INCLUDE",
                 StrCat("epp.shadow.file \"", file->text,
                        "\" must be below the directory of the file that names it"),
                 "want a relative path without ..");
      return;
    }
    file->text = *std::move(path);
  }

  const Source source_;
  Diagnostics& out_;
  std::vector<std::string> stack_;  // files that are being read, the config first
  std::set<std::string> done_;
  size_t bytes_ = 0;
  bool full_ = false;  // a limit was met; further files are not looked at
};

}  // namespace

IncludedFiles::IncludedFiles(std::string config) : directory_(DirectoryOf(config)) {}

SourceText::Included IncludedFiles::Read(const std::string& path, const std::string& within) {
  const auto error = [](int number) {
    return SourceText::Included{nullptr, StrCat("cannot be read: ", std::strerror(number))};
  };
  const auto real = [](const std::string& name) {
    char* const found = ::realpath(name.empty() ? "." : name.c_str(), nullptr);
    std::string out = found ? found : "";
    std::free(found);
    return out;
  };
  const std::string name = directory_ + path;
  std::string tree = real(directory_ + within);
  const std::string place = tree.empty() ? "" : real(name);
  if (place.empty()) return error(errno);
  // A mounted ConfigMap is made of links, but they stay in its directory.
  if (!tree.ends_with('/')) tree += '/';
  if (!place.starts_with(tree)) {
    return {nullptr, StrCat("is a symbolic link out of ", tree)};
  }
  // A pipe must not block, whoever put it there.
  UniqueFd fd(::open(place.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (fd.get() < 0) return error(errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return error(errno);
  if (!S_ISREG(info.st_mode)) return {nullptr, "is not a regular file"};
  std::string text(kMaxDocumentBytes + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(fd.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error(errno);
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  text.resize(size);
  text.shrink_to_fit();
  return {std::make_shared<const SourceText>(SourceText{name, std::move(text)}), ""};
}

std::shared_ptr<const SourceText> ReadIncludes(SourceText config, IncludeReader& reader) {
  auto out = std::make_shared<SourceText>(std::move(config));
  Diagnostics ignored;
  Composer(
      [&](const std::string& path, const std::string& within) {
        return &out->included.emplace(path, reader.Read(path, within)).first->second;
      },
      ignored)
      .Run(out);
  return out;
}

std::optional<Node> Compose(const std::shared_ptr<const SourceText>& config, Diagnostics& out) {
  return Composer(
             [&](const std::string& path, const std::string&) {
               const auto found = config->included.find(path);
               return found == config->included.end() ? nullptr : &found->second;
             },
             out)
      .Run(config);
}

std::set<std::string> IncludedPaths(const SourceText& config) {
  std::set<std::string> out;
  for (const auto& [path, included] : config.included) {
    out.insert(StrCat(DirectoryOf(config.name), path));
  }
  return out;
}

}  // namespace epp::config
