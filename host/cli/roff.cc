#include "host/cli/roff.h"

#include "host/base/str_cat.h"

namespace epp::cli {
namespace {

// One line, without its end.
std::string Escape(std::string_view line) {
  std::string out;
  // A line that begins with one of these would be a request.
  if (line.starts_with('.') || line.starts_with('\'')) out += "\\&";
  for (const char c : line) {
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '`':
        out += "\\(ga";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : Escape(text)) {
    if (c == '"') {
      out += "\\(dq";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace

std::string RoffText(std::string_view text) {
  std::string one_line(text);
  for (char& c : one_line) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  return Escape(one_line);
}

std::string RoffBold(std::string_view text) { return StrCat("\\fB", RoffText(text), "\\fR"); }

Roff::Roff(std::string_view name, int section, std::string_view source) {
  // Words such as paths are long: ragged right, and none is broken.
  StrAppend(&out_, ".TH ", Quoted(name), " ", section, " \"\" ", Quoted(source),
            " \"epp manual\"\n.ad l\n.nh\n");
}

void Roff::Section(std::string_view title) { StrAppend(&out_, ".SH ", Quoted(title), "\n"); }

void Roff::Subsection(std::string_view title) { StrAppend(&out_, ".SS ", Quoted(title), "\n"); }

void Roff::Paragraph(std::string_view text) { ParagraphRoff(RoffText(text)); }

void Roff::ParagraphRoff(std::string_view roff) { StrAppend(&out_, ".PP\n", roff, "\n"); }

void Roff::Term(std::string_view term_roff, std::string_view text) {
  StrAppend(&out_, ".TP\n", term_roff, "\n", text.empty() ? "\\&" : RoffText(text), "\n");
}

void Roff::Verbatim(std::string_view text) {
  out_ += ".PP\n.in +4n\n.EX\n";
  while (!text.empty()) {
    const size_t end = text.find('\n');
    StrAppend(&out_, Escape(text.substr(0, end)), "\n");
    text = end == std::string_view::npos ? "" : text.substr(end + 1);
  }
  out_ += ".EE\n.in\n";
}

}  // namespace epp::cli
