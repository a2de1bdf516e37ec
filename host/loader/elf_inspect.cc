#include "host/loader/elf_inspect.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "host/base/str_cat.h"
#include "host/loader/refusal.h"

namespace epp::loader {
namespace {

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
#else
#error "epp supports x86-64 and aarch64"
#endif

#ifdef EPP_HOST_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr size_t kMaxUndefined = 4096;
constexpr size_t kMaxListed = 64;
constexpr size_t kMaxName = 4096;

absl::Status Malformed(std::string_view what) {
  return Refuse("EPP-LOAD-ELF", StrCat("not a loadable shared object: ", what));
}

// Bounds-checked access to the file.
class Bytes {
 public:
  explicit Bytes(std::string_view file) : file_(file) {}

  template <class T>
  bool Read(uint64_t offset, T* out) const {
    if (offset > file_.size() || file_.size() - offset < sizeof(T)) return false;
    std::memcpy(out, file_.data() + offset, sizeof(T));
    return true;
  }
  std::optional<std::string_view> Range(uint64_t offset, uint64_t size) const {
    if (offset > file_.size() || file_.size() - offset < size) return std::nullopt;
    return file_.substr(offset, size);
  }

 private:
  std::string_view file_;
};

// The dynamic table, reduced to what is needed.
struct Dynamic {
  uint64_t symbols = 0, strings = 0, strings_size = 0, gnu_hash = 0, hash = 0;
  std::vector<uint64_t> needed;
  std::optional<uint64_t> run_path;
};

class Reader {
 public:
  explicit Reader(std::string_view file) : bytes_(file) {}

  absl::StatusOr<ElfFacts> Run() {
    if (absl::Status s = Header(); !s.ok()) return s;
    if (absl::Status s = Segments(); !s.ok()) return s;
    if (absl::Status s = DynamicTable(); !s.ok()) return s;
    if (absl::Status s = Symbols(); !s.ok()) return s;
    for (const Elf64_Phdr& note : notes_) {
      if (absl::Status s = Notes(note); !s.ok()) return s;
    }
    return std::move(facts_);
  }

 private:
  absl::Status Header() {
    if (!bytes_.Read(0, &header_)) return Malformed("shorter than an ELF header");
    if (std::memcmp(header_.e_ident, ELFMAG, SELFMAG) != 0) return Malformed("no ELF magic");
    if (header_.e_ident[EI_CLASS] != ELFCLASS64 || header_.e_ident[EI_DATA] != ELFDATA2LSB) {
      return Malformed("not 64-bit little-endian");
    }
    if (header_.e_type != ET_DYN) {
      return Malformed(StrCat("ELF type ", header_.e_type, ", want 3 (shared object)"));
    }
    if (header_.e_machine != kMachine) {
      return Malformed(
          StrCat("built for machine ", header_.e_machine, ", this host is ", kMachine));
    }
    if (header_.e_phentsize != sizeof(Elf64_Phdr) || header_.e_phnum == PN_XNUM) {
      return Malformed("unusual program headers");
    }
    // Nothing needs the section headers, but they are the last in the file: a copy that is not
    // complete lacks them, even when it has all that is mapped.
    if (header_.e_shoff != 0 &&
        !bytes_.Range(header_.e_shoff, uint64_t{header_.e_shnum} * header_.e_shentsize)) {
      return Malformed("cut off before its section headers");
    }
    return absl::OkStatus();
  }

  absl::Status Segments() {
    bool has_stack = false;
    for (uint32_t i = 0; i < header_.e_phnum; ++i) {
      Elf64_Phdr ph;
      if (header_.e_phoff > UINT64_MAX - uint64_t{i} * sizeof(ph) ||
          !bytes_.Read(header_.e_phoff + uint64_t{i} * sizeof(ph), &ph)) {
        return Malformed("program headers lie outside the file");
      }
      switch (ph.p_type) {
        case PT_LOAD:
          if (!bytes_.Range(ph.p_offset, ph.p_filesz) || ph.p_memsz < ph.p_filesz ||
              ph.p_vaddr > UINT64_MAX / 2 || ph.p_memsz > UINT64_MAX / 4) {
            return Malformed("a segment lies outside the file");
          }
          facts_.segments.push_back({ph.p_vaddr, ph.p_memsz, ph.p_offset, ph.p_filesz,
                                     (ph.p_flags & PF_R) != 0, (ph.p_flags & PF_W) != 0,
                                     (ph.p_flags & PF_X) != 0});
          break;
        case PT_DYNAMIC:
          dynamic_ = ph;
          break;
        case PT_NOTE:
          notes_.push_back(ph);
          break;
        case PT_TLS:
          facts_.tls_bytes = ph.p_memsz;
          break;
        case PT_GNU_STACK:
          has_stack = true;
          facts_.executable_stack = (ph.p_flags & PF_X) != 0;
          break;
        default:
          break;
      }
    }
    // Without the header glibc assumes that the code wants an executable stack.
    if (!has_stack) facts_.executable_stack = true;
    if (facts_.segments.empty()) return Malformed("no loadable segment");
    return absl::OkStatus();
  }

