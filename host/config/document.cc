#include "host/config/document.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <exception>
#include <sstream>
#include <unordered_set>

#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/base/utf8.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/yaml.h"

namespace epp::config {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxNodes = 200'000;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::optional<bool> BoolOf(std::string_view text) {
  for (const std::string_view yes :
       {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"}) {
    if (text == yes) return true;
  }
  for (const std::string_view no :
       {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

// A number's sign and its text without underscores; nothing when it cannot be a number.
struct Unsigned {
  bool negative = false;
  std::string text;
};
std::optional<Unsigned> SplitSign(std::string_view text) {
  Unsigned out;
  if (text.starts_with('+') || text.starts_with('-')) {
    out.negative = text.front() == '-';
    text.remove_prefix(1);
  }
  if (text.empty() || (text.front() != '.' && (text.front() < '0' || text.front() > '9'))) {
    return std::nullopt;
  }
  out.text = text;
  std::erase(out.text, '_');
  return out;
}

std::optional<int64_t> IntOf(std::string_view plain) {
  const std::optional<Unsigned> number = SplitSign(plain);
  if (!number) return std::nullopt;
  const bool negative = number->negative;
  std::string_view text = number->text;
  int base = 10;
  const std::string_view prefix = text.substr(0, 2);
  if (prefix == "0x" || prefix == "0X") {
    base = 16;
  } else if (prefix == "0o" || prefix == "0O") {
    base = 8;
  } else if (prefix == "0b" || prefix == "0B") {
    base = 2;
  }
  if (base != 10) {
    text.remove_prefix(2);
  } else if (text.size() > 1 && text.front() == '0') {
    base = 8;  // YAML 1.1: 010 is eight
  }
  if (text.empty() || text.front() == '-') return std::nullopt;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value > uint64_t{INT64_MAX} + negative) return std::nullopt;
  return negative ? static_cast<int64_t>(-value) : static_cast<int64_t>(value);
}

std::optional<double> FloatOf(std::string_view plain) {
  const std::optional<Unsigned> number = SplitSign(plain);
  if (!number) return std::nullopt;
  const std::string_view text = number->text;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return number->negative ? -value : value;
}

Node::Scalar Classify(std::string_view text) {
  if (BoolOf(text)) return Node::Scalar::kBool;
  if (IntOf(text)) return Node::Scalar::kInt;
  if (FloatOf(text)) return Node::Scalar::kFloat;
  return Node::Scalar::kText;
}

// Builds the tree from events: the node API of the library drops repeated keys silently.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(std::shared_ptr<const SourceText> source, Diagnostics& out)
      : source_(std::move(source)), out_(out) {
    // Byte offset of each line, for finding the end of a scalar.
    lines_.push_back(source_->text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0);
    for (size_t i = 0; i < source_->text.size(); ++i) {
      if (source_->text[i] == '\n') lines_.push_back(i + 1);
    }
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    NoAnchor(mark, anchor);
    Node node;
    node.mark = MarkAt(mark, 0);
    Add(std::move(node));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    out_.Error(MarkAt(mark, 1), "EPP-CFG-SYNTAX", "aliases are not supported", "write it out");
    Add(Node{});
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    NoAnchor(mark, anchor);
    NoTag(mark, tag);
    if (tag == "!") Closed(mark);
    Node node;
    node.kind = Node::Kind::kScalar;
    node.mark = MarkAt(mark, ScalarLength(mark, value));
    if (tag == "?" && (value == "null" || value == "~" || value == "Null" || value == "NULL")) {
      node.kind = Node::Kind::kNull;
    } else if (tag == "?") {
      node.scalar = Classify(value);
    }
    node.text = value;
    Add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(Node::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(Node::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { Close(); }

  Node TakeRoot() { return std::move(root_); }

 private:
  struct Frame {
    Node node;
    std::optional<Node> key;  // of a map, waiting for its value
    std::unordered_set<std::string> names;
  };

  Mark MarkAt(const YAML::Mark& mark, size_t length) const {
    // The library does not count the mark at the start of the text.
    const size_t skipped = mark.line <= 0 ? lines_[0] : 0;
    return {source_, static_cast<uint32_t>(std::max(mark.line, 0) + 1),
            static_cast<uint32_t>(static_cast<size_t>(std::max(mark.column, 0)) + skipped + 1),
            static_cast<uint32_t>(length)};
  }

  // One past the closing quote of the scalar that begins there; npos when there is none.
  size_t QuotedEnd(size_t begin) const {
    const std::string_view text = source_->text;
    const char quote = text[begin];
    for (size_t end = begin + 1; end < text.size(); ++end) {
      const bool escape = quote == '"' ? text[end] == '\\' : text.substr(end, 2) == "''";
      if (escape) {
        ++end;
      } else if (text[end] == quote) {
        return end + 1;
      }
    }
    return std::string_view::npos;
  }

  // The library takes the end of the text for a closing quote, as in a file that was cut off.
  void Closed(const YAML::Mark& mark) const {
    if (mark.line < 0 || static_cast<size_t>(mark.line) >= lines_.size()) return;
    const size_t begin = lines_[static_cast<size_t>(mark.line)] + static_cast<size_t>(mark.column);
    if (begin >= source_->text.size()) return;
    const char quote = source_->text[begin];
    if ((quote == '"' || quote == '\'') && QuotedEnd(begin) == std::string_view::npos) {
      throw YAML::ParserException(mark, "a quote is not closed");
    }
  }

  // Bytes of a scalar in its first line, quotes included.
  size_t ScalarLength(const YAML::Mark& mark, const std::string& value) const {
    if (mark.line < 0 || static_cast<size_t>(mark.line) >= lines_.size()) return 1;
    const std::string_view text = source_->text;
    const size_t begin = lines_[static_cast<size_t>(mark.line)] + static_cast<size_t>(mark.column);
    if (begin >= text.size()) return 1;
    const char quote = text[begin];
    if (quote == '"' || quote == '\'') {
      return std::min({QuotedEnd(begin), text.find('\n', begin), text.size()}) - begin;
    }
    return std::max<size_t>(std::min(value.size(), value.find('\n')), 1);
  }

  void NoAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor == 0) return;
    out_.Error(MarkAt(mark, 1), "EPP-CFG-SYNTAX", "anchors are not supported", "write it out");
  }
  void NoTag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    out_.Error(MarkAt(mark, 1), "EPP-CFG-SYNTAX", StrCat("tag ", tag, " is not supported"));
  }

  void Open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    NoAnchor(mark, anchor);
    NoTag(mark, tag);
    if (stack_.size() == kMaxDepth) {
      throw YAML::ParserException(mark, "nested too deeply");
    }
    Node node;
    node.kind = kind;
    node.mark = MarkAt(mark, 1);
    stack_.push_back({std::move(node), std::nullopt, {}});
  }

  void Close() {
    Node node = std::move(stack_.back().node);
    stack_.pop_back();
    Add(std::move(node));
  }

  void Add(Node node) {
    if (++nodes_ > kMaxNodes)
      throw YAML::ParserException(YAML::Mark::null_mark(), "too many nodes");
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& top = stack_.back();
    if (top.node.kind == Node::Kind::kList) {
      top.node.items.push_back(std::move(node));
      return;
    }
    if (!top.key) {
      if (node.kind != Node::Kind::kScalar) {
        out_.Error(node.mark, "EPP-CFG-SYNTAX",
                   StrCat("a key is ", node.KindName(), ", want a string"));
        node.kind = Node::Kind::kScalar;
      }
      top.key = std::move(node);
      return;
    }
    if (!top.names.insert(top.key->text).second) {
      out_.Error(top.key->mark, "EPP-CFG-DUPLICATE-KEY",
                 StrCat("key \"", top.key->text, "\" is repeated"), "already set above");
    } else {
      top.node.members.emplace_back(std::move(*top.key), std::move(node));
    }
    top.key.reset();
  }

  const std::shared_ptr<const SourceText> source_;
  Diagnostics& out_;
  std::vector<size_t> lines_;
  std::vector<Frame> stack_;
  Node root_;
  size_t nodes_ = 0;
};

void WriteJson(const Node& node, JsonWriter& w) {
  switch (node.kind) {
    case Node::Kind::kNull:
      w.Null();
      return;
    case Node::Kind::kScalar:
      if (const auto b = AsBool(node)) {
        w.Value(*b);
      } else if (node.scalar == Node::Scalar::kInt) {
        w.Value(*AsInt(node));
      } else if (node.scalar == Node::Scalar::kFloat) {
        w.Value(*AsFloat(node));
      } else {
        w.Value(node.text);
      }
      return;
    case Node::Kind::kList:
      w.BeginArray();
      for (const Node& item : node.items) WriteJson(item, w);
      w.EndArray();
      return;
    case Node::Kind::kMap: {
      std::vector<const std::pair<Node, Node>*> sorted;
      for (const auto& member : node.members) sorted.push_back(&member);
      std::sort(sorted.begin(), sorted.end(),
                [](const auto* a, const auto* b) { return a->first.text < b->first.text; });
      w.BeginObject();
      for (const auto* member : sorted) {
        w.Key(member->first.text);
        WriteJson(member->second, w);
      }
      w.EndObject();
      return;
    }
  }
}

}  // namespace

