#include "plugins/producers/token/render.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "plugins/common/json_text.hpp"

namespace token_producer {
namespace {

using epp::json::Cursor;
using epp::json::Equals;
using epp::json::RawString;

constexpr int kMaxDepth = 128;
constexpr std::string_view kBillingHeader = "x-anthropic-billing-header";

void AppendHex(uint32_t unit, std::string& out) {
  constexpr char kDigits[] = "0123456789abcdef";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[unit >> shift & 15];
}

// The escape that JSON and Python share, or nothing.
const char* ShortEscape(char c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    default:
      return nullptr;
  }
}

void AppendEscaped(std::string_view text, std::string& out) {
  for (const char c : text) {
    if (const char* escape = ShortEscape(c)) {
      out += escape;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      AppendHex(static_cast<unsigned char>(c), out);
    } else {
      out += c;
    }
  }
}

// Takes one code point off valid UTF-8; a byte that is none counts as U+FFFD.
uint32_t TakeCodePoint(std::string_view& text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const size_t length = lead < 0x80    ? 1
                        : lead >= 0xF0 ? 4
                        : lead >= 0xE0 ? 3
                        : lead >= 0xC0 ? 2
                                       : 0;
  if (length == 0 || length > text.size()) {
    text.remove_prefix(1);
    return 0xFFFD;
  }
  uint32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) code = code << 6 | (byte(i) & 0x3F);
  text.remove_prefix(length);
  return code;
}

void AppendPythonString(std::string_view text, std::string& out) {
  out += '"';
  while (!text.empty()) {
    const uint32_t code = TakeCodePoint(text);
    if (code >= 0x10000) {
      AppendHex(0xD800 + ((code - 0x10000) >> 10), out);
      AppendHex(0xDC00 + ((code - 0x10000) & 0x3FF), out);
    } else if (code >= 0x80 || (code < 0x20 && ShortEscape(static_cast<char>(code)) == nullptr)) {
      AppendHex(code, out);
    } else if (const char* escape = ShortEscape(static_cast<char>(code))) {
      out += escape;
    } else {
      out += static_cast<char>(code);
    }
  }
  out += '"';
}

// As Python's repr of a float.
void AppendPythonNumber(std::string_view number, std::string& out) {
  if (number.find_first_of(".eE") == std::string_view::npos) {
    out += number;
    return;
  }
  const double value = epp::json::ToDouble(number);
  if (value > 1.7976931348623157e308 || value < -1.7976931348623157e308) {
    out += number[0] == '-' ? "-Infinity" : "Infinity";
    return;
  }
  std::array<char, 40> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific)
                       .ptr;
  std::string_view text(buffer.data(), static_cast<size_t>(end - buffer.data()));
  if (text[0] == '-') {
    out += '-';
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string digits(text.substr(0, 1));
  if (e > 2) digits += text.substr(2, e - 2);
  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (count > 1) out.append(".").append(digits, 1);
    out += exponent < 0 ? "e-" : "e+";
    const std::string power = std::to_string(std::abs(exponent));
    if (power.size() < 2) out += '0';
    out += power;
  } else if (exponent < 0) {
    out.append("0.").append(static_cast<size_t>(-exponent - 1), '0').append(digits);
  } else if (count <= exponent + 1) {
    out.append(digits).append(static_cast<size_t>(exponent + 1 - count), '0').append(".0");
  } else {
    out.append(digits, 0, static_cast<size_t>(exponent) + 1).append(".");
    out.append(digits, static_cast<size_t>(exponent) + 1);
  }
}

