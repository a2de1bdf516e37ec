#include "host/base/json_writer.h"

#include <cassert>
#include <cmath>

#include "host/base/utf8.h"

namespace epp {
namespace {

// True for bytes that a JSON string may not hold as they are, or that need a look (non-ASCII).
bool Special(unsigned char c) { return c < 0x20 || c == '"' || c == '\\' || c >= 0x7F; }

void AppendEscaped(unsigned char c, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      out->append("\\\"");
      return;
    case '\\':
      out->append("\\\\");
      return;
    case '\n':
      out->append("\\n");
      return;
    case '\r':
      out->append("\\r");
      return;
    case '\t':
      out->append("\\t");
      return;
    default:
      out->append("\\u00");
      out->push_back(kHex[c >> 4]);
      out->push_back(kHex[c & 15]);
  }
}

}  // namespace

void AppendJsonString(std::string_view text, std::string* out) {
  out->push_back('"');
  size_t i = 0;
  while (i < text.size()) {
    size_t plain = i;
    while (plain < text.size() && !Special(static_cast<unsigned char>(text[plain]))) ++plain;
    out->append(text, i, plain - i);
    i = plain;
    if (i == text.size()) break;
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      AppendEscaped(c, out);
      ++i;
      continue;
    }
    size_t run = i;
    while (run < text.size() && static_cast<unsigned char>(text[run]) >= 0x80) ++run;
    std::string_view foreign = text.substr(i, run - i);
    i = run;
    while (!foreign.empty()) {
      const size_t good = utf8::ValidPrefix(foreign);
      out->append(foreign.substr(0, good));
      foreign.remove_prefix(good);
      if (foreign.empty()) break;
      out->append("\xEF\xBF\xBD");
      foreign.remove_prefix(utf8::MalformedLength(foreign));
    }
  }
  out->push_back('"');
}

void AppendJsonDouble(double value, std::string* out) {
  if (!std::isfinite(value)) {
    out->append("null");
    return;
  }
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  out->append(buffer, end);
}

void JsonWriter::Separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (depth_ == 0) return;
  const uint64_t bit = uint64_t{1} << (depth_ - 1);
  if (has_items_ & bit) out_->push_back(',');
  has_items_ |= bit;
}

JsonWriter& JsonWriter::Open(char bracket) {
  Separate();
  assert(depth_ < kMaxDepth);
  out_->push_back(bracket);
  has_items_ &= ~(uint64_t{1} << depth_);
  ++depth_;
  return *this;
}

JsonWriter& JsonWriter::Close(char bracket) {
  assert(depth_ > 0 && !after_key_);
  --depth_;
  out_->push_back(bracket);
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view name) {
  assert(depth_ > 0 && !after_key_);
  Separate();
  AppendJsonString(name, out_);
  out_->push_back(':');
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::Value(std::string_view text) {
  Separate();
  AppendJsonString(text, out_);
  return *this;
}

JsonWriter& JsonWriter::Value(double value) {
  Separate();
  AppendJsonDouble(value, out_);
  return *this;
}

JsonWriter& JsonWriter::Raw(std::string_view json) {
  Separate();
  out_->append(json);
  return *this;
}

}  // namespace epp
