#include "usage.h"

#include <optional>

#include "splice.h"

namespace sidecar {

int64_t CachedTokensOf(std::string_view answer) {
  const auto usage = Lookup(answer, "usage");
  const auto details = usage ? Lookup(*usage, "prompt_tokens_details") : std::nullopt;
  const auto cached = details ? Lookup(*details, "cached_tokens") : std::nullopt;
  return cached ? IntegerOf(*cached).value_or(0) : 0;
}

std::string WithCachedTokens(std::string_view text, int64_t cached) {
  // Most pieces of a stream have none, and are not worth a parse.
  if (text.find("\"usage\"") == text.npos) return std::string(text);
  std::optional<Splice> object = Splice::Parse(text);
  const auto usage_text = object ? object->Get("usage") : std::nullopt;
  std::optional<Splice> usage = usage_text ? Splice::Parse(*usage_text) : std::nullopt;
  if (!usage) return std::string(text);
  const std::string old(usage->Get("prompt_tokens_details").value_or("{}"));
  const std::string empty = "{}";
  std::optional<Splice> details = Splice::Parse(old);
  if (!details) details = Splice::Parse(empty);
  details->Set("cached_tokens", std::to_string(cached));
  usage->Set("prompt_tokens_details", details->Render());
  object->Set("usage", usage->Render());
  return object->Render();
}

std::string UsageStream::Feed(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const std::string_view part = bytes.substr(0, end == bytes.npos ? end : end + 1);
    bytes.remove_prefix(part.size());
    if (passing_) {
      out += part;
      passing_ = end == std::string_view::npos;
    } else if (end != std::string_view::npos) {
      if (held_.empty()) {
        Line(part, out);
      } else {
        held_ += part;
        Line(held_, out);
        held_.clear();
      }
    } else if (held_.size() + part.size() > kMaxLineBytes) {
      out += held_;
      out += part;
      held_.clear();
      passing_ = true;
    } else {
      held_ += part;
    }
  }
  return out;
}

std::string UsageStream::Finish() {
  std::string out;
  if (!held_.empty()) Line(held_, out);
  held_.clear();
  return out;
}

void UsageStream::Line(std::string_view line, std::string& out) const {
  static constexpr std::string_view kData = "data: ";
  if (!line.starts_with(kData) || line.find("\"usage\"") == line.npos) {
    out += line;
    return;
  }
  std::string_view json = line.substr(kData.size());
  size_t end = json.size();
  while (end > 0 && (json[end - 1] == '\n' || json[end - 1] == '\r')) --end;
  out += kData;
  out += WithCachedTokens(json.substr(0, end), cached_);
  out += json.substr(end);
}

}  // namespace sidecar