bool AppendPythonValue(Cursor& in, int depth, std::string& out) {
  if (depth > kMaxDepth) return in.Fault("nested too deeply");
  const char c = in.Peek();
  bool first = true;
  const auto separate = [&] {
    if (!first) out += ", ";
    first = false;
  };
  if (c == '{') {
    out += '{';
    const bool ok = in.Object([&](const RawString& key) {
      separate();
      AppendPythonString(epp::json::Unescaped(key.bytes), out);
      out += ": ";
      return AppendPythonValue(in, depth + 1, out);
    });
    out += '}';
    return ok;
  }
  if (c == '[') {
    out += '[';
    const bool ok = in.Array([&] {
      separate();
      return AppendPythonValue(in, depth + 1, out);
    });
    out += ']';
    return ok;
  }
  if (c == '"') {
    RawString text;
    if (!in.String(text)) return false;
    AppendPythonString(epp::json::Unescaped(text.bytes), out);
    return true;
  }
  if (c == '-' || epp::json::IsDigit(c)) {
    std::string_view number;
    if (!in.Number(number)) return false;
    AppendPythonNumber(number, out);
    return true;
  }
  std::string_view word;
  if (!in.Value(word)) return false;
  out += word;
  return true;
}

// A block of Anthropic content. Strings are as in the body, escapes and all.
struct Block {
  RawString type;
  std::string_view text, thinking, id, name, input, tool_use_id;
  std::string_view content;  // any value
  RawString source_type;
  std::string_view url, data, media_type;
};

// A string's inside; anything else reads as nothing.
bool Text(Cursor& in, std::string_view& out) {
  if (in.Peek() != '"') return in.Skip();
  RawString text;
  if (!in.String(text)) return false;
  out = text.bytes;
  return true;
}

bool ReadSource(Cursor& in, Block& out) {
  if (in.Peek() != '{') return in.Skip();
  return in.Object([&](const RawString& key) {
    if (Equals(key, "type") && in.Peek() == '"') return in.String(out.source_type);
    if (Equals(key, "url")) return Text(in, out.url);
    if (Equals(key, "data")) return Text(in, out.data);
    if (Equals(key, "media_type")) return Text(in, out.media_type);
    return in.Skip();
  });
}

bool ReadBlock(Cursor& in, Block& out) {
  if (in.Peek() != '{') return in.Skip();
  return in.Object([&](const RawString& key) {
    if (Equals(key, "type") && in.Peek() == '"') return in.String(out.type);
    if (Equals(key, "text")) return Text(in, out.text);
    if (Equals(key, "thinking")) return Text(in, out.thinking);
    if (Equals(key, "id")) return Text(in, out.id);
    if (Equals(key, "name")) return Text(in, out.name);
    if (Equals(key, "tool_use_id")) return Text(in, out.tool_use_id);
    if (Equals(key, "input")) return in.Value(out.input);
    if (Equals(key, "content")) return in.Value(out.content);
    if (Equals(key, "source")) return ReadSource(in, out);
    return in.Skip();
  });
}

// Calls each(block) for the blocks of a content that is a list.
template <class F>
bool ForEachBlock(Cursor& in, F&& each) {
  return in.Array([&] {
    Block block;
    return ReadBlock(in, block) && each(block);
  });
}

void AppendTextPart(std::string_view text, std::string& parts) {
  if (!parts.empty()) parts += ',';
  parts.append("{\"type\":\"text\",\"text\":\"").append(text).append("\"}");
}

void AppendImagePart(const Block& block, std::string& parts) {
  const bool data = !block.data.empty();
  if (!data && block.url.empty()) return;
  if (!parts.empty()) parts += ',';
  parts += "{\"type\":\"image_url\",\"image_url\":{\"url\":\"";
  if (data) {
    parts.append("data:").append(block.media_type.empty() ? "image/jpeg" : block.media_type);
    parts.append(";base64,").append(block.data);
  } else {
    parts += block.url;
  }
  parts += "\"}}";
}

class Conversion {
 public:
  explicit Conversion(std::string& out) : out_(out) {}

  // The messages go behind the system's, wherever the body has it.
  bool Message(Cursor& in) {
    RawString role;
    std::string_view content;
    const bool ok = in.Object([&](const RawString& key) {
      if (Equals(key, "role") && in.Peek() == '"') return in.String(role);
      if (Equals(key, "content")) return in.Value(content);
      return in.Skip();
    });
    return ok && Convert(role, content);
  }

