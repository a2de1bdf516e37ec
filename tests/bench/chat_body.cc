#include "tests/bench/chat_body.h"

#include <algorithm>
#include <array>

namespace epp::bench {
namespace {

constexpr std::array<std::string_view, 16> kWords = {
    "the",   "model", "answer",  "please", "context", "of a",    "document", "which",
    "value", "in",    "summary", "with",   "section", "tokens,", "\\n",      "\\\"quoted\\\""};
constexpr size_t kNumberDigits = 16;

// Exactly `bytes` of words, safe inside a JSON string.
std::string Text(size_t bytes, uint64_t seed) {
  std::string text;
  text.reserve(bytes + 16);
  uint64_t state = seed * 2 + 1;
  while (text.size() < bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const std::string_view word = kWords[state >> 60];
    // An escape must not be cut at the end.
    if (text.size() + word.size() + 1 > bytes) {
      text.append(bytes - text.size(), '.');
      break;
    }
    text += word;
    text += ' ';
  }
  return text;
}

}  // namespace

ChatBody::ChatBody(size_t bytes, double shared_share, uint64_t seed, bool stream) {
  const std::string_view head = R"({"model":"demo","messages":[{"role":"system","content":")";
  const std::string_view middle = R"("},{"role":"user","content":")";
  const std::string tail = std::string(R"("}],"temperature":0.7,"max_tokens":128,"stream":)") +
                           (stream ? "true}" : "false}");
  const size_t frame = head.size() + middle.size() + kNumberDigits + tail.size();
  const size_t prompt = bytes > frame ? bytes - frame : 0;
  const auto shared =
      static_cast<size_t>(static_cast<double>(prompt) * std::clamp(shared_share, 0.0, 1.0));
  body_.reserve(frame + prompt);
  body_.append(head).append(Text(shared, seed)).append(middle);
  number_at_ = body_.size();
  body_.append(kNumberDigits, '0').append(Text(prompt - shared, seed + 1)).append(tail);
}

const std::string& ChatBody::For(uint64_t number) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (size_t i = kNumberDigits; i-- > 0; number >>= 4) body_[number_at_ + i] = kHex[number & 15];
  return body_;
}

std::vector<std::pair<std::string, std::string>> ChatHeaders(size_t body_bytes,
                                                             std::string_view request_id) {
  return {{":method", "POST"},
          {":path", "/v1/chat/completions"},
          {":scheme", "https"},
          {":authority", "inference.example.com"},
          {"content-type", "application/json"},
          {"content-length", std::to_string(body_bytes)},
          {"accept", "text/event-stream"},
          {"accept-encoding", "gzip, deflate"},
          {"user-agent", "OpenAI/Python 1.40.0"},
          {"authorization", "Bearer sk-0123456789abcdef0123456789abcdef"},
          {"x-request-id", std::string(request_id)},
          {"x-forwarded-for", "10.1.2.3"},
          {"x-forwarded-proto", "https"},
          {"x-envoy-expected-rq-timeout-ms", "15000"}};
}

std::string ChatChunk(size_t bytes) {
  std::string chunk = R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"demo",)"
                      R"("choices":[{"index":0,"delta":{"content":")";
  const std::string_view tail = "\"}}]}\n\n";
  if (chunk.size() + tail.size() < bytes) chunk.append(bytes - chunk.size() - tail.size(), 'w');
  return chunk.append(tail);
}

}  // namespace epp::bench
