#include "host/loader/catalog.h"

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "host/base/str_cat.h"
#include "host/loader/record_lint.h"
#include "host/loader/refusal.h"

namespace epp::loader {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};

// Names of the .so files of a directory, sorted, without the suffix.
absl::StatusOr<std::vector<std::string>> ListLibraries(const std::string& dir) {
  const std::unique_ptr<DIR, CloseDir> listing(opendir(dir.c_str()));
  if (!listing) {
    if (errno == ENOENT) return absl::NotFoundError(dir);
    return Refuse("EPP-LOAD-READ", StrCat(dir, ": ", strerror(errno)));
  }
  std::vector<std::string> names;
  while (const dirent* entry = readdir(listing.get())) {
    const std::string_view name = entry->d_name;
    if (name.size() > 3 && name[0] != '.' && name.ends_with(".so")) {
      names.emplace_back(name.substr(0, name.size() - 3));
    }
  }
  std::ranges::sort(names);
  return names;
}

std::string From(const TypeEntry& entry) {
  return entry.library ? entry.library->info().path : std::string("the host itself");
}

}  // namespace

bool TypeEntry::Implements(std::string_view interface_id) const {
  const std::span<const char* const> ids(type->interfaces, type->interface_count);
  return std::ranges::any_of(ids, [&](const char* id) { return interface_id == id; });
}

void FoundLibraries::RefuseIf(const std::function<absl::Status(const LibraryFile&)>& why) {
  std::erase_if(files, [&](const std::shared_ptr<const LibraryFile>& file) {
    const absl::Status status = why(*file);
    if (status.ok()) return false;
    const std::string& path = file->info().path;
    refused.push_back({path, At(StrCat("library ", path), status)});
    return true;
  });
}

FoundLibraries FindLibraries(std::span<const std::string> dirs, const LoadOptions& options) {
  FoundLibraries found;
  for (const std::string& dir : dirs) {
    const absl::StatusOr<std::vector<std::string>> names = ListLibraries(dir);
    if (absl::IsNotFound(names.status())) continue;
    if (!names.ok()) {
      found.refused.push_back({dir, names.status()});
      continue;
    }
    for (const std::string& name : *names) {
      absl::StatusOr<std::shared_ptr<const LibraryFile>> file =
          LibraryFile::Read(dir, name, options);
      if (file.ok()) {
        found.files.push_back(*std::move(file));
      } else {
        found.refused.push_back({StrCat(dir, "/", name, ".so"), file.status()});
      }
    }
  }
  return found;
}

Catalog Catalog::Load(FoundLibraries found, const LoadOptions& options) {
  Catalog catalog;
  std::set<std::string> digests;
  for (const auto& file : found.files) digests.insert(file->info().digest);
  size_t retired = 0;
  for (const std::string& digest : Library::MappedDigests()) retired += !digests.contains(digest);
  if (options.max_retired != 0 && retired > options.max_retired) {
    found.RefuseIf([&](const LibraryFile& file) {
      if (Library::IsMapped(file.info().digest)) return absl::OkStatus();
      return Refuse("EPP-LOAD-RETIRED",
                    StrCat("with it this process would keep ", retired,
                           " former libraries mapped, and plugins.max_retired allows ",
                           options.max_retired, "; restart epp to load new ones"));
    });
  }
  catalog.refused_ = std::move(found.refused);
  std::set<std::string> seen;
  for (const auto& file : found.files) {
    const std::string& path = file->info().path;
    absl::StatusOr<std::shared_ptr<const Library>> library = Library::Load(*file, options);
    if (!library.ok()) {
      catalog.refused_.push_back({path, library.status()});
      continue;
    }
    if (!seen.insert((*library)->info().digest).second) continue;
    if (absl::Status s = catalog.Add(*library); !s.ok()) {
      catalog.refused_.push_back({path, At(StrCat("library ", path), s)});
    }
  }
  return catalog;
}

Catalog Catalog::WithBuilds(const Catalog& scanned,
                            const std::map<std::string, std::string>& wanted,
                            std::vector<std::string>& missing) {
  std::map<std::string, std::shared_ptr<const Library>> remembered;
  for (const auto& [name, digest] : wanted) {
    if (auto library = Library::FindMapped(name, digest)) {
      remembered.emplace(name, std::move(library));
    } else {
      missing.push_back(name);
    }
  }
  Catalog catalog;
  // First, so that theirs win where types were moved between libraries.
  for (const auto& [name, library] : remembered) {
    if (absl::Status s = catalog.Add(library); !s.ok()) {
      catalog.refused_.push_back({library->info().path, std::move(s)});
    }
  }
  for (const auto& library : scanned.libraries_) {
    if (remembered.contains(library->info().name)) continue;
    if (absl::Status s = catalog.Add(library); !s.ok()) {
      catalog.refused_.push_back({library->info().path, std::move(s)});
    }
  }
  for (const RefusedLibrary& refused : scanned.refused_) catalog.refused_.push_back(refused);
  return catalog;
}

Catalog Catalog::Scan(std::span<const std::string> dirs, const LoadOptions& options) {
  return Load(FindLibraries(dirs, options), options);
}

absl::Status Catalog::Add(std::shared_ptr<const Library> library) {
  for (const epp_plugin_type* type : library->types()) {
    const auto taken = [&](std::string_view name) {
      const TypeEntry* other = Find(name);
      if (other == nullptr) return absl::OkStatus();
      return Refuse("EPP-LOAD-CONFLICT",
                    StrCat("type \"", name, "\" is already offered by ", From(*other)));
    };
    if (absl::Status s = taken(type->name); !s.ok()) return s;
    for (uint32_t i = 0; i < type->alias_count; ++i) {
      if (absl::Status s = taken(type->aliases[i]); !s.ok()) return s;
    }
  }
  for (const epp_plugin_type* type : library->types()) Insert({type, library});
  libraries_.push_back(std::move(library));
  return absl::OkStatus();
}

void Catalog::Insert(TypeEntry entry) {
  const epp_plugin_type* type = entry.type;
  by_name_.emplace(type->name, std::move(entry));
  for (uint32_t i = 0; i < type->alias_count; ++i) aliases_.emplace(type->aliases[i], type->name);
}

void Catalog::AddBuiltin(const epp_plugin_type* type) { Insert({type, nullptr}); }

const TypeEntry* Catalog::Find(std::string_view name, bool* via_alias) const {
  if (via_alias != nullptr) *via_alias = false;
  auto it = by_name_.find(name);
  if (it != by_name_.end()) return &it->second;
  const auto alias = aliases_.find(name);
  if (alias == aliases_.end()) return nullptr;
  it = by_name_.find(alias->second);
  if (it == by_name_.end()) return nullptr;
  if (via_alias != nullptr) *via_alias = true;
  return &it->second;
}

std::vector<const TypeEntry*> Catalog::types() const {
  std::vector<const TypeEntry*> all;
  all.reserve(by_name_.size());
  for (const auto& [name, entry] : by_name_) all.push_back(&entry);
  return all;
}

std::vector<std::shared_ptr<const Library>> Catalog::libraries() const { return libraries_; }

}  // namespace epp::loader
