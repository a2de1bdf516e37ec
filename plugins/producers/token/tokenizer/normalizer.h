// What a tokenizer.json does to text before it is split.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/producers/token/tokenizer/pattern.h"
#include "plugins/producers/token/tokenizer/unicode.h"

namespace token_producer {

class Normalizer {
 public:
  // One thread's memory; what Run returned lies in it.
  struct Memory {
    std::string text[2];
  };

  // json: the value of "normalizer"; nothing and null change nothing.
  static epp::Status Load(std::string_view json, Normalizer& out);

  // The text after all steps: a view of text itself, or into memory. Text is valid UTF-8 and so is
  // the result. `ok` turns false when an expression takes too many steps.
  std::string_view Run(std::string_view text, Memory& memory, MatchMemory& match, bool& ok) const;

 private:
  enum class Kind { kForm, kPrepend, kReplace, kLowercase, kStrip, kStripAccents };
  struct Step {
    Kind kind;
    unicode::Form form = unicode::Form::kNfc;
    std::string find, content;  // of kReplace; content also of kPrepend
    std::unique_ptr<Pattern> pattern;
    bool left = true, right = true;
  };
  epp::Status Add(std::string_view json, const std::string& where, int depth);
  static bool Apply(const Step& step, std::string_view text, std::string& out, MatchMemory& match);

  std::vector<Step> steps_;
};

}  // namespace token_producer
