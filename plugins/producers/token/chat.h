// Chats as the text that a model is given, for the families whose template is simple enough to be
// written out. Bodies are untrusted.
#pragma once

#include <string>
#include <string_view>

#include "epp/plugin.hpp"

namespace token_producer {

enum class ChatTemplate {
  kNone,
  kChatml,
  kQwen2,
  kQwen25,
  kQwen3,
  kLlama3,
  kLlama31,
  kGemma,
  kDeepseekV3
};

// The names of the templates, for errors and documents.
inline constexpr const char* kChatTemplates =
    "chatml, qwen2, qwen2.5, qwen3, llama3, llama3.1, gemma or deepseek-v3";

// False when there is no template of that name.
bool FindChatTemplate(std::string_view name, ChatTemplate& out);

// Why a request has no text of its own; null when it has.
using Unrendered = const char*;

// Appends the text that a chat (the body of /v1/chat/completions) becomes, and says whether the
// special tokens of the tokenizer go around it. Tools, media, tool calls and what else the written
// out templates do not say are a reason, and leave `out` undefined.
Unrendered RenderChat(std::string_view body, ChatTemplate chat, std::string& out, bool& special);

// The body's "add_special_tokens"; fallback when it has none.
bool AddSpecialTokens(std::string_view body, bool fallback);

}  // namespace token_producer
