// Sets usage.prompt_tokens_details.cached_tokens in an answer, whole or as an event stream: a
// decode worker that got its blocks from elsewhere takes the whole prompt for cached.
//
// Threads: none.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sidecar {

// What an answer reports, 0 when it reports nothing.
int64_t CachedTokensOf(std::string_view answer);

// The JSON object with the number set; the text itself when it has no "usage" object.
std::string WithCachedTokens(std::string_view object, int64_t cached);

// For event streams. Lines pass as they are, except data lines with a usage.
class UsageStream {
 public:
  explicit UsageStream(int64_t cached) : cached_(cached) {}
  // What can be sent on now; the last line is kept until it is complete. A line longer than
  // kMaxLineBytes passes unchanged.
  std::string Feed(std::string_view bytes);
  // What is left at the end.
  std::string Finish();

  static constexpr size_t kMaxLineBytes = 4 * 1024 * 1024;

 private:
  void Line(std::string_view line, std::string& out) const;
  const int64_t cached_;
  std::string held_;
  bool passing_ = false;  // the rest of a line that is too long
};

}  // namespace sidecar