  // The file offset of an address, when `size` bytes from there are in the file.
  std::optional<uint64_t> Offset(uint64_t address, uint64_t size) const {
    for (const ElfSegment& s : facts_.segments) {
      if (address >= s.address && address - s.address <= s.file_bytes &&
          s.file_bytes - (address - s.address) >= size) {
        return s.file_offset + (address - s.address);
      }
    }
    return std::nullopt;
  }

  template <class T>
  bool ReadAt(uint64_t address, T* out) const {
    const std::optional<uint64_t> offset = Offset(address, sizeof(T));
    return offset && bytes_.Read(*offset, out);
  }

  absl::Status DynamicTable() {
    if (!dynamic_) return Malformed("no dynamic table");
    const uint64_t count = dynamic_->p_filesz / sizeof(Elf64_Dyn);
    for (uint64_t i = 0; i < count; ++i) {
      Elf64_Dyn entry;
      if (dynamic_->p_offset > UINT64_MAX - i * sizeof(entry) ||
          !bytes_.Read(dynamic_->p_offset + i * sizeof(entry), &entry)) {
        return Malformed("the dynamic table lies outside the file");
      }
      if (entry.d_tag == DT_NULL) break;
      const uint64_t value = entry.d_un.d_val;
      switch (entry.d_tag) {
        case DT_SYMTAB:
          table_.symbols = value;
          break;
        case DT_STRTAB:
          table_.strings = value;
          break;
        case DT_STRSZ:
          table_.strings_size = value;
          break;
        case DT_GNU_HASH:
          table_.gnu_hash = value;
          break;
        case DT_HASH:
          table_.hash = value;
          break;
        case DT_NEEDED:
          if (table_.needed.size() == kMaxListed) return Malformed("too many needed libraries");
          table_.needed.push_back(value);
          break;
        case DT_RPATH:
        case DT_RUNPATH:
          table_.run_path = value;
          break;
        case DT_TEXTREL:
          facts_.text_relocations = true;
          break;
        case DT_FLAGS:
          if (value & DF_TEXTREL) facts_.text_relocations = true;
          if (value & DF_STATIC_TLS) facts_.static_tls = true;
          break;
        default:
          break;
      }
    }
    const std::optional<uint64_t> strings = Offset(table_.strings, table_.strings_size);
    if (!strings || table_.strings_size == 0) return Malformed("no string table");
    strings_ = *bytes_.Range(*strings, table_.strings_size);
    for (uint64_t name : table_.needed) {
      const std::optional<std::string_view> text = String(name);
      if (!text) return Malformed("a needed library has no name");
      facts_.needed.emplace_back(*text);
    }
    if (table_.run_path) {
      const std::optional<std::string_view> text = String(*table_.run_path);
      if (!text) return Malformed("the run path is not a string");
      facts_.run_path = text->empty() ? "(empty)" : std::string(*text);
    }
    return absl::OkStatus();
  }

  std::optional<std::string_view> String(uint64_t offset) const {
    if (offset >= strings_.size()) return std::nullopt;
    const std::string_view rest = strings_.substr(offset, kMaxName);
    const size_t end = rest.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    return rest.substr(0, end);
  }

  // Number of dynamic symbols, which no header states: the hash table that the loader uses knows.
  absl::StatusOr<uint64_t> SymbolCount() const {
    if (table_.gnu_hash != 0) {
      std::array<uint32_t, 4> head;  // buckets, first hashed symbol, bloom words, shift
      if (!ReadAt(table_.gnu_hash, &head)) return Malformed("the hash table is outside the file");
      const uint64_t buckets = table_.gnu_hash + sizeof(head) + uint64_t{head[2]} * 8;
      const uint64_t chains = buckets + uint64_t{head[0]} * 4;
      const std::optional<uint64_t> at = Offset(buckets, uint64_t{head[0]} * 4);
      if (!at) return Malformed("the hash table is outside the file");
      uint64_t last = 0;
      for (uint64_t i = 0; i < head[0]; ++i) {
        uint32_t bucket = 0;
        if (!bytes_.Read(*at + i * 4, &bucket)) return Malformed("the hash table is cut off");
        last = std::max<uint64_t>(last, bucket);
      }
      if (last < head[1]) return uint64_t{head[1]};
      for (;; ++last) {
        uint32_t chain = 0;
        if (!ReadAt(chains + (last - head[1]) * 4, &chain)) {
          return Malformed("the hash table is cut off");
        }
        if (chain & 1) return last + 1;
      }
    }
    if (table_.hash != 0) {
      std::array<uint32_t, 2> head;
      if (!ReadAt(table_.hash, &head)) return Malformed("the hash table is outside the file");
      return uint64_t{head[1]};
    }
    return Malformed("no symbol hash table");
  }

