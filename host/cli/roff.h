// Manual pages, in the macros of man(7).
#pragma once

#include <string>
#include <string_view>

namespace epp::cli {

// `text` as words in a roff document; line ends become spaces.
std::string RoffText(std::string_view text);
// The same in bold.
std::string RoffBold(std::string_view text);

// Builds one page, top to bottom. Texts are plain unless a parameter is called `roff`.
class Roff {
 public:
  // "epp-serve", 1, "epp 0.1.0".
  Roff(std::string_view name, int section, std::string_view source);

  void Section(std::string_view title);
  void Subsection(std::string_view title);
  void Paragraph(std::string_view text);
  void ParagraphRoff(std::string_view roff);
  // A term with its explanation, indented.
  void Term(std::string_view term_roff, std::string_view text);
  // Lines as they are.
  void Verbatim(std::string_view text);

  const std::string& text() const { return out_; }

 private:
  std::string out_;
};

}  // namespace epp::cli
