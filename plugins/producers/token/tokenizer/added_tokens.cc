#include "plugins/producers/token/tokenizer/added_tokens.h"

#include <algorithm>

#include "plugins/producers/token/tokenizer/unicode.h"

namespace token_producer {

void AddedTokens::Add(std::string_view content, const Token& token) {
  tokens_.emplace_back(content, token);
}

void AddedTokens::Build() {
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end(),
                            [](const auto& a, const auto& b) { return a.first == b.first; }),
                tokens_.end());
  // A range of the sorted texts that agree in `depth` bytes is a node.
  struct Range {
    size_t begin, end, depth;
    uint32_t node;
  };
  nodes_.assign(1, Node());
  std::vector<Range> open{{0, tokens_.size(), 0, 0}};
  for (size_t i = 0; i < open.size(); ++i) {
    Range r = open[i];
    if (r.begin < r.end && tokens_[r.begin].first.size() == r.depth) {
      nodes_[r.node].token = static_cast<int32_t>(r.begin++);
    }
    nodes_[r.node].first = static_cast<uint32_t>(edges_.size());
    while (r.begin < r.end) {
      const char byte = tokens_[r.begin].first[r.depth];
      size_t end = r.begin;
      while (end < r.end && tokens_[end].first[r.depth] == byte) ++end;
      const auto node = static_cast<uint32_t>(nodes_.size());
      nodes_.emplace_back();
      edges_.push_back({static_cast<unsigned char>(byte), node});
      ++nodes_[r.node].count;
      open.push_back({r.begin, end, r.depth + 1, node});
      r.begin = end;
    }
  }
  root_.fill(0);
  for (uint32_t i = 0; i < nodes_[0].count; ++i) root_[edges_[i].byte] = edges_[i].node;
}

bool AddedTokens::Next(std::string_view text, size_t from, Match& m) const {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (tokens_.empty()) return false;
  for (size_t begin = from; begin < text.size(); ++begin) {
    uint32_t node = root_[byte(begin)];
    if (node == 0) continue;
    int32_t token = -1;
    for (size_t at = begin + 1;; ++at) {
      if (nodes_[node].token >= 0) {
        token = nodes_[node].token;
        m.end = at;
      }
      if (at == text.size()) break;
      const Edge* const edges = edges_.data() + nodes_[node].first;
      const Edge* const last = edges + nodes_[node].count;
      const Edge* const edge = std::lower_bound(
          edges, last, byte(at), [](const Edge& e, unsigned char b) { return e.byte < b; });
      if (edge == last || edge->byte != byte(at)) break;
      node = edge->node;
    }
    if (token < 0) continue;
    m.begin = begin;
    m.token = &tokens_[static_cast<size_t>(token)].second;
    return true;
  }
  return false;
}

bool AddedTokens::Widen(std::string_view text, size_t done, Match& m) {
  if (m.begin < done) return false;  // in the white space that the token before took along
  const auto is = [&](const char* p, uint16_t bits) {
    return (unicode::ClassOf(unicode::Take(p)) & bits) != 0;
  };
  if (m.token->single_word) {
    if (m.begin > 0 && unicode::ClassOf(unicode::Before(text.data() + m.begin)) & unicode::kWord) {
      return false;
    }
    if (m.end < text.size() && is(text.data() + m.end, unicode::kWord)) return false;
  }
  if (m.token->lstrip) {
    while (m.begin > done &&
           unicode::ClassOf(unicode::Before(text.data() + m.begin)) & unicode::kSpace) {
      do --m.begin;
      while ((static_cast<unsigned char>(text[m.begin]) & 0xC0) == 0x80);
    }
  }
  if (m.token->rstrip) {
    while (m.end < text.size() && is(text.data() + m.end, unicode::kSpace)) {
      m.end += unicode::Length(text[m.end]);
    }
  }
  return true;
}

}  // namespace token_producer
