// How a tokenizer.json splits text into the words that its model encodes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/producers/token/tokenizer/fast_split.h"
#include "plugins/producers/token/tokenizer/pattern.h"

namespace token_producer {

class PreTokenizer {
 public:
  // One thread's memory; the words that Run calls with may lie in it.
  struct Memory {
    std::vector<std::string> text;  // one a step that changes text
    MatchMemory match;
  };
  // Called for each word, in order; not empty.
  using Word = void (*)(void* to, std::string_view word);

  // json: the value of "pre_tokenizer"; nothing and null take the whole text as one word.
  static epp::Status Load(std::string_view json, PreTokenizer& out);

  // The model works on bytes, each written as one of 256 characters in its vocabulary.
  bool byte_level() const { return byte_level_; }
  bool splits() const { return !steps_.empty(); }

  // first: the piece begins where the client's text does. False when an expression takes too many
  // steps.
  bool Run(std::string_view piece, bool first, Memory& memory, Word word, void* to) const;

 private:
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  enum class Kind { kSplit, kPrefixSpace, kMetaspace };
  enum class Prepend { kAlways, kFirst, kNever };
  struct Step {
    Kind kind = Kind::kSplit;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
    FastSplit fast = nullptr;          // matches everywhere, so behaviour means nothing
    std::unique_ptr<Pattern> pattern;  // or else literal
    std::string literal;               // kSplit: what is looked for; kMetaspace: for a space
    Prepend prepend = Prepend::kNever;
    size_t text = 0;  // index of its string in Memory
  };
  struct Walk;
  epp::Status Add(std::string_view json, const std::string& where, int depth);
  epp::Status AddRegex(std::string_view regex, Behavior behavior, bool invert,
                       const std::string& where);

  std::vector<Step> steps_;
  size_t texts_ = 0;
  bool byte_level_ = false;
};

}  // namespace token_producer
