// Fuzzes the reading of a tokenizer.json, encoding with what was read, and the writing of chats.
//
// Input: the file, a zero byte, then the text or the body of a chat; without a zero byte everything
// is the file.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/producers/token/chat.h"
#include "plugins/producers/token/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const std::string_view text = zero == input.npos ? "a b" : input.substr(zero + 1);
  for (const char* name : {"chatml", "qwen2.5", "qwen3", "llama3.1", "gemma", "deepseek-v3"}) {
    using token_producer::ChatTemplate;
    ChatTemplate chat = ChatTemplate::kNone;
    bool special = token_producer::AddSpecialTokens(text, true);
    std::string out;
    if (!token_producer::FindChatTemplate(name, chat)) __builtin_trap();
    (void)token_producer::RenderChat(text, chat, out, special);
  }
  token_producer::Tokenizer tokenizer;
  if (!token_producer::Tokenizer::Load(input.substr(0, zero), tokenizer).ok()) return 0;
  token_producer::Tokenizer::Memory memory;
  std::vector<uint32_t> first, again;
  const bool ok = tokenizer.Encode(text, true, memory, first).ok();
  // What is remembered of the first time must not change the second.
  if (tokenizer.Encode(text, true, memory, again).ok() != ok || (ok && first != again)) {
    __builtin_trap();
  }
  return 0;
}
