// A growing row of pseudo-tokens: bytes of text, four a token, and placeholders of media.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "plugins/common/json_text.hpp"

namespace token_producer {

// Writes into memory of the caller, with room for the bytes passed (escaped as they are), rounded
// up to whole tokens at every Align.
class TokenStream {
 public:
  explicit TokenStream(void* memory) : begin_(static_cast<char*>(memory)), at_(begin_) {}

  // The inside of a JSON string: the only copy that is made of the prompt.
  void Text(std::string_view bytes, bool escaped) {
    if (escaped) {
      at_ = epp::json::Unescape(bytes, at_);
    } else if (!bytes.empty()) {
      std::memcpy(at_, bytes.data(), bytes.size());
      at_ += bytes.size();
    }
  }
  // Fills the token that is begun with zero bytes.
  void Align() {
    while ((at_ - begin_) % 4 != 0) *at_++ = '\0';
  }
  // n equal tokens, on a token boundary. Returns the position of the first.
  uint64_t Repeat(uint32_t token, int64_t n) {
    Align();
    const uint64_t at = size();
    for (int64_t i = 0; i < n; ++i) Token(token);
    return at;
  }
  void Token(uint32_t token) {
    std::memcpy(at_, &token, sizeof(token));
    at_ += sizeof(token);
  }
  // In tokens; a begun one counts.
  uint64_t size() const { return static_cast<uint64_t>(at_ - begin_ + 3) / 4; }

 private:
  char* begin_;
  char* at_;
};

}  // namespace token_producer
