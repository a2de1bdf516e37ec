#include "plugins/producers/token/tokenizer/pretokenizer.h"

#include "plugins/producers/token/tokenizer/fields.h"
#include "plugins/producers/token/tokenizer/unicode.h"

namespace token_producer {
namespace {

constexpr int kMaxDepth = 8;
constexpr size_t kMaxSteps = 32;
constexpr std::string_view kMetaspace = "\xE2\x96\x81";
constexpr std::string_view kWords = R"([\w\x{200c}\x{200d}]+|[^\w\x{200c}\x{200d}\s]+)";
constexpr std::string_view kPunctuation = R"([\p{P}!-\/:-@\[-`{-~])";

}  // namespace

// One run over a piece: every step hands its parts to the next one, and the last to the caller.
struct PreTokenizer::Walk {
  const PreTokenizer& of;
  Memory& memory;
  Word word;
  void* to;
  bool ok = true;

  void Piece(size_t at, std::string_view piece, bool first) {
    if (piece.empty()) return;
    if (at == of.steps_.size()) return word(to, piece);
    const Step& step = of.steps_[at];
    switch (step.kind) {
      case Kind::kSplit:
        return step.fast != nullptr ? Fast(at, step.fast, piece, first)
                                    : Split(at, step, piece, first);
      case Kind::kPrefixSpace: {
        if (piece.front() == ' ') return Piece(at + 1, piece, first);
        std::string& text = memory.text[step.text];
        text.assign(" ").append(piece);
        return Piece(at + 1, text, first);
      }
      case Kind::kMetaspace: {
        std::string& text = memory.text[step.text];
        text.clear();
        const bool wanted =
            step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && first);
        if (wanted && piece.front() != ' ' && !piece.starts_with(step.literal)) {
          text += step.literal;
        }
        for (size_t begin = 0;;) {
          const size_t space = piece.find(' ', begin);
          text.append(piece.substr(begin, space - begin));
          if (space == piece.npos) break;
          text += step.literal;
          begin = space + 1;
        }
        return Piece(at + 1, text, first);
      }
    }
  }

  void Fast(size_t at, FastSplit split, std::string_view piece, bool first) {
    const char* p = piece.data();
    const char* const end = p + piece.size();
    const bool last = at + 1 == of.steps_.size();
    while (p < end) {
      const char* const next = split(p, end);
      const std::string_view part(p, static_cast<size_t>(next - p));
      if (last) {
        word(to, part);
      } else {
        Piece(at + 1, part, first && p == piece.data());
      }
      p = next;
    }
  }

  bool Find(const Step& step, std::string_view piece, size_t from, size_t& begin, size_t& end) {
    if (!step.pattern) {
      begin = piece.find(step.literal, from);
      end = begin + step.literal.size();
      return begin != piece.npos;
    }
    const auto found = step.pattern->Next(piece, from, memory.match, begin, end);
    ok = ok && found != Pattern::Found::kError;
    return found == Pattern::Found::kYes;
  }

  // The piece is a row of matches and of what lies between them; behaviour says which of them
  // become one part.
  void Split(size_t at, const Step& step, std::string_view piece, bool first) {
    struct Range {
      size_t begin = 0, end = 0;
    };
    Range held;  // not handed on yet, when not empty
    bool before = false;
    const auto emit = [&](Range r) {
      if (r.begin < r.end) {
        Piece(at + 1, piece.substr(r.begin, r.end - r.begin), first && r.begin == 0);
      }
    };
    const auto part = [&](size_t begin, size_t end, bool match) {
      if (begin == end) return;
      match = match != step.invert;
      switch (step.behavior) {
        case Behavior::kRemoved:
          if (!match) emit({begin, end});
          break;
        case Behavior::kIsolated:
          emit({begin, end});
          break;
        case Behavior::kMergedWithPrevious:
        case Behavior::kContiguous: {
          const bool merge =
              step.behavior == Behavior::kContiguous ? match == before : match && !before;
          if (merge && held.end != 0) {
            held.end = end;
          } else {
            emit(held);
            held = {begin, end};
          }
          break;
        }
        case Behavior::kMergedWithNext:
          if (!match && before) {
            emit({held.begin, end});
            held = {};
          } else {
            emit(held);
            held = {};
            if (match) {
              held = {begin, end};
            } else {
              emit({begin, end});
            }
          }
          break;
      }
      before = match;
    };
    size_t done = 0, begin = 0, end = 0;
    while (ok && Find(step, piece, done, begin, end)) {
      part(done, begin, false);
      part(begin, end, true);
      done = end;
    }
    part(done, piece.size(), false);
    emit(held);
  }
};

bool PreTokenizer::Run(std::string_view piece, bool first, Memory& memory, Word word,
                       void* to) const {
  if (memory.text.size() < texts_) memory.text.resize(texts_);
  Walk walk{*this, memory, word, to};
  walk.Piece(0, piece, first);
  return walk.ok;
}

epp::Status PreTokenizer::Load(std::string_view json, PreTokenizer& out) {
  out = PreTokenizer();
  return out.Add(json, "pre_tokenizer", 0);
}

