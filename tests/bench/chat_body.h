// Request bodies as OpenAI chat clients send them, of a wanted size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace epp::bench {

// One body that is made different from request to request: a system message that all share, and a
// user message that begins with the request's number, so that a chained prefix hash agrees up to
// there and nowhere behind it.
class ChatBody {
 public:
  // `bytes` in all, raised to what the frame needs (about 200); `shared_share` (0..1) of the prompt
  // is the shared part. The same seed gives the same text.
  ChatBody(size_t bytes, double shared_share, uint64_t seed, bool stream = true);

  // The body of request `number`; valid and unchanged until the next call.
  const std::string& For(uint64_t number);
  size_t size() const { return body_.size(); }

 private:
  std::string body_;
  size_t number_at_ = 0;
};

// The 14 headers of a typical chat request as the proxy sends them, pseudo headers first.
std::vector<std::pair<std::string, std::string>> ChatHeaders(size_t body_bytes,
                                                             std::string_view request_id);

// One server-sent event of a chat completion, padded to `bytes`.
std::string ChatChunk(size_t bytes);

}  // namespace epp::bench