  absl::Status Symbols() {
    const absl::StatusOr<uint64_t> count = SymbolCount();
    if (!count.ok()) return count.status();
    const std::optional<uint64_t> at = Offset(table_.symbols, 0);
    if (!at || *count > UINT32_MAX || !bytes_.Range(*at, *count * sizeof(Elf64_Sym))) {
      return Malformed("the symbol table lies outside the file");
    }
    for (uint64_t i = 1; i < *count; ++i) {
      Elf64_Sym symbol;
      if (!bytes_.Read(*at + i * sizeof(symbol), &symbol)) return Malformed("symbols are cut off");
      const unsigned binding = ELF64_ST_BIND(symbol.st_info);
      const unsigned visibility = ELF64_ST_VISIBILITY(symbol.st_other);
      if (symbol.st_shndx == SHN_UNDEF && binding == STB_GLOBAL &&
          facts_.undefined.size() < kMaxUndefined) {
        if (const std::optional<std::string_view> name = String(symbol.st_name)) {
          facts_.undefined.emplace_back(*name);
        }
      }
      if (symbol.st_shndx == SHN_UNDEF || binding == STB_LOCAL || visibility == STV_HIDDEN ||
          visibility == STV_INTERNAL) {
        continue;
      }
      const std::optional<std::string_view> name = String(symbol.st_name);
      if (!name) return Malformed("a symbol has no name");
      if (binding == STB_GNU_UNIQUE && facts_.unique_symbol.empty()) {
        facts_.unique_symbol = std::string(*name);
      }
      ++facts_.exported_count;
      if (facts_.exported.size() < kMaxListed || *name == EPP_PLUGIN_ENTRY) {
        facts_.exported.emplace_back(*name);
      }
    }
    return absl::OkStatus();
  }

  // A segment of notes: header, name and description, each padded to the segment's alignment.
  absl::Status Notes(const Elf64_Phdr& segment) {
    const std::optional<std::string_view> all = bytes_.Range(segment.p_offset, segment.p_filesz);
    if (!all) return Malformed("a note segment lies outside the file");
    const uint64_t align = segment.p_align == 8 ? 8 : 4;
    const auto padded = [align](uint64_t n) { return (n + align - 1) & ~(align - 1); };
    std::string_view rest = *all;
    while (rest.size() >= sizeof(Elf64_Nhdr)) {
      Elf64_Nhdr head;
      std::memcpy(&head, rest.data(), sizeof(head));
      const uint64_t desc = padded(sizeof(head) + uint64_t{head.n_namesz});
      const uint64_t end = padded(desc + head.n_descsz);
      if (desc + head.n_descsz > rest.size()) return Malformed("a note is cut off");
      const std::string_view owner = rest.substr(sizeof(head), head.n_namesz);
      if (head.n_type == 1 && owner == std::string_view("EPP", 4)) {
        if (head.n_descsz != sizeof(epp_abi_note) - 16) {
          return Refuse("EPP-ABI-NOTE",
                        StrCat("the ABI note has ", head.n_descsz, " bytes, want 16"));
        }
        epp_abi_note note;
        std::memcpy(&note, rest.data(), 16);
        std::memcpy(&note.abi_major, rest.data() + desc, 16);
        if (facts_.note && std::memcmp(&*facts_.note, &note, sizeof(note)) != 0) {
          return Refuse("EPP-ABI-NOTE", "two ABI notes that differ");
        }
        facts_.note = note;
      }
      rest.remove_prefix(std::min<uint64_t>(end, rest.size()));
    }
    return absl::OkStatus();
  }

