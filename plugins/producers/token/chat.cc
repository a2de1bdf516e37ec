#include "plugins/producers/token/chat.h"

#include <array>
#include <utility>
#include <vector>

#include "plugins/common/json_text.hpp"

namespace token_producer {
namespace {

using epp::json::Cursor;
using epp::json::Equals;
using epp::json::RawString;

constexpr std::array<std::pair<std::string_view, ChatTemplate>, 8> kNames{
    {{"chatml", ChatTemplate::kChatml},
     {"qwen2", ChatTemplate::kQwen2},
     {"qwen2.5", ChatTemplate::kQwen25},
     {"qwen3", ChatTemplate::kQwen3},
     {"llama3", ChatTemplate::kLlama3},
     {"llama3.1", ChatTemplate::kLlama31},
     {"gemma", ChatTemplate::kGemma},
     {"deepseek-v3", ChatTemplate::kDeepseekV3}}};

struct Message {
  std::string role, text;
  size_t parts = 0;  // of a list of texts
};

struct Chat {
  std::vector<Message> messages;
  bool generation_prompt = true;
  bool thinking = true;
  bool special = false;
  Unrendered reason = nullptr;
};

// A value that says nothing: null, false, [], {} or "".
bool Nothing(std::string_view json) {
  Cursor in(json);
  size_t count = 0;
  switch (in.Peek()) {
    case 'n':
    case 'f':
      return true;
    case '[':
      return in.Array([&] { return ++count, in.Skip(); }) && count == 0;
    case '{':
      return in.Object([&](const RawString&) { return ++count, in.Skip(); }) && count == 0;
    default:
      return json == "\"\"";
  }
}

bool Flag(Cursor& in, bool& out) {
  const char c = in.Peek();
  if (c == 't' || c == 'f') out = c == 't';
  return in.Skip();
}

void AppendUnescaped(const RawString& text, std::string& out) {
  if (!text.escaped) {
    out += text.bytes;
    return;
  }
  const size_t before = out.size();
  out.resize(before + text.bytes.size());
  out.resize(
      static_cast<size_t>(epp::json::Unescape(text.bytes, out.data() + before) - out.data()));
}

// Text, or a list of texts, which lines separate.
bool ReadContent(Cursor& in, Message& message, Chat& chat) {
  RawString text;
  std::string& out = message.text;
  out.clear();
  message.parts = 0;
  if (in.Peek() == '"') return in.String(text) && (AppendUnescaped(text, out), true);
  if (in.Peek() != '[') {
    if (in.Peek() != 'n') chat.reason = "content";
    return in.Skip();
  }
  return in.Array([&] {
    if (message.parts++ > 0) out += '\n';
    if (in.Peek() == '"') return in.String(text) && (AppendUnescaped(text, out), true);
    bool found = false, is_text = false;
    RawString type;
    if (in.Peek() != '{') return chat.reason = "content", in.Skip();
    const bool ok = in.Object([&](const RawString& key) {
      if (Equals(key, "type") && in.Peek() == '"') {
        if (!in.String(type)) return false;
        is_text = Equals(type, "text");
        return true;
      }
      if (!Equals(key, "text") || in.Peek() != '"') return in.Skip();
      found = true;
      return in.String(text);
    });
    if (!ok) return false;
    if (found && is_text) {
      AppendUnescaped(text, out);
    } else {
      chat.reason = "media";
    }
    return true;
  });
}

bool ReadMessage(Cursor& in, Chat& chat) {
  if (in.Peek() != '{') return chat.reason = "messages", in.Skip();
  Message& message = chat.messages.emplace_back();
  return in.Object([&](const RawString& key) {
    if (Equals(key, "role")) {
      RawString role;
      if (in.Peek() != '"') return chat.reason = "role", in.Skip();
      if (!in.String(role)) return false;
      message.role.clear();
      AppendUnescaped(role, message.role);
      return true;
    }
    if (Equals(key, "content")) return ReadContent(in, message, chat);
    std::string_view value;
    if (!in.Value(value)) return false;
    const bool calls = Equals(key, "tool_calls") || Equals(key, "function_call");
    const bool thought = Equals(key, "reasoning_content") || Equals(key, "reasoning");
    if (calls && !Nothing(value)) chat.reason = "tools";
    if (thought && !Nothing(value)) chat.reason = "reasoning";
    return true;
  });
}

bool Read(std::string_view body, Chat& chat) {
  Cursor in(body);
  return in.Object([&](const RawString& key) {
    if (Equals(key, "messages")) {
      chat.messages.clear();
      if (in.Peek() != '[') return chat.reason = "messages", in.Skip();
      return in.Array([&] { return ReadMessage(in, chat); });
    }
    if (Equals(key, "add_generation_prompt")) return Flag(in, chat.generation_prompt);
    if (Equals(key, "add_special_tokens")) return Flag(in, chat.special);
    if (Equals(key, "chat_template_kwargs") && in.Peek() == '{') {
      return in.Object([&](const RawString& name) {
        if (Equals(name, "enable_thinking")) return Flag(in, chat.thinking);
        chat.reason = "template";
        return in.Skip();
      });
    }
    std::string_view value;
    if (!in.Value(value)) return false;
    const bool tools = Equals(key, "tools") || Equals(key, "functions");
    const bool other = Equals(key, "chat_template") || Equals(key, "documents") ||
                       Equals(key, "continue_final_message") || Equals(key, "reasoning_effort");
    if (tools && !Nothing(value)) chat.reason = "tools";
    if (other && !Nothing(value)) chat.reason = "template";
    return true;
  });
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r\x1c\x1d\x1e\x1f";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

class Writer {
 public:
  Writer(const Chat& chat, std::string& out) : chat_(chat), out_(out) {}

  Unrendered Chatml(std::string_view default_system) {
    if (!default_system.empty() && !StartsWithSystem()) Turn("system", default_system);
    for (const Message& m : chat_.messages) Turn(m.role, m.text);
    if (chat_.generation_prompt) out_ += "<|im_start|>assistant\n";
    return nullptr;
  }

  // Thoughts of earlier turns are forgotten.
  Unrendered Qwen3() {
    if (chat_.messages.empty() || chat_.messages.back().role != "user") return "template";
    for (const Message& m : chat_.messages) {
      if (m.role != "system" && m.role != "user" && m.role != "assistant") return "role";
      std::string_view text = m.text;
      constexpr std::string_view kEnd = "</think>";
      const size_t thought = text.rfind(kEnd);
      if (m.role == "assistant" && thought != text.npos) {
        text.remove_prefix(thought + kEnd.size());
        while (text.starts_with('\n')) text.remove_prefix(1);
      }
      // Results of tools in a user's text count as one query with the text before them.
      if (m.role == "user" && text.starts_with("<tool_response>")) return "tools";
      Turn(m.role, text);
    }
    if (chat_.generation_prompt) out_ += "<|im_start|>assistant\n";
    if (chat_.generation_prompt && !chat_.thinking) out_ += "<think>\n\n</think>\n\n";
    return nullptr;
  }

  Unrendered Llama3(bool dated) {
    out_ += "<|begin_of_text|>";
    size_t i = 0;
    if (dated) {
      Header("system");
      out_ += "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
      if (StartsWithSystem()) out_ += Trimmed(chat_.messages[i++].text);
      out_ += "<|eot_id|>";
    }
    for (; i < chat_.messages.size(); ++i) {
      const Message& m = chat_.messages[i];
      if (dated && (m.role == "tool" || m.role == "ipython")) return "role";
      Header(m.role);
      out_.append(Trimmed(m.text)).append("<|eot_id|>");
    }
    if (chat_.generation_prompt || !dated) Header("assistant");
    return nullptr;
  }

  Unrendered Gemma() {
    out_ += "<bos>";
    size_t i = StartsWithSystem() ? 1 : 0;
    std::string_view system = i == 1 ? chat_.messages[0].text : std::string_view();
    const bool has_system = i == 1;
    for (bool user = true; i < chat_.messages.size(); ++i, user = !user) {
      const Message& m = chat_.messages[i];
      if (m.role != (user ? "user" : "assistant")) return "role";
      // This template joins texts in a way of its own.
      if (m.parts > 1 || (has_system && chat_.messages[0].parts > 1)) return "content";
      out_.append("<start_of_turn>").append(user ? "user" : "model").append("\n");
      if (has_system && i == 1) out_.append(system).append("\n\n");
      out_.append(Trimmed(m.text)).append("<end_of_turn>\n");
    }
    if (chat_.generation_prompt) out_ += "<start_of_turn>model\n";
    return nullptr;
  }

  Unrendered DeepseekV3() {
    out_ +=
        "<\xEF\xBD\x9C"
        "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>";
    bool first = true;
    for (const Message& m : chat_.messages) {
      if (m.role != "system") continue;
      if (!first) out_ += "\n\n";
      first = false;
      out_ += m.text;
    }
    for (const Message& m : chat_.messages) {
      if (m.role == "user") {
        out_.append("<\xEF\xBD\x9CUser\xEF\xBD\x9C>").append(m.text);
      } else if (m.role == "assistant") {
        out_.append(
                "<\xEF\xBD\x9C"
                "Assistant\xEF\xBD\x9C>")
            .append(m.text);
        out_ +=
            "<\xEF\xBD\x9C"
            "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>";
      } else if (m.role != "system") {
        return "role";
      }
    }
    if (chat_.generation_prompt)
      out_ +=
          "<\xEF\xBD\x9C"
          "Assistant\xEF\xBD\x9C>";
    return nullptr;
  }

 private:
  bool StartsWithSystem() const {
    return !chat_.messages.empty() && chat_.messages[0].role == "system";
  }
  void Turn(std::string_view role, std::string_view text) {
    out_.append("<|im_start|>").append(role).append("\n").append(text).append("<|im_end|>\n");
  }
  void Header(std::string_view role) {
    out_.append("<|start_header_id|>").append(role).append("<|end_header_id|>\n\n");
  }

  const Chat& chat_;
  std::string& out_;
};

}  // namespace

bool FindChatTemplate(std::string_view name, ChatTemplate& out) {
  for (const auto& [known, value] : kNames) {
    if (known == name) return out = value, true;
  }
  return false;
}

Unrendered RenderChat(std::string_view body, ChatTemplate chat, std::string& out, bool& special) {
  if (chat == ChatTemplate::kNone) return "template";
  Chat read;
  if (!Read(body, read)) return "body";
  if (read.reason != nullptr) return read.reason;
  if (read.messages.empty()) return "messages";
  for (const Message& m : read.messages) {
    if (m.role.empty()) return "role";
    if (m.role == "tool" || m.role == "function") return "tools";
  }
  special = read.special;
  Writer writer(read, out);
  switch (chat) {
    case ChatTemplate::kNone:
      break;
    case ChatTemplate::kChatml:
      return writer.Chatml("");
    case ChatTemplate::kQwen2:
      return writer.Chatml("You are a helpful assistant.");
    case ChatTemplate::kQwen25:
      return writer.Chatml("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
    case ChatTemplate::kQwen3:
      return writer.Qwen3();
    case ChatTemplate::kLlama3:
      return writer.Llama3(false);
    case ChatTemplate::kLlama31:
      return writer.Llama3(true);
    case ChatTemplate::kGemma:
      return writer.Gemma();
    case ChatTemplate::kDeepseekV3:
      return writer.DeepseekV3();
  }
  return "template";
}

bool AddSpecialTokens(std::string_view body, bool fallback) {
  constexpr std::string_view kKey = "\"add_special_tokens\"";
  if (body.find(kKey) == body.npos) return fallback;
  Cursor in(body);
  (void)in.Object([&](const RawString& key) {
    return Equals(key, "add_special_tokens") ? Flag(in, fallback) : in.Skip();
  });
  return fallback;
}

}  // namespace token_producer
