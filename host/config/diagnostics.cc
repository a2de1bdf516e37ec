#include "host/config/diagnostics.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/base/utf8.h"

namespace epp::config {
namespace {

constexpr size_t kMaxShown = 50;
constexpr size_t kMaxExcerpt = 160;  // bytes of a source line

// Foreign text with control characters made visible.
std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : utf8::Sanitise(text)) {
    if (c == '\t') {
      out += ' ';
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      static constexpr char kHex[] = "0123456789abcdef";
      out += "\\x";
      out += kHex[c >> 4 & 0xf];
      out += kHex[c & 0xf];
    } else {
      out += c;
    }
  }
  return out;
}

std::string_view LineOf(std::string_view text, uint32_t line) {
  size_t begin = 0;
  for (uint32_t i = 1; i < line; ++i) {
    begin = text.find('\n', begin);
    if (begin == std::string_view::npos) return "";
    ++begin;
  }
  std::string_view rest = text.substr(begin);
  rest = rest.substr(0, rest.find('\n'));
  if (rest.ends_with('\r')) rest.remove_suffix(1);
  return rest;
}

std::string_view SeverityName(Severity severity) {
  return severity == Severity::kError ? "error" : "warning";
}

std::string Position(const Mark& mark) {
  if (!mark.source) return "";
  if (mark.line == 0) return StrCat(mark.source->name, ": ");
  return StrCat(mark.source->name, ":", mark.line, ":", mark.column, ": ");
}

using Marks = std::vector<Mark>;

// The source line with a caret below the place.
void AppendExcerpt(const Diagnostic& d, const Marks& redacted, bool colour, std::string* out) {
  std::string line(LineOf(d.mark.source->text, d.mark.line));
  for (const Mark& hide : redacted) {
    if (hide.source != d.mark.source || hide.line != d.mark.line || hide.column == 0) continue;
    const size_t begin = std::min<size_t>(hide.column - 1, line.size());
    const size_t size = hide.length == 0 ? line.size() : hide.length;
    std::fill_n(line.begin() + static_cast<std::ptrdiff_t>(begin),
                std::min(size, line.size() - begin), '*');
  }
  line.resize(std::min(line.size(), kMaxExcerpt));
  const std::string number = StrCat(d.mark.line);
  const std::string gutter(number.size() < 5 ? 5 - number.size() : 0, ' ');
  StrAppend(out, gutter, number, " | ", Printable(line), "\n");

  const size_t column = d.mark.column > 0 ? d.mark.column - 1 : 0;
  if (column > line.size()) return;
  // Control characters print longer than they are.
  const size_t indent = Printable(std::string_view(line).substr(0, column)).size();
  const size_t room = line.size() - column;
  const size_t carets = std::clamp<size_t>(d.mark.length, 1, std::max<size_t>(room, 1));
  StrAppend(out, "      | ", std::string(indent, ' '), colour ? "\x1b[31m" : "",
            std::string(carets, '^'), colour ? "\x1b[0m" : "");
  if (!d.caret.empty()) StrAppend(out, " ", Printable(d.caret));
  StrAppend(out, "  [", d.code, "]\n");
}

std::string RenderOne(const Diagnostic& d, const Marks& redacted, bool colour) {
  std::string out = StrCat(Position(d.mark), SeverityName(d.severity), ": ", Printable(d.message));
  const bool excerpt = d.mark.source && d.mark.line > 0;
  if (!excerpt) {
    if (!d.caret.empty()) StrAppend(&out, ": ", Printable(d.caret));
    StrAppend(&out, "  [", d.code, "]");
  }
  out += "\n";
  if (excerpt) AppendExcerpt(d, redacted, colour, &out);
  if (!d.hint.empty()) StrAppend(&out, "  hint: ", Printable(d.hint), "\n");
  return out;
}

// By text, in the order of their first finding, and by place in it.
std::vector<const Diagnostic*> Sorted(const std::vector<Diagnostic>& all) {
  std::vector<const Diagnostic*> sorted;
  std::vector<const SourceText*> texts;
  for (const Diagnostic& d : all) {
    sorted.push_back(&d);
    texts.push_back(d.mark.source.get());
  }
  const auto key = [&](const Diagnostic* d) {
    const auto text = std::find(texts.begin(), texts.end(), d->mark.source.get()) - texts.begin();
    return std::tuple(text, d->mark.line, d->mark.column);
  };
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const Diagnostic* a, const Diagnostic* b) { return key(a) < key(b); });
  return sorted;
}

}  // namespace

void Diagnostics::Error(Mark mark, std::string code, std::string message, std::string caret,
                        std::string hint) {
  ++errors_;
  all_.push_back({Severity::kError,
                  std::move(code),
                  std::move(message),
                  std::move(caret),
                  std::move(hint),
                  {},
                  std::move(mark)});
}

void Diagnostics::Warning(Mark mark, std::string code, std::string message, std::string caret,
                          std::string hint) {
  all_.push_back({Severity::kWarning,
                  std::move(code),
                  std::move(message),
                  std::move(caret),
                  std::move(hint),
                  {},
                  std::move(mark)});
}

std::string Diagnostics::Render(bool colour) const {
  std::string out;
  size_t shown = 0;
  for (const Diagnostic* d : Sorted(all_)) {
    if (shown++ == kMaxShown) break;
    out += RenderOne(*d, redacted_, colour);
  }
  if (all_.size() > kMaxShown) StrAppend(&out, all_.size() - kMaxShown, " more\n");
  return out;
}

std::string Diagnostics::RenderJson() const {
  std::string out;
  JsonWriter w(&out);
  w.BeginArray();
  for (const Diagnostic* d : Sorted(all_)) {
    w.BeginObject();
    w.Field("severity", SeverityName(d->severity)).Field("code", d->code);
    if (d->mark.source) w.Field("file", d->mark.source->name);
    if (d->mark.line > 0) {
      w.Field("line", d->mark.line).Field("column", d->mark.column);
      w.Field("end_column", d->mark.column + d->mark.length);
    }
    if (!d->pointer.empty()) w.Field("path", d->pointer);
    w.Field("message", d->message);
    if (!d->caret.empty()) w.Field("detail", d->caret);
    if (!d->hint.empty()) w.Field("hint", d->hint);
    w.Field("rendered", RenderOne(*d, redacted_, false));
    w.EndObject();
  }
  w.EndArray();
  return out;
}

}  // namespace epp::config
