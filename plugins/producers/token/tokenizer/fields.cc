#include "plugins/producers/token/tokenizer/fields.h"

#include <algorithm>

#include "plugins/common/json_text.hpp"

namespace token_producer {

using epp::json::Cursor;
using epp::json::RawString;

epp::Status Fields::Read(std::string_view json, std::string where, Fields& out) {
  out = Fields();
  out.where_ = std::move(where);
  Cursor in(json);
  if (json.empty() || in.Peek() == 'n') return {};
  const bool ok = in.Object([&](const RawString& key) {
    std::string_view value;
    if (!in.Value(value)) return false;
    out.members_.emplace_back(epp::json::Unescaped(key.bytes), value);
    return true;
  });
  if (ok && in.End()) return {};
  return epp::Status::Invalid(out.where_ + ": " + in.reason() + " at byte " +
                              std::to_string(in.at() - json.data()) + " of it");
}

epp::Status Fields::ReadArray(std::string_view json, const std::string& where,
                              std::vector<std::string_view>& out) {
  out.clear();
  Cursor in(json);
  if (json.empty() || in.Peek() == 'n') return {};
  const bool ok = in.Array([&] { return in.Value(out.emplace_back()); });
  if (ok && in.End()) return {};
  return epp::Status::Invalid(where + ": " + in.reason());
}

bool Fields::ReadString(std::string_view json, std::string& out) {
  Cursor in(json);
  RawString text;
  if (in.Peek() != '"' || !in.String(text)) return false;
  out = epp::json::Unescaped(text.bytes);
  return true;
}

bool Fields::ReadId(std::string_view json, uint32_t& out) {
  Cursor in(json);
  std::string_view number;
  return in.Number(number) && epp::json::ToTokenId(number, out);
}

std::string_view Fields::Raw(std::string_view key) const {
  for (auto it = members_.rbegin(); it != members_.rend(); ++it) {
    if (it->first == key) return it->second == "null" ? std::string_view() : it->second;
  }
  return {};
}

void Fields::Get(std::string_view key, bool& out) {
  const std::string_view raw = Raw(key);
  if (raw == "true" || raw == "false") {
    out = raw == "true";
  } else if (!raw.empty()) {
    Note(key, "true or false");
  }
}

void Fields::Get(std::string_view key, std::string& out) {
  const std::string_view raw = Raw(key);
  if (!raw.empty() && !ReadString(raw, out)) Note(key, "text");
}

void Fields::Get(std::string_view key, uint32_t& out) {
  const std::string_view raw = Raw(key);
  if (!raw.empty() && !ReadId(raw, out)) Note(key, "a number from 0 to 4294967295");
}

epp::Status Fields::Only(std::initializer_list<std::string_view> keys) const {
  for (const auto& [name, value] : members_) {
    if (std::find(keys.begin(), keys.end(), name) != keys.end()) continue;
    std::string want;
    for (const std::string_view key : keys) want.append(want.empty() ? "" : ", ").append(key);
    return epp::Status::Invalid(where_ + " has the key \"" + name.substr(0, 64) + "\", want " +
                                want);
  }
  return {};
}

epp::Status Fields::Wrong(std::string_view key, std::string_view want) const {
  std::string got(Raw(key).substr(0, 120));
  if (got.empty()) got = "absent";
  return {EPP_UNIMPLEMENTED,
          where_ + "." + std::string(key) + " is " + got + ", want " + std::string(want)};
}

void Fields::Note(std::string_view key, std::string_view want) {
  if (status_.ok()) status_ = Wrong(key, want);
}

}  // namespace token_producer