Node::Node() = default;
Node::Node(const Node& other) = default;
Node::Node(Node&& other) noexcept = default;
Node& Node::operator=(const Node& other) = default;
Node& Node::operator=(Node&& other) noexcept = default;
Node::~Node() = default;

const Node* Node::Find(std::string_view name) const {
  for (const auto& [key, value] : members) {
    if (key.text == name) return &value;
  }
  return nullptr;
}

std::string_view Node::KindName() const {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kMap:
      return "a map";
    case Kind::kList:
      return "a list";
    case Kind::kScalar:
      break;
  }
  switch (scalar) {
    case Scalar::kBool:
      return "a boolean";
    case Scalar::kInt:
      return "an integer";
    case Scalar::kFloat:
      return "a number";
    case Scalar::kText:
      break;
  }
  return "a string";
}

std::optional<bool> AsBool(const Node& node) {
  if (node.kind != Node::Kind::kScalar || node.scalar != Node::Scalar::kBool) return std::nullopt;
  return BoolOf(node.text);
}

std::optional<int64_t> AsInt(const Node& node) {
  if (node.kind != Node::Kind::kScalar) return std::nullopt;
  if (node.scalar == Node::Scalar::kInt) return IntOf(node.text);
  if (node.scalar != Node::Scalar::kFloat) return std::nullopt;
  const double value = *FloatOf(node.text);
  // Beyond 2^53 a double no longer says which integer was meant.
  if (std::floor(value) != value || std::abs(value) > 9007199254740992.0) return std::nullopt;
  return static_cast<int64_t>(value);
}

