#include "host/config/split_documents.h"

#include <algorithm>
#include <string>
#include <utility>

namespace epp::config {
namespace {

bool BeginsDocument(std::string_view line) {
  return line.starts_with("---") &&
         (line.size() == 3 || line[3] == ' ' || line[3] == '\t' || line[3] == '\r');
}

void Shift(Mark& mark, const std::shared_ptr<const SourceText>& whole, uint32_t lines) {
  mark.source = whole;
  if (mark.line != 0) mark.line += lines;
}

// Depth: that of a document, which is bounded.
void Shift(Node& node, const std::shared_ptr<const SourceText>& whole, uint32_t lines) {
  Shift(node.mark, whole, lines);
  for (auto& [key, value] : node.members) {
    Shift(key, whole, lines);
    Shift(value, whole, lines);
  }
  for (Node& item : node.items) Shift(item, whole, lines);
}

}  // namespace

std::vector<DocumentPart> SplitDocuments(std::string_view text) {
  std::vector<DocumentPart> parts;
  size_t part_begin = 0;
  uint32_t part_line = 0;
  uint32_t line = 0;
  for (size_t at = 0; at < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (at > 0 && BeginsDocument(text.substr(at, end - at))) {
      parts.push_back({text.substr(part_begin, at - part_begin), part_line});
      part_begin = at;
      part_line = line;
    }
    at = end + 1;
  }
  parts.push_back({text.substr(part_begin), part_line});
  return parts;
}

std::optional<Node> ParsePart(const std::shared_ptr<const SourceText>& whole,
                              const DocumentPart& part, Diagnostics& out) {
  auto source = std::make_shared<SourceText>();
  source->name = whole->name;
  source->text = std::string(part.text);
  Diagnostics own;
  std::optional<Node> root = ParseDocument(std::move(source), own);
  for (Diagnostic d : own.all()) {
    Shift(d.mark, whole, part.lines_before);
    if (d.severity == Severity::kError) {
      out.Error(std::move(d.mark), std::move(d.code), std::move(d.message), std::move(d.caret),
                std::move(d.hint));
    } else {
      out.Warning(std::move(d.mark), std::move(d.code), std::move(d.message), std::move(d.caret),
                  std::move(d.hint));
    }
  }
  if (root) Shift(*root, whole, part.lines_before);
  return root;
}

}  // namespace epp::config
