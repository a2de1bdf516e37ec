#include "host/loader/library.h"

#include <dlfcn.h>
#include <link.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <exception>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/shared_library.hpp>

#include "absl/strings/match.h"
#include "host/base/str_cat.h"
#include "host/loader/elf_inspect.h"
#include "host/loader/manifest.h"
#include "host/loader/private_copy.h"
#include "host/loader/record_lint.h"
#include "host/loader/refusal.h"
#include "host/loader/sha256.h"
#include "host/loader/trusted_file.h"

namespace epp::loader {
namespace {

constexpr size_t kMaxLibraryBytes = size_t{256} << 20;
constexpr size_t kMaxManifestBytes = 64 << 10;

// Everything known about a file before its code runs.
struct Inspected {
  LibraryInfo info;
  std::string bytes;
  std::string pin;
  ElfFacts elf;
};

absl::StatusOr<Inspected> InspectFile(const std::string& dir, std::string_view name) {
  if (!IsPluginName(name)) {
    return Refuse("EPP-LOAD-NAME", StrCat("library name \"", name.substr(0, 80),
                                          "\", want [a-z0-9][a-z0-9-]{0,62}"));
  }
  Inspected found;
  found.info.name = std::string(name);
  found.info.path = StrCat(dir, "/", name, ".so");
  const std::string where = StrCat("library ", found.info.path);

  absl::StatusOr<std::string> bytes = ReadTrustedFile(dir, StrCat(name, ".so"), kMaxLibraryBytes);
  if (!bytes.ok()) return At(where, bytes.status());
  found.bytes = *std::move(bytes);
  found.info.digest = Sha256Hex(found.bytes);

  const absl::StatusOr<std::string> toml =
      ReadTrustedFile(dir, StrCat(name, ".toml"), kMaxManifestBytes);
  if (toml.ok()) {
    absl::StatusOr<Manifest> manifest = ParseManifest(*toml);
    if (!manifest.ok()) return At(where, manifest.status());
    found.info.version = std::move(manifest->version);
    found.info.license = std::move(manifest->license);
    found.info.description = std::move(manifest->description);
    found.info.types = std::move(manifest->types);
    found.pin = std::move(manifest->sha256);
  } else if (!absl::IsNotFound(toml.status())) {
    return At(where, toml.status());
  }

  absl::StatusOr<ElfFacts> elf = ReadElf(found.bytes);
  if (!elf.ok()) return At(where, elf.status());
  if (absl::Status s = CheckElf(*elf); !s.ok()) return At(where, s);
  found.info.note = *elf->note;
  found.elf = *std::move(elf);
  return found;
}

absl::Status CheckPolicy(const Inspected& found, const LoadOptions& options) {
  if (found.info.digest.empty()) return Refuse("EPP-LOAD-DIGEST", "SHA-256 is not available");
  for (const std::string& allowed : options.allowed_digests) {
    if (absl::EqualsIgnoreCase(allowed, found.info.digest)) return absl::OkStatus();
  }
  if (!found.pin.empty()) {
    if (found.pin == found.info.digest) return absl::OkStatus();
    return Refuse("EPP-LOAD-DIGEST",
                  StrCat("has SHA-256 ", found.info.digest, ", its plugin.toml wants ", found.pin));
  }
  if (options.allow_unlisted) return absl::OkStatus();
  return Refuse("EPP-LOAD-UNLISTED", StrCat("SHA-256 ", found.info.digest,
                                            " is neither listed nor pinned in plugin.toml, and "
                                            "plugins.allow_unlisted is off"));
}

// Control bits of the floating-point unit; a library linked with -ffast-math changes them.
class FloatingPointMode {
 public:
  FloatingPointMode() : saved_(Get()) {}
  // Puts the mode back. True when it had changed.
  bool Restore() const {
    const uint64_t now = Get();
#if defined(__x86_64__)
    _mm_setcsr(static_cast<unsigned>(saved_));
    constexpr uint64_t kStatusBits = 0x3f;
    return ((now ^ saved_) & ~kStatusBits) != 0;
#else
    asm volatile("msr fpcr, %0" ::"r"(saved_));
    return now != saved_;
#endif
  }

