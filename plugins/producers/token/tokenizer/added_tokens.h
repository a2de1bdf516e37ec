// The added tokens of a tokenizer.json: texts that are one token wherever they stand.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace token_producer {

// A set of texts to look for, at each place the longest. Constant after Build. Threads: any.
class AddedTokens {
 public:
  struct Token {
    uint32_t id = 0;
    bool single_word = false;  // not next to a letter, digit or underscore
    bool lstrip = false;       // takes the white space before it along
    bool rstrip = false;       // and that behind it
  };

  void Add(std::string_view content, const Token& token);  // not empty; of equal ones the first
  void Build();

  // Calls text(part) and token(id) for the parts of the text, in order.
  template <class Text, class Id>
  void Split(std::string_view text, Text&& part, Id&& token) const {
    size_t done = 0;
    Match m;
    for (size_t at = 0; Next(text, at, m);) {
      at = m.end;
      if (!Widen(text, done, m)) continue;
      if (done < m.begin) part(text.substr(done, m.begin - done), done);
      token(m.token->id);
      done = m.end;
      at = std::max(at, done);
    }
    if (done < text.size()) part(text.substr(done), done);
  }

 private:
  struct Match {
    size_t begin = 0, end = 0;
    const Token* token = nullptr;
  };
  struct Node {
    uint32_t first = 0;  // its edges: edges_[first, first + count)
    uint32_t count = 0;
    int32_t token = -1;
  };
  struct Edge {
    unsigned char byte;
    uint32_t node;
  };

  bool Next(std::string_view text, size_t from, Match& m) const;
  // Applies what the token says of its surroundings; false when it does not count here.
  static bool Widen(std::string_view text, size_t done, Match& m);

  std::vector<std::pair<std::string, Token>> tokens_;
  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::array<uint32_t, 256> root_{};  // node behind the first byte, 0: none
};

}  // namespace token_producer