  bool System(Cursor& in, std::string& text) {
    if (in.Peek() == '"') {
      RawString all;
      if (!in.String(all)) return false;
      text = all.bytes;
      return true;
    }
    if (in.Peek() != '[') return in.Skip();
    return ForEachBlock(in, [&](const Block& block) {
      const bool billing = epp::json::Unescaped(block.text).starts_with(kBillingHeader);
      if (Equals(block.type, "text") && !billing) text += block.text;
      return true;
    });
  }

 private:
  bool Convert(const RawString& role, std::string_view content) {
    Cursor in(content);
    if (content.empty() || in.Peek() != '[') {
      RawString text;
      if (!content.empty() && in.Peek() == '"' && !in.String(text)) return false;
      Begin(role.bytes);
      out_.append(",\"content\":\"").append(text.bytes).append("\"}");
      return true;
    }
    const bool user = Equals(role, "user");
    std::string parts, reasoning, calls;
    bool only_text = true;
    size_t count = 0;
    const bool ok = ForEachBlock(in, [&](const Block& block) {
      if (Equals(block.type, "text")) {
        AppendTextPart(block.text, parts);
        ++count;
      } else if (Equals(block.type, "image")) {
        AppendImagePart(block, parts);
        only_text = false;
      } else if (Equals(block.type, "thinking")) {
        reasoning += block.thinking;
      } else if (Equals(block.type, "tool_use")) {
        return ToolCall(block, calls);
      } else if (Equals(block.type, "tool_result")) {
        return ToolResult(block, user, parts, count);
      }
      return true;
    });
    if (!ok) return false;
    if (parts.empty() && reasoning.empty() && calls.empty()) return true;
    Begin(role.bytes);
    if (!parts.empty()) {
      out_ += ",\"content\":";
      if (only_text && count == 1) {
        // {"type":"text","text":"..."}: the text alone.
        constexpr std::string_view kHead = "{\"type\":\"text\",\"text\":";
        out_ += std::string_view(parts).substr(kHead.size(), parts.size() - kHead.size() - 1);
      } else {
        out_.append("[").append(parts).append("]");
      }
    }
    if (!reasoning.empty()) out_.append(",\"reasoning\":\"").append(reasoning).append("\"");
    if (!calls.empty()) out_.append(",\"tool_calls\":[").append(calls).append("]");
    out_ += '}';
    return true;
  }

  static bool ToolCall(const Block& block, std::string& calls) {
    std::string arguments;
    if (!AppendPythonJson(block.input, arguments)) return false;
    if (!calls.empty()) calls += ',';
    calls.append("{\"id\":\"").append(block.id.empty() ? "call_0000000000" : block.id);
    calls.append("\",\"type\":\"function\",\"function\":{\"name\":\"").append(block.name);
    calls += "\",\"arguments\":\"";
    AppendEscaped(arguments, calls);
    calls += "\"}}";
    return true;
  }

  // A user's becomes a message of its own, and one of the user with its images.
  bool ToolResult(const Block& block, bool user, std::string& parts, size_t& count) {
    std::string text, images;
    Cursor in(block.content);
    bool ok = true;
    if (block.content.empty()) {
      // nothing to say
    } else if (in.Peek() == '"') {
      RawString all;
      ok = in.String(all);
      text = all.bytes;
    } else if (in.Peek() == '[') {
      bool first = true;
      ok = ForEachBlock(in, [&](const Block& inner) {
        if (Equals(inner.type, "text")) {
          if (!first) text += "\\n";
          first = false;
          text += inner.text;
        } else if (Equals(inner.type, "image")) {
          AppendImagePart(inner, images);
        }
        return true;
      });
    }
    if (!ok) return false;
    if (!user) {
      AppendTextPart(text, parts);
      ++count;
      return true;
    }
    Begin("tool");
    out_.append(",\"tool_call_id\":\"").append(block.tool_use_id);
    out_.append("\",\"content\":\"").append(text).append("\"}");
    if (!images.empty()) {
      Begin("user");
      out_.append(",\"content\":[").append(images).append("]}");
    }
    return true;
  }