 private:
  static uint64_t Get() {
#if defined(__x86_64__)
    return _mm_getcsr();
#else
    uint64_t value;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
#endif
  }
  const uint64_t saved_;
};

// What mapping gave. The image is never unmapped.
struct Mapped {
  const epp_module* module = nullptr;
  uint64_t base = 0;
  bool floating_point_changed = false;
};

// Handles are kept for ever: closing one could unmap code that is still in use.
void KeepForEver(boost::dll::shared_library handle) {
  static std::mutex mutex;
  static auto& handles = *new std::vector<boost::dll::shared_library>;
  std::lock_guard lock(mutex);
  handles.push_back(std::move(handle));
}

absl::Status FromDlError(std::string_view text) {
  constexpr std::string_view kUndefined = "undefined symbol: ";
  if (const size_t at = text.find(kUndefined); at != std::string_view::npos) {
    std::string_view symbol = text.substr(at + kUndefined.size());
    symbol = symbol.substr(0, symbol.find_first_of(" ,;)\n"));
    return Refuse("EPP-LOAD-UNDEF", StrCat("undefined symbol \"", symbol, "\""));
  }
  return Refuse("EPP-LOAD-DLOPEN", StrCat("cannot be mapped: ", text));
}

absl::StatusOr<Mapped> MapHere(const std::string& path) {
  Mapped mapped;
  boost::dll::shared_library handle;
  const FloatingPointMode mode;
  try {
    handle.load(path, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
  } catch (const std::exception& e) {
    mode.Restore();
    return FromDlError(e.what());
  } catch (...) {
    mode.Restore();
    return Refuse("EPP-LOAD-DLOPEN", "an initialiser threw an exception");
  }
  mapped.floating_point_changed = mode.Restore();
  link_map* map = nullptr;
  void* const native = handle.native();
  // Not the noexcept type of the header: a careless library must not end the process.
  using Entry = const epp_module* (*)(uint32_t, uint32_t);
  const auto entry = reinterpret_cast<Entry>(dlsym(native, EPP_PLUGIN_ENTRY));
  const bool has_map = dlinfo(native, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr;
  KeepForEver(std::move(handle));
  if (entry == nullptr || !has_map) {
    return Refuse("EPP-LOAD-EXPORTS", StrCat("does not export ", EPP_PLUGIN_ENTRY));
  }
  mapped.base = map->l_addr;
  try {
    mapped.module = entry(EPP_ABI_MAJOR, EPP_ABI_MINOR);
  } catch (...) {
    return Refuse("EPP-ABI-ENTRY", "its entry function threw an exception");
  }
  if (mapped.module == nullptr) {
    return Refuse("EPP-ABI-ENTRY", StrCat("its entry function declined this host, ABI ",
                                          EPP_ABI_MAJOR, ".", EPP_ABI_MINOR));
  }
  return mapped;
}

// On a thread of its own, so that whatever thread state the initialisers change dies with it.
absl::StatusOr<Mapped> Map(const std::string& path) {
  absl::StatusOr<Mapped> result = absl::InternalError("not run");
  try {
    std::thread([&] { result = MapHere(path); }).join();
  } catch (const std::system_error& e) {
    return Refuse("EPP-LOAD-DLOPEN", StrCat("no thread to load on: ", e.what()));
  }
  return result;
}

// Results by digest. A library that failed once it was mapped would fail again, and map again.
struct Cache {
  std::mutex mutex;
  std::map<std::string, absl::StatusOr<std::shared_ptr<const Library>>> by_digest;
};

Cache& GlobalCache() {
  static Cache& cache = *new Cache;
  return cache;
}

}  // namespace

struct Library::Impl {
  LibraryInfo info;
  UniqueFd memory;
  const epp_module* module = nullptr;
};

Library::Library(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Library::~Library() = default;

const LibraryInfo& Library::info() const { return impl_->info; }
const epp_module& Library::module() const { return *impl_->module; }
std::span<const epp_plugin_type* const> Library::types() const {
  return {impl_->module->types, impl_->module->type_count};
}

absl::StatusOr<LibraryInfo> Library::Inspect(const std::string& dir, std::string_view name) {
  absl::StatusOr<Inspected> found = InspectFile(dir, name);
  if (!found.ok()) return found.status();
  return std::move(found->info);
}

std::shared_ptr<const Library> Library::FindMapped(std::string_view name,
                                                   const std::string& digest) {
  Cache& cache = GlobalCache();
  std::lock_guard lock(cache.mutex);
  const auto it = cache.by_digest.find(digest);
  if (it == cache.by_digest.end() || !it->second.ok()) return nullptr;
  return (*it->second)->info().name == name ? *it->second : nullptr;
}

absl::StatusOr<std::shared_ptr<const Library>> Library::Load(const std::string& dir,
                                                             std::string_view name,
                                                             const LoadOptions& options) {
  absl::StatusOr<Inspected> found = InspectFile(dir, name);
  if (!found.ok()) return found.status();
  const std::string where = StrCat("library ", found->info.path);
  if (absl::Status s = CheckPolicy(*found, options); !s.ok()) return At(where, s);

  Cache& cache = GlobalCache();
  std::lock_guard lock(cache.mutex);
  if (const auto it = cache.by_digest.find(found->info.digest); it != cache.by_digest.end()) {
    if (it->second.ok() && (*it->second)->info().name != name) {
      return At(where, Refuse("EPP-ABI-RECORD",
                              StrCat("module record: name is \"", (*it->second)->info().name,
                                     "\", want the file's, \"", name, "\"")));
    }
    return it->second;
  }

  absl::StatusOr<PrivateCopy> copy =
      MakePrivateCopy(options.runtime_dir, name, found->info.digest, found->bytes);
  if (!copy.ok()) return At(where, copy.status());
  const absl::StatusOr<Mapped> mapped = Map(copy->path);
  if (!mapped.ok()) {
    if (!copy->memory) std::remove(copy->path.c_str());
    absl::Status status = At(where, mapped.status());
    if (MessageOf(status).find("[EPP-ABI-") != std::string::npos) {
      cache.by_digest.emplace(found->info.digest, status);
      // It is mapped, so a memory file must keep its number.
      (void)copy->memory.release();
    }
    return status;
  }

  auto impl = std::make_unique<Impl>();
  impl->info = std::move(found->info);
  impl->info.mapped_path = copy->path;
  impl->memory = std::move(copy->memory);
  impl->module = mapped->module;
  // Memory is the default; only a directory that was wanted and cannot be used is odd.
  if (!copy->why_memory.empty() && !options.runtime_dir.empty()) {
    impl->info.warnings.push_back(
        StrCat("mapped from memory, debuggers see no file: ", copy->why_memory));
  }
  if (mapped->floating_point_changed) {
    impl->info.warnings.push_back(
        "changed the floating-point mode when it was loaded (linked with -ffast-math?); undone");
  }
  const std::string digest = impl->info.digest;
  if (absl::Status s = LintRecord(mapped->module, Image(mapped->base, found->elf.segments),
                                  impl->info.note, name);
      !s.ok()) {
    (void)impl->memory.release();
    return cache.by_digest.emplace(digest, At(where, s)).first->second;
  }
  std::vector<std::string> offered;
  for (uint32_t i = 0; i < mapped->module->type_count; ++i) {
    offered.emplace_back(mapped->module->types[i]->name);
  }
  if (!impl->info.types.empty() && !std::ranges::is_permutation(impl->info.types, offered)) {
    impl->info.warnings.push_back("plugin.toml lists other types than the library offers");
  }
  std::shared_ptr<const Library> library(new Library(std::move(impl)));
  cache.by_digest.emplace(digest, library);
  return library;
}

}  // namespace epp::loader