epp::Status PreTokenizer::AddRegex(std::string_view regex, Behavior behavior, bool invert,
                                   const std::string& where) {
  Step step;
  step.behavior = behavior;
  step.invert = invert;
  if (behavior == Behavior::kIsolated) step.fast = FindFastSplit(regex);
  if (behavior == Behavior::kRemoved && invert) step.fast = FindFastSplit(regex, true);
  if (step.fast == nullptr) {
    auto compiled = Pattern::Compile(regex);
    if (!compiled.ok()) {
      return {compiled.status().code(), where + ": " + std::string(compiled.status().message())};
    }
    step.pattern = compiled.release();
  }
  steps_.push_back(std::move(step));
  return {};
}

epp::Status PreTokenizer::Add(std::string_view json, const std::string& where, int depth) {
  if (json.empty() || json == "null") return {};
  Fields f;
  if (epp::Status s = Fields::Read(json, where, f); !s.ok()) return s;
  std::string type;
  f.Get("type", type);
  if (type == "Sequence") {
    if (depth == kMaxDepth) return epp::Status::Invalid(where + ": nested too deeply");
    const std::string list = where + ".pretokenizers";
    std::vector<std::string_view> items;
    if (epp::Status s = Fields::ReadArray(f.Raw("pretokenizers"), list, items); !s.ok()) return s;
    for (size_t i = 0; i < items.size(); ++i) {
      epp::Status s = Add(items[i], list + "[" + std::to_string(i) + "]", depth + 1);
      if (!s.ok()) return s;
    }
    return {};
  }
  if (steps_.size() >= kMaxSteps) return epp::Status::Invalid(where + ": more than 32 steps");
  if (byte_level_) return f.Wrong("type", "nothing behind ByteLevel");

  Behavior behavior = Behavior::kIsolated;
  std::string name;
  f.Get("behavior", name);
  if (!name.empty()) {
    if (name == "Removed") {
      behavior = Behavior::kRemoved;
    } else if (name == "MergedWithPrevious") {
      behavior = Behavior::kMergedWithPrevious;
    } else if (name == "MergedWithNext") {
      behavior = Behavior::kMergedWithNext;
    } else if (name == "Contiguous") {
      behavior = Behavior::kContiguous;
    } else if (name != "Isolated") {
      return f.Wrong("behavior",
                     "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
    }
  }

  if (type == "ByteLevel") {
    bool prefix = true, regex = true;
    f.Get("add_prefix_space", prefix);
    f.Get("use_regex", regex);
    byte_level_ = true;
    if (!f.status().ok()) return f.TakeStatus();
    if (prefix) {
      Step step;
      step.kind = Kind::kPrefixSpace;
      step.text = texts_++;
      steps_.push_back(std::move(step));
    }
    return regex ? AddRegex(kGpt2Pattern, Behavior::kIsolated, false, where) : epp::Status();
  }
  if (type == "Split") {
    bool invert = false;
    f.Get("invert", invert);
    Fields pattern;
    if (epp::Status s = Fields::Read(f.Raw("pattern"), where + ".pattern", pattern); !s.ok()) {
      return s;
    }
    std::string literal, regex;
    pattern.Get("String", literal);
    pattern.Get("Regex", regex);
    if (!pattern.status().ok()) return pattern.TakeStatus();
    if (!f.status().ok()) return f.TakeStatus();
    if (!regex.empty()) return AddRegex(regex, behavior, invert, where + ".pattern.Regex");
    if (literal.empty()) return pattern.Wrong("String", "text, or Regex");
    Step step;
    step.behavior = behavior;
    step.invert = invert;
    step.literal = std::move(literal);
    steps_.push_back(std::move(step));
    return {};
  }
  if (type == "Metaspace") {
    std::string scheme, replacement(kMetaspace);
    bool split = true, prefix = true;
    f.Get("replacement", replacement);
    f.Get("prepend_scheme", scheme);
    f.Get("add_prefix_space", prefix);
    f.Get("split", split);
    if (!f.status().ok()) return f.TakeStatus();
    if (replacement.empty() || replacement.size() != unicode::Length(replacement[0])) {
      return f.Wrong("replacement", "one character");
    }
    if (scheme.empty()) scheme = prefix ? "always" : "never";
    Step step;
    step.kind = Kind::kMetaspace;
    step.text = texts_++;
    step.literal = replacement;
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      return f.Wrong("prepend_scheme", "always, first or never");
    }
    step.prepend = scheme == "always"  ? Prepend::kAlways
                   : scheme == "first" ? Prepend::kFirst
                                       : Prepend::kNever;
    steps_.push_back(std::move(step));
    if (split) {
      Step cut;
      cut.behavior = Behavior::kMergedWithNext;
      cut.literal = replacement;
      steps_.push_back(std::move(cut));
    }
    return {};
  }
  if (type == "Whitespace") return AddRegex(kWords, Behavior::kRemoved, true, where);
  if (type == "WhitespaceSplit") return AddRegex("\\s", Behavior::kRemoved, false, where);
  if (type == "Digits") {
    bool single = false;
    f.Get("individual_digits", single);
    if (!f.status().ok()) return f.TakeStatus();
    return AddRegex("\\p{N}", single ? Behavior::kIsolated : Behavior::kContiguous, false, where);
  }
  if (type == "Punctuation") return AddRegex(kPunctuation, behavior, false, where);
  return f.Wrong("type",
                 "Sequence, Split, ByteLevel, Metaspace, Whitespace, WhitespaceSplit, Digits or "
                 "Punctuation");
}

}  // namespace token_producer
