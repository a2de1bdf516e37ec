#include "host/loader/library.h"

#include <dlfcn.h>
#include <link.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/shared_library.hpp>

#include "absl/strings/match.h"
#include "host/base/str_cat.h"
#include "host/loader/elf_inspect.h"
#include "host/loader/guard.h"
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

absl::Status Examine(LibraryInfo& info, std::string_view bytes, ElfFacts& out) {
  absl::StatusOr<ElfFacts> elf = ReadElf(bytes);
  if (!elf.ok()) return elf.status();
  if (absl::Status s = CheckElf(*elf); !s.ok()) return s;
  info.note = *elf->note;
  out = *std::move(elf);
  return absl::OkStatus();
}

absl::Status CheckPolicy(LibraryInfo& info, const std::string& pin, const std::string& dir,
                         const LoadOptions& options) {
  if (info.digest.empty()) return Refuse("EPP-LOAD-DIGEST", "SHA-256 is not available");
  info.listed = std::ranges::any_of(options.allowed_digests, [&](const std::string& allowed) {
    return absl::EqualsIgnoreCase(allowed, info.digest);
  });
  if (info.listed) return absl::OkStatus();
  if (!pin.empty()) {
    info.listed = pin == info.digest;
    if (info.listed) return absl::OkStatus();
    return Refuse("EPP-LOAD-DIGEST",
                  StrCat("has SHA-256 ", info.digest, ", its plugin.toml wants ", pin));
  }
  if (options.allow_unlisted || (!options.own_dir.empty() && dir == options.own_dir)) {
    return absl::OkStatus();
  }
  return Refuse("EPP-LOAD-UNLISTED",
                StrCat("SHA-256 ", info.digest,
                       " is neither in plugins.sha256 nor pinned in plugin.toml, and "
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
absl::StatusOr<Mapped> Map(const std::string& path, Guard& guard, Entry as) {
  absl::StatusOr<Mapped> result = absl::InternalError("not run");
  try {
    std::thread([&] {
      const InFlight call(guard, as, 0);
      result = MapHere(path);
    }).join();
  } catch (const std::system_error& e) {
    return Refuse("EPP-LOAD-DLOPEN", StrCat("no thread to load on: ", e.what()));
  }
  return result;
}

// What a mapped library's file was like when it was read. As long as its stamps are the same it
// need not be read and hashed again, which is most of what a reload would do.
struct Remembered {
  FileStamp library;
  std::optional<FileStamp> manifest;  // none: there was no such file
  LibraryInfo info;
  std::string pin;
};

class Memory {
 public:
  static Memory& Global() {
    static Memory& memory = *new Memory;
    return memory;
  }
  std::optional<Remembered> Find(const std::string& path) const {
    std::lock_guard lock(mutex_);
    const auto it = by_path_.find(path);
    if (it == by_path_.end()) return std::nullopt;
    return it->second;
  }
  void Set(const std::string& path, Remembered what) {
    std::lock_guard lock(mutex_);
    by_path_.insert_or_assign(path, std::move(what));
  }
  void Forget(const std::string& path) {
    std::lock_guard lock(mutex_);
    by_path_.erase(path);
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Remembered> by_path_;
};

// Results by digest. A library that failed once it was mapped would fail again, and map again.
struct Cache {
  std::mutex mutex;
  std::map<std::string, absl::StatusOr<std::shared_ptr<const Library>>> by_digest;
};

Cache& GlobalCache() {
  static Cache& cache = *new Cache;
  return cache;
}

// "queue-scorer=epp.scorer/1,other=epp.filter/1+epp.picker/1".
std::string OffersOf(const epp_module& module) {
  std::string out;
  for (uint32_t i = 0; i < module.type_count; ++i) {
    const epp_plugin_type& type = *module.types[i];
    StrAppend(&out, i ? "," : "", type.name);
    for (uint32_t k = 0; k < type.interface_count; ++k) {
      StrAppend(&out, k ? "+" : "=", type.interfaces[k]);
    }
  }
  return out;
}

}  // namespace

// Everything known about a file before its code runs.
struct LibraryFile::Impl {
  LibraryInfo info;
  std::string bytes;  // empty: they are those of the mapped library of that digest
  std::string pin;
  ElfFacts elf;

  absl::Status ReadFrom(const std::string& dir) {
    std::optional<Remembered> known = Memory::Global().Find(info.path);
    if (known && !Library::FindMapped(info.name, known->info.digest)) known.reset();
    absl::StatusOr<TrustedFile> read = ReadTrustedFileUnless(
        known ? &known->library : nullptr, dir, StrCat(info.name, ".so"), kMaxLibraryBytes);
    if (!read.ok()) return read.status();
    absl::StatusOr<TrustedFile> toml =
        ReadTrustedFileUnless(known && known->manifest ? &*known->manifest : nullptr, dir,
                              StrCat(info.name, ".toml"), kMaxManifestBytes);
    if (!toml.ok() && !absl::IsNotFound(toml.status())) return toml.status();
    std::optional<FileStamp> manifest_stamp;
    if (toml.ok()) manifest_stamp = toml->stamp;
    if (known) {
      if (read->stamp == known->library && manifest_stamp == known->manifest) {
        info = std::move(known->info);
        pin = std::move(known->pin);
        return absl::OkStatus();
      }
      // One of them was not read.
      Memory::Global().Forget(info.path);
      return ReadFrom(dir);
    }
    bytes = std::move(read->content);
    info.digest = Sha256Hex(bytes);
    if (absl::Status s = ReadManifest(toml); !s.ok()) return s;
    if (absl::Status s = Examine(info, bytes, elf); !s.ok()) return s;
    if (!read->too_young && !(toml.ok() && toml->too_young)) {
      Memory::Global().Set(info.path, {read->stamp, manifest_stamp, info, pin});
    }
    return absl::OkStatus();
  }

  absl::Status ReadManifest(const absl::StatusOr<TrustedFile>& toml) {
    if (toml.ok()) {
      absl::StatusOr<Manifest> manifest = ParseManifest(toml->content);
      if (!manifest.ok()) return manifest.status();
      info.version = std::move(manifest->version);
      info.license = std::move(manifest->license);
      info.description = std::move(manifest->description);
      info.types = std::move(manifest->types);
      pin = std::move(manifest->sha256);
    }
    return absl::OkStatus();
  }
};

LibraryFile::LibraryFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LibraryFile::~LibraryFile() = default;
const LibraryInfo& LibraryFile::info() const { return impl_->info; }
absl::StatusOr<std::shared_ptr<const std::string>> LibraryFile::Bytes() const {
  // The string is the file's; the pointer keeps only a copy of a mapped library's.
  if (!impl_->bytes.empty()) {
    return std::shared_ptr<const std::string>(std::shared_ptr<void>(), &impl_->bytes);
  }
  const LibraryInfo& info = impl_->info;
  if (const std::shared_ptr<const Library> mapped = Library::FindMapped(info.name, info.digest)) {
    absl::StatusOr<std::string> bytes = mapped->Bytes();
    if (bytes.ok()) return std::make_shared<const std::string>(*std::move(bytes));
  }
  // Somebody tidied up the directory of private copies.
  const size_t slash = info.path.rfind('/');
  absl::StatusOr<std::string> bytes =
      ReadTrustedFile(info.path.substr(0, slash), info.path.substr(slash + 1), kMaxLibraryBytes);
  if (!bytes.ok()) return bytes.status();
  if (Sha256Hex(*bytes) != info.digest) {
    return Refuse("EPP-LOAD-COPY", StrCat(info.path, " was changed a moment ago"));
  }
  return std::make_shared<const std::string>(*std::move(bytes));
}

absl::StatusOr<std::shared_ptr<const LibraryFile>> LibraryFile::Read(const std::string& dir,
                                                                     std::string_view name,
                                                                     const LoadOptions& options) {
  if (!IsPluginName(name)) {
    return Refuse("EPP-LOAD-NAME", StrCat("library name \"", name.substr(0, 80),
                                          "\", want [a-z0-9][a-z0-9-]{0,62}"));
  }
  auto impl = std::make_unique<Impl>();
  impl->info.name = std::string(name);
  impl->info.path = StrCat(dir, "/", name, ".so");
  absl::Status status = impl->ReadFrom(dir);
  if (status.ok()) status = CheckPolicy(impl->info, impl->pin, dir, options);
  if (!status.ok()) return At(StrCat("library ", impl->info.path), status);
  return std::shared_ptr<const LibraryFile>(new LibraryFile(std::move(impl)));
}

absl::StatusOr<std::shared_ptr<const LibraryFile>> LibraryFile::FromMemory(std::string name,
                                                                           std::string path,
                                                                           std::string digest,
                                                                           std::string bytes) {
  auto impl = std::make_unique<Impl>();
  impl->info.name = std::move(name);
  impl->info.path = std::move(path);
  impl->info.digest = std::move(digest);
  impl->bytes = std::move(bytes);
  if (absl::Status s = Examine(impl->info, impl->bytes, impl->elf); !s.ok()) {
    return At(StrCat("library ", impl->info.path), s);
  }
  return std::shared_ptr<const LibraryFile>(new LibraryFile(std::move(impl)));
}

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
  absl::StatusOr<std::shared_ptr<const LibraryFile>> file = LibraryFile::Read(dir, name, {});
  if (!file.ok()) return file.status();
  return (*file)->info();
}

std::vector<std::string> Library::MappedDigests() {
  Cache& cache = GlobalCache();
  std::lock_guard lock(cache.mutex);
  std::vector<std::string> out;
  for (const auto& [digest, library] : cache.by_digest) out.push_back(digest);
  return out;
}

bool Library::IsMapped(std::string_view digest) {
  Cache& cache = GlobalCache();
  std::lock_guard lock(cache.mutex);
  return cache.by_digest.contains(std::string(digest));
}

absl::StatusOr<std::string> Library::Bytes() const {
  std::ifstream in(impl_->info.mapped_path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in || Sha256Hex(bytes) != impl_->info.digest) {
    return Refuse("EPP-LOAD-COPY", StrCat(impl_->info.mapped_path, " is gone or was changed"));
  }
  return bytes;
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
  absl::StatusOr<std::shared_ptr<const LibraryFile>> file = LibraryFile::Read(dir, name, options);
  if (!file.ok()) return file.status();
  return Load(**file, options);
}

absl::StatusOr<std::shared_ptr<const Library>> Library::Load(const LibraryFile& file,
                                                             const LoadOptions& options) {
  const std::string& name = file.info().name;
  Cache& cache = GlobalCache();
  std::lock_guard lock(cache.mutex);
  if (const auto it = cache.by_digest.find(file.info().digest); it != cache.by_digest.end()) {
    if (it->second.ok() && (*it->second)->info().name != name) {
      return At(
          StrCat("library ", file.info().path),
          Refuse("EPP-ABI-RECORD", StrCat("module record: name is \"", (*it->second)->info().name,
                                          "\", want the file's, \"", name, "\"")));
    }
    return it->second;
  }
  bool mapped = false;
  absl::StatusOr<std::shared_ptr<const Library>> library =
      MapFile(file, options, Entry::kLoad, &mapped);
  if (mapped) cache.by_digest.emplace(file.info().digest, library);
  return library;
}

absl::StatusOr<std::shared_ptr<const Library>> Library::LoadAgain(const LibraryFile& file,
                                                                  const LoadOptions& options) {
  bool mapped = false;
  return MapFile(file, options, Entry::kLoadAgain, &mapped);
}

absl::StatusOr<std::shared_ptr<const Library>> Library::MapFile(const LibraryFile& file,
                                                                const LoadOptions& options,
                                                                Entry as, bool* is_mapped) {
  const LibraryFile::Impl& found = *file.impl_;
  const std::string where = StrCat("library ", found.info.path);
  absl::StatusOr<PrivateCopy> copy =
      MakePrivateCopy(options.runtime_dir, found.info.name, found.info.digest, found.bytes);
  if (!copy.ok()) return At(where, copy.status());
  Guard& guard = Guard::Acquire({found.info.name, found.info.digest, "", "", ""});
  const absl::StatusOr<Mapped> mapped = Map(copy->path, guard, as);
  guard.Release();
  if (!mapped.ok()) {
    if (!copy->memory) std::remove(copy->path.c_str());
    absl::Status status = At(where, mapped.status());
    if (MessageOf(status).find("[EPP-ABI-") != std::string::npos) {
      *is_mapped = true;
      // It is mapped, so a memory file must keep its number.
      (void)copy->memory.release();
    }
    return status;
  }
  *is_mapped = true;

  auto impl = std::make_unique<Impl>();
  impl->info = found.info;
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
  if (absl::Status s = LintRecord(mapped->module, Image(mapped->base, found.elf.segments),
                                  impl->info.note, found.info.name);
      !s.ok()) {
    (void)impl->memory.release();
    return At(where, s);
  }
  impl->info.offers = OffersOf(*impl->module);
  for (const ElfSegment& segment : found.elf.segments) {
    if (!segment.executable) continue;
    RememberCode(mapped->base + segment.address, segment.memory_bytes,
                 {found.info.name, found.info.digest, "", "", impl->info.offers});
  }
  std::vector<std::string> offered;
  for (uint32_t i = 0; i < mapped->module->type_count; ++i) {
    offered.emplace_back(mapped->module->types[i]->name);
  }
  if (!impl->info.types.empty() && !std::ranges::is_permutation(impl->info.types, offered)) {
    impl->info.warnings.push_back("plugin.toml lists other types than the library offers");
  }
  return std::shared_ptr<const Library>(new Library(std::move(impl)));
}

}  // namespace epp::loader