  void Begin(std::string_view role) {
    if (out_.back() == '}') out_ += ',';
    out_.append("{\"role\":\"").append(role).append("\"");
  }

  std::string& out_;
};

// One Anthropic tool as a function.
bool AppendTool(Cursor& in, std::string& out) {
  std::string_view name, description, schema;
  bool has_description = false;
  const bool ok = in.Object([&](const RawString& key) {
    if (Equals(key, "name")) return Text(in, name);
    if (Equals(key, "description")) return has_description = true, Text(in, description);
    if (Equals(key, "input_schema")) return in.Value(schema);
    return in.Skip();
  });
  if (!ok) return false;
  Cursor of_schema(schema);
  const bool empty = schema.empty() || of_schema.Peek() != '{' || [&] {
    size_t members = 0;
    (void)of_schema.Object([&](const RawString&) { return ++members, of_schema.Skip(); });
    return members == 0;
  }();
  if (out.back() == '}') out += ',';
  out.append("{\"type\":\"function\",\"function\":{\"name\":\"").append(name).append("\"");
  if (has_description) out.append(",\"description\":\"").append(description).append("\"");
  out.append(",\"parameters\":").append(empty ? "{\"type\":\"object\"}" : schema).append("}}");
  return true;
}

}  // namespace

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  AppendEscaped(text, out);
  return out += '"';
}

std::string WithModel(std::string_view body, const epp_parsed& parsed,
                      std::string_view quoted_model) {
  const size_t offset = std::min<uint64_t>(parsed.model_offset, body.size());
  const size_t size = std::min<uint64_t>(parsed.model_size, body.size() - offset);
  std::string out;
  out.reserve(body.size() + quoted_model.size() + 16);
  out.append(body.substr(0, offset));
  if (size == 0) out += "\"model\":";
  out += quoted_model;
  if (size == 0 && parsed.member_count > 0) out += ',';
  return out.append(body.substr(offset + size));
}

bool HasListContent(std::string_view body) {
  Cursor in(body);
  bool found = false;
  (void)in.Object([&](const RawString& key) {
    if (!Equals(key, "messages") || in.Peek() != '[') return in.Skip();
    return in.Array([&] {
      if (in.Peek() != '{') return in.Skip();
      return in.Object([&](const RawString& member) {
        if (!Equals(member, "content") || in.Peek() != '[') return in.Skip();
        size_t items = 0;
        const bool ok = in.Array([&] { return ++items, in.Skip(); });
        found |= items > 0;
        return ok;
      });
    });
  });
  return found;
}

bool AppendPythonJson(std::string_view json, std::string& out) {
  Cursor in(json);
  if (in.AtEnd() || in.Peek() == 'n') return out += "{}", true;
  return AppendPythonValue(in, 0, out) && in.End();
}

epp::Status ChatFromMessages(std::string_view body, std::string_view quoted_model,
                             std::string& out) {
  std::string system, tools;
  std::string_view messages;
  out.append("{\"model\":").append(quoted_model).append(",\"messages\":[");
  Conversion conversion(out);
  tools = "[";
  Cursor in(body);
  bool ok = in.Object([&](const RawString& key) {
    if (Equals(key, "system")) return conversion.System(in, system);
    if (Equals(key, "messages")) return in.Value(messages);
    if (Equals(key, "tools") && in.Peek() == '[') {
      return in.Array([&] { return in.Peek() == '{' ? AppendTool(in, tools) : in.Skip(); });
    }
    return in.Skip();
  });
  if (!system.empty()) {
    out.append("{\"role\":\"system\",\"content\":\"").append(system).append("\"}");
  }
  Cursor list(messages);
  ok = ok && (messages.empty() || list.Peek() != '[' || list.Array([&] {
         return list.Peek() == '{' ? conversion.Message(list) : list.Skip();
       }));
  if (!ok) return epp::Status::Invalid("the messages cannot be made into a chat");
  out += ']';
  if (tools.size() > 1) out.append(",\"tools\":").append(tools).append("]");
  out += '}';
  return {};
}

}  // namespace token_producer
