#include "host/config/diagnostics.h"

#include <algorithm>
#include <map>
#include <span>
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
  const std::string name = Printable(mark.source->name);
  if (mark.line == 0) return StrCat(name, ": ");
  return StrCat(name, ":", mark.line, ":", mark.column, ": ");
}

// Code points, which is what a terminal shows of most text.
size_t Columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

// The line of the mark, with the secrets in it masked.
std::string VisibleLine(const Mark& mark, std::span<const Mark> redacted) {
  std::string line(LineOf(mark.source->text, mark.line));
  for (const Mark& secret : redacted) {
    if (secret.source != mark.source || secret.line != mark.line || secret.column == 0) continue;
    const size_t begin = std::min<size_t>(secret.column - 1, line.size());
    const size_t length = secret.length == 0 ? line.size() : secret.length;
    const size_t end = std::min(begin + length, line.size());
    std::fill(line.begin() + static_cast<ptrdiff_t>(begin),
              line.begin() + static_cast<ptrdiff_t>(end), '*');
  }
  return line;
}

// The source line with a caret below the place.
void AppendExcerpt(const Diagnostic& d, std::span<const Mark> redacted, bool colour,
                   std::string* out) {
  const std::string full = VisibleLine(d.mark, redacted);
  const size_t column = std::min<size_t>(d.mark.column > 0 ? d.mark.column - 1 : 0, full.size());
  // Of a long line, the part around the place.
  size_t begin = 0;
  if (full.size() > kMaxExcerpt && column > kMaxExcerpt / 2) {
    begin = column - kMaxExcerpt / 4;
    while (begin > 0 && (static_cast<unsigned char>(full[begin]) & 0xC0) == 0x80) --begin;
  }
  const std::string_view line = utf8::Truncate(std::string_view(full).substr(begin), kMaxExcerpt);
  const std::string_view cut_before = begin > 0 ? "..." : "";
  const std::string_view cut_after = begin + line.size() < full.size() ? "..." : "";

  const std::string number = StrCat(d.mark.line);
  const size_t gutter = std::max<size_t>(number.size(), 5);
  StrAppend(out, std::string(gutter - number.size(), ' '), number, " | ", cut_before,
            Printable(line), cut_after, "\n");

  const std::string_view before = line.substr(0, column - begin);
  const std::string_view marked = line.substr(before.size()).substr(0, d.mark.length);
  // Control characters print longer than they are.
  const size_t indent = cut_before.size() + Columns(Printable(before));
  const size_t carets = std::max<size_t>(Columns(Printable(marked)), 1);
  StrAppend(out, std::string(gutter, ' '), " | ", std::string(indent, ' '),
            colour ? "\x1b[31m" : "", std::string(carets, '^'), colour ? "\x1b[0m" : "");
  if (!d.caret.empty()) StrAppend(out, " ", Printable(d.caret), " ");
  StrAppend(out, " [", d.code, "]\n");
}

std::string RenderOne(const Diagnostic& d, std::span<const Mark> redacted, bool colour) {
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

// By position; the texts in the order in which they were first complained about.
std::vector<const Diagnostic*> Sorted(const std::vector<Diagnostic>& all) {
  std::vector<const Diagnostic*> sorted;
  std::map<const SourceText*, size_t> rank;
  for (const Diagnostic& d : all) {
    sorted.push_back(&d);
    rank.emplace(d.mark.source.get(), rank.size());
  }
  std::stable_sort(sorted.begin(), sorted.end(), [&](const Diagnostic* a, const Diagnostic* b) {
    return std::tuple(rank.at(a->mark.source.get()), a->mark.line, a->mark.column) <
           std::tuple(rank.at(b->mark.source.get()), b->mark.line, b->mark.column);
  });
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