std::optional<double> AsFloat(const Node& node) {
  if (node.kind != Node::Kind::kScalar) return std::nullopt;
  if (node.scalar == Node::Scalar::kInt) return static_cast<double>(*IntOf(node.text));
  if (node.scalar == Node::Scalar::kFloat) return FloatOf(node.text);
  return std::nullopt;
}

std::string ToJson(const Node& node) {
  std::string out;
  JsonWriter w(&out);
  WriteJson(node, w);
  return out;
}

namespace {

// Position of the first byte that no text has. The library takes one control character for the end
// of the text, and would drop what follows.
std::optional<size_t> FirstUnusableByte(std::string_view text) {
  const size_t valid = utf8::ValidPrefix(text);
  for (size_t i = 0; i < valid; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == 0x7f || (c < 0x20 && c != '\t' && c != '\n' && c != '\r')) return i;
  }
  if (valid < text.size()) return valid;
  return std::nullopt;
}

}  // namespace

std::optional<Node> ParseDocument(std::shared_ptr<const SourceText> source, Diagnostics& out) {
  Mark start{source, 0, 0, 0};
  if (source->text.size() > kMaxDocumentBytes) {
    out.Error(start, "EPP-CFG-SYNTAX",
              StrCat("is ", source->text.size(), " bytes, want at most ", kMaxDocumentBytes));
    return std::nullopt;
  }
  if (const std::optional<size_t> at = FirstUnusableByte(source->text)) {
    const std::string_view before = std::string_view(source->text).substr(0, *at);
    const size_t line_begin = before.rfind('\n') + 1;  // 0 when there is none
    start.line = static_cast<uint32_t>(std::count(before.begin(), before.end(), '\n') + 1);
    start.column = static_cast<uint32_t>(*at - line_begin + 1);
    start.length = 1;
    out.Error(start, "EPP-CFG-SYNTAX",
              static_cast<unsigned char>(source->text[*at]) < 0x80
                  ? "holds a control character, want text"
                  : "is not UTF-8");
    return std::nullopt;
  }
  const size_t errors = out.errors();
  try {
    std::istringstream in(source->text);
    YAML::Parser parser(in);
    TreeBuilder builder(source, out);
    if (!parser.HandleNextDocument(builder)) return Node{};
    Diagnostics ignored;
    TreeBuilder second(source, ignored);
    if (parser.HandleNextDocument(second)) {
      out.Error(second.TakeRoot().mark, "EPP-CFG-SYNTAX", "holds more than one document, want one");
    }
    if (out.errors() > errors) return std::nullopt;
    return builder.TakeRoot();
  } catch (const YAML::Exception& error) {
    Mark mark = start;
    if (!error.mark.is_null()) {
      mark.line = static_cast<uint32_t>(error.mark.line + 1);
      mark.column = static_cast<uint32_t>(error.mark.column + 1);
      mark.length = 1;
    }
    out.Error(mark, "EPP-CFG-SYNTAX", StrCat("not readable as YAML: ", error.msg));
  } catch (const std::exception& error) {
    out.Error(start, "EPP-CFG-SYNTAX", StrCat("not readable as YAML: ", error.what()));
  }
  return std::nullopt;
}

}  // namespace epp::config
