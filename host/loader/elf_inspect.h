// What an ELF shared object would do when loaded, read from its bytes without running any of them.
//
// Only what the dynamic loader itself looks at counts (program headers, dynamic table); section
// headers may be absent. The bytes are untrusted: every offset is checked against the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "epp/abi.h"

namespace epp::loader {

// A PT_LOAD: addresses before relocation.
struct ElfSegment {
  uint64_t address = 0;
  uint64_t memory_bytes = 0;
  uint64_t file_offset = 0;
  uint64_t file_bytes = 0;
  bool readable = false;
  bool writable = false;
  bool executable = false;
};

struct ElfFacts {
  std::vector<ElfSegment> segments;
  std::vector<std::string> needed;
  std::vector<std::string> exported;  // defined and visible; at most 64 of them
  size_t exported_count = 0;
  std::vector<std::string> undefined;  // what others must define, weak ones excluded; at most 4096
  std::string unique_symbol;           // one STB_GNU_UNIQUE definition, or empty
  std::string run_path;                // of DT_RPATH or DT_RUNPATH
  bool executable_stack = false;
  bool text_relocations = false;
  bool static_tls = false;  // needs room in the static TLS block
  uint64_t tls_bytes = 0;
  std::optional<epp_abi_note> note;
};

// Errors: "[EPP-LOAD-ELF]" for anything but a well-formed shared object for this machine.
absl::StatusOr<ElfFacts> ReadElf(std::string_view file);

// May it be loaded? Errors: EPP-LOAD-EXECSTACK, -TEXTREL, -RUNPATH, -NEEDED, -UNIQUE, -EXPORTS,
// -TLS; EPP-ABI-NOTE, -MAJOR, -MINOR.
absl::Status CheckElf(const ElfFacts& facts);

// The largest static TLS block that a library may ask for. The reserve that glibc keeps for all
// libraries together is about 1.6 KiB.
inline constexpr uint64_t kMaxStaticTlsBytes = 512;

}  // namespace epp::loader
