// Fuzzes the reading of a tokenizer.json, and encoding with what was read.
//
// Input: the file, a zero byte, then the text; without a zero byte everything is the file.
#include <cstdint>
#include <string_view>
#include <vector>

#include "plugins/producers/token/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  token_producer::Tokenizer tokenizer;
  if (!token_producer::Tokenizer::Load(input.substr(0, zero), tokenizer).ok()) return 0;
  const std::string_view text = zero == input.npos ? "a b" : input.substr(zero + 1);
  token_producer::Tokenizer::Memory memory;
  std::vector<uint32_t> first, again;
  const bool ok = tokenizer.Encode(text, true, memory, first).ok();
  // What is remembered of the first time must not change the second.
  if (tokenizer.Encode(text, true, memory, again).ok() != ok || (ok && first != again)) {
    __builtin_trap();
  }
  return 0;
}
