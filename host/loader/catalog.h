// The plugin types that this process can instantiate, and instances of them.
//
// Threads: everything here is [config]: one thread at a time. A built Instance is shared by all.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "epp/abi.h"
#include "host/loader/library.h"

namespace epp::loader {

// A type and the library it comes from (null for types built into the host).
struct TypeEntry {
  const epp_plugin_type* type = nullptr;
  std::shared_ptr<const Library> library;

  std::string_view name() const { return type->name; }
  // True when the type declares the interface id.
  bool Implements(std::string_view interface_id) const;
};

// A library file that was found but refused.
struct RefusedLibrary {
  std::string path;
  absl::Status why;
};

// All types, by name and alias. Two libraries that offer one name: the first directory wins and the
// other is refused with a message that names both.
class Catalog {
 public:
  // Scans the directories in order for NAME.so and loads every one. A refused library is reported,
  // never fatal.
  static Catalog Scan(std::span<const std::string> dirs, const LoadOptions& options);
  // The libraries of `scanned`, but in place of those that `wanted` names (name -> SHA-256), and
  // beside the others when it has none of that name, the builds of that digest, as far as this
  // process has mapped them before. Names of `wanted` that are of another build, or missing, in the
  // result go to `missing`. Types of the host are not taken over.
  static Catalog WithBuilds(const Catalog& scanned,
                            const std::map<std::string, std::string>& wanted,
                            std::vector<std::string>& missing);

  // Adds a type that is linked into the host, such as file-discovery.
  void AddBuiltin(const epp_plugin_type* type);

  // Adds a library that is loaded already. FailedPrecondition when another offers one of its names.
  absl::Status Add(std::shared_ptr<const Library> library);

  // By name or alias; null when unknown. `via_alias` (optional) tells that an alias matched.
  const TypeEntry* Find(std::string_view name, bool* via_alias = nullptr) const;
  // Sorted by name, aliases excluded.
  std::vector<const TypeEntry*> types() const;
  std::vector<std::shared_ptr<const Library>> libraries() const;
  std::span<const RefusedLibrary> refused() const { return refused_; }

 private:
  void Insert(TypeEntry entry);

  std::map<std::string, TypeEntry, std::less<>> by_name_;
  std::map<std::string, std::string, std::less<>> aliases_;
  std::vector<std::shared_ptr<const Library>> libraries_;
  std::vector<RefusedLibrary> refused_;
};

// One configured, named use of a type. Owns the object and keeps its library mapped.
class Instance {
 public:
  // `host` must outlive the instance. `values` are in the order of the type's params.
  // Errors: the type's own status and text; Internal for a status that it may not use, for a null
  // instance without an error, and for an exception.
  static absl::StatusOr<std::shared_ptr<Instance>> Create(const TypeEntry& type, std::string name,
                                                          const epp_host* host,
                                                          std::span<const epp_value> values);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  const std::string& name() const { return name_; }
  const TypeEntry& type() const { return type_; }
  void* self() const { return self_; }
  // The table of an interface, or null. Resolve once, at wiring.
  template <class Table>
  const Table* Get(const char* id) const {
    return static_cast<const Table*>(type_.type->get_interface(self_, id));
  }

 private:
  Instance(TypeEntry type, std::string name, void* self)
      : type_(std::move(type)), name_(std::move(name)), self_(self) {}
  TypeEntry type_;
  std::string name_;
  void* self_;
};

}  // namespace epp::loader
