// For the tests of our parsers: what a parser found, as text that reads well in an expectation.
#pragma once

#include <string>
#include <string_view>

#include "epp/testing.hpp"

namespace epp::test {

// "role:user text:hi json@1:[2] ids:[1] image:http... audio64:... video:...", with "~" before the
// colon when the bytes are escaped, ".N" for prompt N and "@N" for message N, unless 0. Pieces are
// separated by "|".
inline std::string Describe(const epp_parsed& parsed) {
  static constexpr const char* kKinds[] = {"?",   "text",  "role",  "json",
                                           "ids", "image", "audio", "video"};
  std::string out;
  for (uint32_t i = 0; i < parsed.segment_count; ++i) {
    const epp_segment& s = parsed.segments[i];
    if (i) out += '|';
    out += s.flags & EPP_SEGMENT_FORMAT ? "format" : kKinds[s.kind];
    if (s.flags & EPP_SEGMENT_BASE64) out += "64";
    if (s.prompt) out += '.' + std::to_string(s.prompt);
    if (s.message) out += '@' + std::to_string(s.message);
    if (s.flags & EPP_SEGMENT_ESCAPED) out += '~';
    out += ':';
    out += View(s.bytes);
  }
  return out;
}

// "prompt/completion/total cached events", absent ones as "-".
inline std::string Describe(const epp_usage& u) {
  const auto n = [](int64_t v) { return v < 0 ? std::string("-") : std::to_string(v); };
  return n(u.prompt_tokens) + '/' + n(u.completion_tokens) + '/' + n(u.total_tokens) + ' ' +
         n(u.cached_tokens) + ' ' + std::to_string(u.events);
}

}  // namespace epp::test