  const Bytes bytes_;
  Elf64_Ehdr header_{};
  std::optional<Elf64_Phdr> dynamic_;
  std::vector<Elf64_Phdr> notes_;
  Dynamic table_;
  std::string_view strings_;
  ElfFacts facts_;
};

bool MayNeed(std::string_view library) {
  static constexpr std::string_view kExact[] = {
      "libc.so.6",       "libm.so.6",      "libgcc_s.so.1",  "libstdc++.so.6",
      "libc++.so.1",     "libc++abi.so.1", "libunwind.so.1", "libatomic.so.1",
      "libpthread.so.0", "libdl.so.2",     "librt.so.1"};
  static constexpr std::string_view kSanitizers[] = {"libasan.so.", "libubsan.so.", "libtsan.so."};
  if (std::ranges::find(kExact, library) != std::end(kExact)) return true;
  if (library.starts_with("ld-linux") && library.find('/') == std::string_view::npos) return true;
  if (library.starts_with("libsimdjson.so.")) return true;
  // The host's own: it is in the process before any plugin is, and stays.
  if (library == "libssl.so.3" || library == "libcrypto.so.3") return true;
  return kSanitized && std::ranges::any_of(kSanitizers, [&](std::string_view prefix) {
           return library.starts_with(prefix);
         });
}

bool IsEntrySymbol(std::string_view name) {
  constexpr std::string_view kPrefix = "epp_plugin_entry_v";
  return name.starts_with(kPrefix) && name.size() > kPrefix.size() &&
         std::ranges::all_of(name.substr(kPrefix.size()),
                             [](char c) { return c >= '0' && c <= '9'; });
}

absl::Status CheckNote(const ElfFacts& facts) {
  if (!facts.note) {
    return Refuse("EPP-ABI-NOTE", "no ABI note (section .note.epp); build it with epp_add_plugin");
  }
  const epp_abi_note& note = *facts.note;
  if (note.abi_major != EPP_ABI_MAJOR) {
    return Refuse("EPP-ABI-MAJOR",
                  StrCat("built for ABI ", note.abi_major, ".", note.abi_minor,
                         ", this host offers ", EPP_ABI_MAJOR, ".", EPP_ABI_MINOR));
  }
  if (note.abi_min_minor > EPP_ABI_MINOR) {
    return Refuse(
        "EPP-ABI-MINOR",
        StrCat("needs ABI ", note.abi_major, ".", note.abi_min_minor, ", this host offers ",
               EPP_ABI_MAJOR, ".", EPP_ABI_MINOR,
               "; upgrade epp, or build the library with EPP_ABI_MIN_MINOR=", EPP_ABI_MINOR));
  }
  if (note.abi_min_minor > note.abi_minor) {
    return Refuse("EPP-ABI-NOTE", StrCat("the ABI note needs minor ", note.abi_min_minor,
                                         " but was built for ", note.abi_minor));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ElfFacts> ReadElf(std::string_view file) { return Reader(file).Run(); }

absl::Status CheckElf(const ElfFacts& facts) {
  if (absl::Status s = CheckNote(facts); !s.ok()) return s;
  if (facts.executable_stack) {
    return Refuse("EPP-LOAD-EXECSTACK", "asks for an executable stack; link with -z noexecstack");
  }
  if (facts.text_relocations) {
    return Refuse("EPP-LOAD-TEXTREL", "has text relocations; compile with -fPIC");
  }
  if (!facts.run_path.empty()) {
    return Refuse("EPP-LOAD-RUNPATH", StrCat("has a library search path ", Quoted(facts.run_path)));
  }
  for (const std::string& library : facts.needed) {
    if (MayNeed(library)) continue;
    return Refuse("EPP-LOAD-NEEDED",
                  StrCat("needs ", Quoted(library), ", which a plugin may not load"));
  }
  if (!facts.unique_symbol.empty() && !kSanitized) {
    return Refuse("EPP-LOAD-UNIQUE",
                  StrCat("symbol ", Quoted(facts.unique_symbol),
                         " is unique in the process, so two versions would share it; link "
                         "with epp_plugin.map"));
  }
  if (std::ranges::find(facts.exported, EPP_PLUGIN_ENTRY) == facts.exported.end()) {
    return Refuse("EPP-LOAD-EXPORTS", StrCat("does not export ", EPP_PLUGIN_ENTRY));
  }
  if (!kSanitized) {
    for (const std::string& name : facts.exported) {
      if (IsEntrySymbol(name)) continue;
      return Refuse("EPP-LOAD-EXPORTS",
                    StrCat("exports ", facts.exported_count, " symbols, among them ", Quoted(name),
                           ", want only ", EPP_PLUGIN_ENTRY, "; link with epp_plugin.map"));
    }
  }
  if (facts.static_tls && facts.tls_bytes > kMaxStaticTlsBytes) {
    return Refuse("EPP-LOAD-TLS",
                  StrCat("asks for ", facts.tls_bytes, " bytes of static TLS, want at most ",
                         kMaxStaticTlsBytes));
  }
  return absl::OkStatus();
}

}  // namespace epp::loader
