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

Catalog Catalog::Scan(std::span<const std::string> dirs, const LoadOptions& options) {
  Catalog catalog;
  std::set<std::string> seen;
  for (const std::string& dir : dirs) {
    const absl::StatusOr<std::vector<std::string>> names = ListLibraries(dir);
    if (absl::IsNotFound(names.status())) continue;
    if (!names.ok()) {
      catalog.refused_.push_back({dir, names.status()});
      continue;
    }
    for (const std::string& name : *names) {
      const std::string path = StrCat(dir, "/", name, ".so");
      absl::StatusOr<std::shared_ptr<const Library>> library = Library::Load(dir, name, options);
      if (!library.ok()) {
        catalog.refused_.push_back({path, library.status()});
        continue;
      }
      if (!seen.insert((*library)->info().digest).second) continue;
      if (absl::Status s = catalog.Add(*library); !s.ok()) {
        catalog.refused_.push_back({path, At(StrCat("library ", path), s)});
      }
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
