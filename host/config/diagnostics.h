// Errors and warnings about a text, with their place in it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace epp::config {

// A text and where it came from. Shared by the marks that point into it.
struct SourceText {
  // A file that a config includes, itself or through others.
  struct Included {
    std::shared_ptr<const SourceText> text;  // null when it cannot be used
    std::string error;                       // then: why not
  };

  std::string name;  // as shown: a path, or "--config-text"
  std::string text;
  // Of a config: by path from its directory. See includes.h.
  std::map<std::string, Included> included = {};
};

// A place in a text. line and column count from 1; 0 means unknown. `length` in bytes, for the
// caret.
struct Mark {
  std::shared_ptr<const SourceText> source;
  uint32_t line = 0;
  uint32_t column = 0;
  uint32_t length = 0;
};

enum class Severity : uint8_t { kError, kWarning };

struct Diagnostic {
  Severity severity = Severity::kError;
  std::string code;     // "EPP-CFG-UNKNOWN-KEY"
  std::string message;  // what was got, what was wanted
  std::string caret;    // short text beside the caret, may be empty
  std::string hint;     // next step, may be empty
  std::string pointer;  // JSON pointer, may be empty
  Mark mark;
};

class Diagnostics {
 public:
  void Error(Mark mark, std::string code, std::string message, std::string caret = {},
             std::string hint = {});
  void Warning(Mark mark, std::string code, std::string message, std::string caret = {},
               std::string hint = {});
  // Hides `mark.length` bytes (0: the rest of the line) from every excerpt, for a secret's value.
  void Redact(Mark mark) { redacted_.push_back(std::move(mark)); }
  const std::vector<Mark>& redacted() const { return redacted_; }
  bool ok() const { return errors_ == 0; }
  size_t errors() const { return errors_; }
  size_t warnings() const { return all_.size() - errors_; }
  // In order of discovery.
  const std::vector<Diagnostic>& all() const { return all_; }
  // The text form: "file:line:column: error: ..." with source line and caret, sorted by position;
  // at most 50 are shown, then a count.
  std::string Render(bool colour = false) const;
  // The JSON form: an array of diagnostic objects, all of them.
  std::string RenderJson() const;

 private:
  std::vector<Diagnostic> all_;
  std::vector<Mark> redacted_;
  size_t errors_ = 0;
};

}  // namespace epp::config
