#include "splice.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "plugins/common/json_text.hpp"

namespace sidecar {
namespace {

std::string_view Between(const char* begin, const char* end) {
  return {begin, static_cast<size_t>(end - begin)};
}

}  // namespace

std::optional<Splice> Splice::Parse(std::string_view text, std::string* why) {
  Splice out;
  epp::json::Cursor cursor(text);
  if (cursor.Peek() != '{') {
    if (why != nullptr) *why = "the body is not a JSON object";
    return std::nullopt;
  }
  const char* const brace = cursor.at();
  out.head_ = Between(text.data(), brace + 1);
  const char* from = brace + 1;  // behind the last delimiter
  const bool ok = cursor.Object([&](const epp::json::RawString& key) {
    Member member;
    member.key = key.bytes;
    member.escaped = key.escaped;
    const char* const quote = key.bytes.data() - 1;
    if (!out.members_.empty()) {
      const auto* comma =
          static_cast<const char*>(std::memchr(from, ',', static_cast<size_t>(quote - from)));
      out.members_.back().tail = Between(from, comma);
      from = comma + 1;
    }
    member.lead = Between(from, quote);
    cursor.Peek();
    member.middle = Between(quote, cursor.at());
    if (!cursor.Value(member.value)) return false;
    from = cursor.at();
    out.members_.push_back(std::move(member));
    return true;
  });
  if (!ok || !cursor.End()) {
    if (why != nullptr) {
      *why = "the body is not JSON: " + std::string(cursor.reason()) + " at byte " +
             std::to_string(cursor.at() - text.data());
    }
    return std::nullopt;
  }
  const size_t close = text.rfind('}');
  const std::string_view rest = Between(from, text.data() + close);
  (out.members_.empty() ? out.inside_ : out.members_.back().tail) = rest;
  out.foot_ = text.substr(close);
  return out;
}

bool Splice::Is(const Member& member, std::string_view key) const {
  return !member.removed && epp::json::Equals({member.key, member.escaped}, key);
}

std::optional<std::string_view> Splice::Get(std::string_view key) const {
  for (const auto& [name, value] : added_) {
    if (name == key) return value;
  }
  for (auto it = members_.rbegin(); it != members_.rend(); ++it) {
    if (Is(*it, key)) return it->edited ? std::string_view(it->replaced) : it->value;
  }
  return std::nullopt;
}

void Splice::Set(std::string_view key, std::string value) {
  bool placed = false;
  for (Member& member : members_) {
    if (!Is(member, key)) continue;
    if (placed) {
      member.removed = true;
      continue;
    }
    member.replaced = value;
    member.edited = placed = true;
  }
  if (placed) return;
  for (auto& [name, old] : added_) {
    if (name != key) continue;
    old = std::move(value);
    return;
  }
  added_.emplace_back(key, std::move(value));
}

void Splice::Remove(std::string_view key) {
  for (Member& member : members_) {
    if (Is(member, key)) member.removed = true;
  }
  std::erase_if(added_, [&](const auto& entry) { return entry.first == key; });
}

bool Splice::changed() const {
  return !added_.empty() ||
         std::ranges::any_of(members_, [](const Member& m) { return m.edited || m.removed; });
}

std::string Splice::Render() const {
  std::string out;
  size_t size = head_.size() + foot_.size() + inside_.size();
  for (const Member& m : members_) {
    size += m.lead.size() + m.middle.size() + m.tail.size() + 1 +
            (m.edited ? m.replaced.size() : m.value.size());
  }
  for (const auto& [key, value] : added_) size += key.size() + value.size() + 4;
  out.reserve(size);
  out += head_;
  bool first = true;
  const auto comma = [&] {
    if (!first) out += ',';
    first = false;
  };
  for (const Member& m : members_) {
    if (m.removed) continue;
    comma();
    out += m.lead;
    out += m.middle;
    out += m.edited ? std::string_view(m.replaced) : m.value;
    out += m.tail;
  }
  for (const auto& [key, value] : added_) {
    comma();
    out += JsonString(key);
    out += ':';
    out += value;
  }
  out += inside_;
  out += foot_;
  return out;
}

std::string JsonString(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size() + 2);
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  out += '"';
  return out;
}

std::optional<std::string> StringOf(std::string_view json) {
  epp::json::Cursor cursor(json);
  epp::json::RawString raw;
  if (!cursor.String(raw) || !cursor.AtEnd()) return std::nullopt;
  return raw.escaped ? epp::json::Unescaped(raw.bytes) : std::string(raw.bytes);
}

std::optional<int64_t> IntegerOf(std::string_view json) {
  int64_t exact = 0;
  const char* const end = json.data() + json.size();
  if (const auto [at, error] = std::from_chars(json.data(), end, exact);
      error == std::errc() && at == end && !json.empty()) {
    return exact;
  }
  epp::json::Cursor cursor(json);
  std::string_view number;
  if (!cursor.Number(number) || !cursor.AtEnd()) return std::nullopt;
  const double value = epp::json::ToDouble(number);
  if (!(std::abs(value) <= 9007199254740992.0) || value != std::floor(value)) return std::nullopt;
  return static_cast<int64_t>(value);
}

std::optional<std::string_view> Lookup(std::string_view object, std::string_view key) {
  std::optional<std::string_view> found;
  epp::json::Cursor cursor(object);
  const bool ok = cursor.Peek() == '{' && cursor.Object([&](const epp::json::RawString& name) {
    std::string_view value;
    if (!cursor.Value(value)) return false;
    if (epp::json::Equals(name, key)) found = value;
    return true;
  });
  return ok && cursor.AtEnd() ? found : std::nullopt;
}

std::vector<std::string_view> ElementsOf(std::string_view array) {
  std::vector<std::string_view> out;
  epp::json::Cursor cursor(array);
  const bool ok = cursor.Peek() == '[' && cursor.Array([&] {
    std::string_view value;
    if (!cursor.Value(value)) return false;
    out.push_back(value);
    return true;
  });
  if (!ok || !cursor.AtEnd()) out.clear();
  return out;
}

}  // namespace sidecar
