// Token counts out of OpenAI-shaped responses: a JSON body, or a stream of events.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "epp/plugin.hpp"
#include "plugins/common/json_text.hpp"
#include "plugins/common/sse.hpp"

namespace epp::usage {

// A count given as a number or as a string that holds one; anything else is 0.
inline bool LooseCount(json::Cursor& in, int64_t& out) {
  const char c = in.Peek();
  out = 0;
  std::string_view text;
  if (c == '"') {
    json::RawString s;
    if (!in.String(s)) return false;
    text = s.bytes;
    json::Cursor number(text);
    std::string_view whole;
    if (!number.Number(whole) || whole.size() != text.size()) return true;
  } else if (c == '-' || json::IsDigit(c)) {
    if (!in.Number(text)) return false;
  } else {
    return in.Skip();
  }
  if (!json::ToInt(text, out)) {
    const double value = json::ToDouble(text);
    out = std::fabs(value) < 9e18 ? static_cast<int64_t>(value) : 0;
  }
  out = std::max<int64_t>(out, 0);
  return true;
}

// A count given as an integer or null; anything else is a fault.
inline bool StrictCount(json::Cursor& in, int64_t& out) {
  out = 0;
  if (in.Peek() == 'n') return in.Literal("null");
  std::string_view text;
  if (!in.Number(text)) return false;
  if (!json::ToInt(text, out)) return in.Fault("want an integer");
  out = std::max<int64_t>(out, 0);
  return true;
}

// Skips a value unless it opens an object, which is left to the caller.
inline bool IsObjectElseSkip(json::Cursor& in, bool& is_object) {
  is_object = in.Peek() == '{';
  return is_object || in.Skip();
}

// Reads a usage object. With strict, only the names of the completions API count, and a count of
// another type is a fault; otherwise also those of the responses API, and numeric strings.
inline bool ReadUsage(json::Cursor& in, bool strict, epp_usage& out) {
  int64_t input = -1, output = -1, cached_prompt = -1, cached_input = -1;
  epp_usage u{sizeof(epp_usage), out.events, -1, -1, -1, -1};
  const auto count = [&](int64_t& to) { return strict ? StrictCount(in, to) : LooseCount(in, to); };
  const auto details = [&](int64_t& to) {
    if (strict && in.Peek() == 'n') return in.Literal("null");
    if (strict && in.Peek() != '{') return in.Fault("want an object");
    bool is_object = false;
    if (!IsObjectElseSkip(in, is_object)) return false;
    return !is_object || in.Object([&](const json::RawString& key) {
      return json::Equals(key, "cached_tokens") ? count(to) : in.Skip();
    });
  };
  const bool ok = in.Object([&](const json::RawString& key) {
    if (json::Equals(key, "prompt_tokens")) return count(u.prompt_tokens);
    if (json::Equals(key, "completion_tokens")) return count(u.completion_tokens);
    if (json::Equals(key, "total_tokens")) return count(u.total_tokens);
    if (json::Equals(key, "prompt_tokens_details")) return details(cached_prompt);
    if (strict) return in.Skip();
    if (json::Equals(key, "input_tokens")) return count(input);
    if (json::Equals(key, "output_tokens")) return count(output);
    if (json::Equals(key, "input_tokens_details")) return details(cached_input);
    return in.Skip();
  });
  if (!ok) return false;
  if (u.prompt_tokens < 0) u.prompt_tokens = input;
  if (u.completion_tokens < 0) u.completion_tokens = output;
  u.cached_tokens = cached_input >= 0 ? cached_input : cached_prompt;
  out = u;
  return true;
}

// A line in which every "usage" is a null member has nothing to say; servers asked for usage send
// one with every token.
inline bool MayHaveUsage(std::string_view text) {
  constexpr std::string_view kWord = "usage";
  for (;;) {
    const void* const hit = memmem(text.data(), text.size(), kWord.data(), kWord.size());
    if (hit == nullptr) return false;
    const auto at = static_cast<size_t>(static_cast<const char*>(hit) - text.data());
    text.remove_prefix(at + kWord.size());
    if (!text.starts_with("\":null") && !text.starts_with("\": null")) return true;
  }
}

// One event's payload: a non-null usage, or the usage of a completed response.
inline bool ReadEvent(std::string_view payload, epp_usage& out) {
  if (!MayHaveUsage(payload)) return false;
  json::Cursor in(payload);
  epp_usage direct = out, nested = out;
  bool has_direct = false, has_nested = false, completed = false;
  const bool ok = in.Object([&](const json::RawString& key) {
    if (json::Equals(key, "usage")) {
      has_direct = in.Peek() != 'n';
      return has_direct ? ReadUsage(in, true, direct) : in.Literal("null");
    }
    if (json::Equals(key, "type")) {
      json::RawString type;
      if (in.Peek() != '"') return in.Skip();
      if (!in.String(type)) return false;
      completed = json::Equals(type, "response.completed");
      return true;
    }
    if (json::Equals(key, "response")) {
      bool is_object = false;
      if (!IsObjectElseSkip(in, is_object)) return false;
      return !is_object || in.Object([&](const json::RawString& inner) {
        if (!json::Equals(inner, "usage")) return in.Skip();
        if (!IsObjectElseSkip(in, has_nested)) return false;
        return !has_nested || ReadUsage(in, false, nested);
      });
    }
    return in.Skip();
  });
  if (!ok || !in.AtEnd()) return false;
  if (!has_direct && !(completed && has_nested)) return false;
  out = has_direct ? direct : nested;
  return true;
}

inline Status Malformed(const json::Cursor& in, std::string_view body) {
  return {EPP_INVALID_ARGUMENT, "error unmarshaling response body: " + std::string(in.reason()) +
                                    " at byte " + std::to_string(in.at() - body.data())};
}

// A whole JSON body.
inline Status ReadBody(std::string_view body, epp_usage& out) {
  if (memmem(body.data(), body.size(), "\"usage\"", 7) == nullptr) return {};
  json::Cursor in(body);
  const bool ok = in.Object([&](const json::RawString& key) {
    if (!json::Equals(key, "usage")) return in.Skip();
    if (in.Peek() == 'n') return in.Literal("null");
    return ReadUsage(in, false, out);
  });
  if (!ok || !in.End()) return Malformed(in, body);
  return {};
}

// What the response of an OpenAI-compatible server says in this chunk. Cost: one memchr a line
// unless the chunk has a usage.
inline Status ReadOpenAi(const Call& call, const epp_response_event& event, epp_usage& out) {
  const std::string_view bytes = View(event.bytes);
  if (!(event.flags & EPP_CHUNK_SSE)) return bytes.empty() ? Status() : ReadBody(bytes, out);
  bool found = false;
  sse::EachData(
      call, bytes, event.flags & EPP_CHUNK_LAST,
      [&](std::string_view payload) { out.events += !sse::IsDone(payload); },
      [&](std::string_view payload) {
        if (found) return false;
        return found = ReadEvent(payload, out);
      });
  return {};
}

}  // namespace epp::usage
