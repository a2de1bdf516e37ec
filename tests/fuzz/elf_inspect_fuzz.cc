// Any bytes as a library file.
#include <cstddef>
#include <cstdint>
#include <string>

#include "host/loader/elf_inspect.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string file(reinterpret_cast<const char*>(data), size);
  if (const auto facts = epp::loader::ReadElf(file); facts.ok()) {
    epp::loader::CheckElf(*facts).IgnoreError();
  }
  return 0;
}
