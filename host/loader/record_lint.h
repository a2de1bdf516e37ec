// Checks the record that a library's entry function returned before anything follows its pointers.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "epp/abi.h"
#include "host/loader/elf_inspect.h"

namespace epp::loader {

// Where a mapped library's segments lie.
class Image {
 public:
  Image(uint64_t base, std::span<const ElfSegment> segments);
  // True when `size` bytes at p are readable parts of the library.
  bool HasData(const void* p, uint64_t size) const;
  bool HasCode(const void* p) const;
  // Length of a NUL-terminated string of at most `max` bytes that lies in the library; -1 if none.
  int64_t StringLength(const char* p, uint64_t max) const;

 private:
  struct Part {
    uint64_t begin, end;
    bool code;
  };
  std::vector<Part> parts_;
};

// Every pointer must lead into the library, every string must end, names and counts must be in
// range, and the record must agree with the note and the file's name.
// Errors: EPP-ABI-RECORD or EPP-ABI-NOTE, naming type, field and what was found.
absl::Status LintRecord(const epp_module* module, const Image& image, const epp_abi_note& note,
                        std::string_view file_name);

// True for [a-z0-9][a-z0-9-]{0,62}: names of libraries and plugin types.
bool IsPluginName(std::string_view name);

}  // namespace epp::loader
