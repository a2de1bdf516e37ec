// The regular expressions of a tokenizer.json, which are written for Oniguruma, on PCRE2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "epp/plugin.hpp"

namespace token_producer {

// Rewrites an expression so that PCRE2 (with PCRE2_UTF and PCRE2_UCP) understands the same by it:
// \s, \w and \p{Script} differ, and what cannot be said is refused.
epp::Status Translate(std::string_view oniguruma, std::string& pcre2);

// One thread's memory for matching; of any pattern.
class MatchMemory {
 public:
  MatchMemory();
  ~MatchMemory();
  MatchMemory(MatchMemory&&) noexcept;
  MatchMemory& operator=(MatchMemory&&) noexcept;

 private:
  friend class Pattern;
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// A compiled expression. Threads: any, each with its own memory.
class Pattern {
 public:
  static epp::Result<Pattern> Compile(std::string_view oniguruma);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  enum class Found { kYes, kNo, kError };
  // The first match at or behind `from`; text is valid UTF-8 and from lies between two characters.
  // kError: the expression does more steps than it may.
  Found Next(std::string_view text, size_t from, MatchMemory& memory, size_t& begin,
             size_t& end) const;

 private:
  Pattern() = default;
  void* code_ = nullptr;
};

}  // namespace token_producer
