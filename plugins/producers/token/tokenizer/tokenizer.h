// An encoder for the tokenizer.json of a model, as far as byte-pair encoding goes: the ids are
// those of the Hugging Face tokenizers library.
//
// Files and texts are untrusted: what is not supported is refused with the key and what would be,
// and no text makes it fail but one whose splitting takes too many steps.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/producers/token/tokenizer/added_tokens.h"
#include "plugins/producers/token/tokenizer/bpe.h"
#include "plugins/producers/token/tokenizer/normalizer.h"
#include "plugins/producers/token/tokenizer/pretokenizer.h"

namespace token_producer {

// Constant after Load. Threads: any, each with memory of its own.
class Tokenizer {
 public:
  static constexpr size_t kMaxFileBytes = size_t{128} << 20;
  static constexpr size_t kMaxTextBytes = size_t{64} << 20;

  // What one thread keeps from text to text, for one tokenizer: about 1 MiB.
  struct Memory {
    std::string valid;
    Normalizer::Memory normal;
    PreTokenizer::Memory split;
    Bpe::Memory words;
  };

  // json: the whole file.
  static epp::Status Load(std::string_view json, Tokenizer& out);

  // Appends the ids of the text. special: with what the file's post-processor puts around a text,
  // such as a token that begins it. What is no UTF-8 counts as U+FFFD. On error the ids are
  // undefined.
  epp::Status Encode(std::string_view text, bool special, Memory& memory,
                     std::vector<uint32_t>& ids) const;

  size_t vocabulary_size() const { return vocabulary_size_; }

 private:
  epp::Status LoadAdded(std::string_view json, const TextIds& vocabulary);
  epp::Status LoadPostProcessor(std::string_view json, const std::string& where, int depth);

  Normalizer normalizer_;
  PreTokenizer splitter_;
  Bpe model_;
  AddedTokens raw_, normalized_;  // looked for before and after the normalizer
  std::vector<uint32_t> before_, behind_;
  size_t vocabulary_size_ = 0;
};

}  // namespace token_producer
