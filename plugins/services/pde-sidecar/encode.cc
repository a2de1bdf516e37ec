#include "encode.h"

#include <algorithm>
#include <set>

#include "connectors/connector.h"
#include "plugins/common/json_text.hpp"

namespace sidecar {
namespace {

// The key of an item's URL object; empty for inline items; nothing for what is no item.
std::optional<std::string_view> UrlKey(std::string_view type) {
  for (const std::string_view known : {"image_url", "audio_url", "video_url"}) {
    if (type == known) return known;
  }
  if (type == "input_audio") return "";
  return std::nullopt;
}

}  // namespace

std::vector<std::string> EncodeBodies(const Splice& body) {
  std::vector<std::string> out;
  std::set<std::string> seen;
  for (const std::string_view message : ElementsOf(body.Get("messages").value_or("[]"))) {
    const auto content = Lookup(message, "content");
    if (!content) continue;
    for (const std::string_view item : ElementsOf(*content)) {
      const auto type_text = Lookup(item, "type");
      const auto type = type_text ? StringOf(*type_text) : std::nullopt;
      const auto key = type ? UrlKey(*type) : std::nullopt;
      if (!key) continue;
      if (!key->empty()) {
        const auto object = Lookup(item, *key);
        const auto url = object ? Lookup(*object, "url") : std::nullopt;
        const auto text = url ? StringOf(*url) : std::nullopt;
        if (text && !seen.insert(*text).second) continue;
      }
      Splice one = body;
      one.Set("messages", R"([{"role":"user","content":[)" + std::string(item) + "]}]");
      MakePrefill(one, Api::kChat, Cap::kSent);
      if (one.Has("min_tokens")) one.Set("min_tokens", "1");
      // It is for decode; an encode worker that declines encodes nothing.
      if (one.Has("cache_hit_threshold")) one.Set("cache_hit_threshold", "0");
      out.push_back(one.Render());
    }
  }
  return out;
}

bool EncodeMerge::Add(std::string_view answer) {
  if (!Splice::Parse(answer)) return false;
  const auto params = Lookup(answer, "ec_transfer_params");
  if (!params || !params->starts_with('{')) return true;
  epp::json::Cursor cursor(*params);
  return cursor.Object([&](const epp::json::RawString& key) {
    std::string_view value;
    if (!cursor.Value(value)) return false;
    const std::string name(key.bytes);  // as written: it is written again
    const auto it = std::ranges::find(by_hash_, name, &std::pair<std::string, std::string>::first);
    if (it != by_hash_.end()) {
      it->second = value;
    } else {
      by_hash_.emplace_back(name, value);
    }
    return true;
  });
}

std::optional<std::string> EncodeMerge::Result() const {
  if (by_hash_.empty()) return std::nullopt;
  std::string out = "{";
  for (const auto& [key, value] : by_hash_) {
    if (out.size() > 1) out += ',';
    out += '"';
    out += key;
    out += "\":";
    out += value;
  }
  return out + "}";
}

}  // namespace sidecar
