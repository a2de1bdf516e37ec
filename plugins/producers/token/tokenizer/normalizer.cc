#include "plugins/producers/token/tokenizer/normalizer.h"

#include "plugins/producers/token/tokenizer/fields.h"

namespace token_producer {
namespace {

constexpr int kMaxDepth = 8;
constexpr size_t kMaxSteps = 64;
constexpr size_t kMaxContentBytes = 1024;

std::string_view Stripped(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const char* p = text.data();
    if (!(unicode::ClassOf(unicode::Take(p)) & unicode::kSpace)) break;
    text.remove_prefix(static_cast<size_t>(p - text.data()));
  }
  while (right && !text.empty()) {
    size_t last = text.size() - 1;
    while ((static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    const char* p = text.data() + last;
    if (!(unicode::ClassOf(unicode::Take(p)) & unicode::kSpace)) break;
    text = text.substr(0, last);
  }
  return text;
}

}  // namespace

epp::Status Normalizer::Load(std::string_view json, Normalizer& out) {
  out.steps_.clear();
  return out.Add(json, "normalizer", 0);
}

epp::Status Normalizer::Add(std::string_view json, const std::string& where, int depth) {
  Fields f;
  if (epp::Status s = Fields::Read(json, where, f); !s.ok()) return s;
  std::string type;
  f.Get("type", type);
  if (json.empty() || json == "null") return {};
  if (type == "Sequence") {
    if (depth == kMaxDepth) return epp::Status::Invalid(where + ": nested too deeply");
    std::vector<std::string_view> items;
    if (epp::Status s = Fields::ReadArray(f.Raw("normalizers"), where + ".normalizers", items);
        !s.ok()) {
      return s;
    }
    for (size_t i = 0; i < items.size(); ++i) {
      epp::Status s = Add(items[i], where + ".normalizers[" + std::to_string(i) + "]", depth + 1);
      if (!s.ok()) return s;
    }
    return {};
  }
  if (steps_.size() == kMaxSteps) return epp::Status::Invalid(where + ": more than 64 steps");
  Step step{};
  if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    step.kind = Kind::kForm;
    step.form = type == "NFC"    ? unicode::Form::kNfc
                : type == "NFD"  ? unicode::Form::kNfd
                : type == "NFKC" ? unicode::Form::kNfkc
                                 : unicode::Form::kNfkd;
  } else if (type == "Prepend") {
    step.kind = Kind::kPrepend;
    f.Get("prepend", step.content);
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    f.Get("content", step.content);
    Fields pattern;
    if (epp::Status s = Fields::Read(f.Raw("pattern"), where + ".pattern", pattern); !s.ok()) {
      return s;
    }
    std::string regex;
    pattern.Get("String", step.find);
    pattern.Get("Regex", regex);
    if (!pattern.status().ok()) return pattern.TakeStatus();
    if (!regex.empty()) {
      auto compiled = Pattern::Compile(regex);
      if (!compiled.ok()) {
        return {compiled.status().code(),
                where + ".pattern.Regex: " + std::string(compiled.status().message())};
      }
      step.pattern = compiled.release();
    } else if (step.find.empty()) {
      return pattern.Wrong("String", "text, or Regex");
    }
  } else if (type == "Lowercase") {
    step.kind = Kind::kLowercase;
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    f.Get("strip_left", step.left);
    f.Get("strip_right", step.right);
  } else if (type == "StripAccents") {
    step.kind = Kind::kStripAccents;
  } else {
    return f.Wrong("type",
                   "Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace, Lowercase, Strip or "
                   "StripAccents");
  }
  if (step.content.size() > kMaxContentBytes) return f.Wrong("content", "at most 1024 bytes");
  if (!f.status().ok()) return f.TakeStatus();
  steps_.push_back(std::move(step));
  return {};
}

std::string_view Normalizer::Run(std::string_view text, Memory& memory, MatchMemory& match,
                                 bool& ok) const {
  int next = 0;
  for (const Step& step : steps_) {
    if (step.kind == Kind::kStrip) {
      text = Stripped(text, step.left, step.right);
      continue;
    }
    std::string& out = memory.text[next];
    ok = ok && Apply(step, text, out, match);
    text = out;
    next ^= 1;
  }
  return text;
}

bool Normalizer::Apply(const Step& step, std::string_view text, std::string& out,
                       MatchMemory& match) {
  switch (step.kind) {
    case Kind::kForm:
      unicode::Normalize(step.form, text, out);
      return true;
    case Kind::kPrepend:
      out.clear();
      if (!text.empty()) out.append(step.content).append(text);
      return true;
    case Kind::kLowercase:
      unicode::Lowercase(text, out);
      return true;
    case Kind::kStripAccents: {
      out.clear();
      const char* p = text.data();
      for (const char* const end = p + text.size(); p < end;) {
        const char* const begin = p;
        if (!(unicode::ClassOf(unicode::Take(p)) & unicode::kMark)) {
          out.append(begin, static_cast<size_t>(p - begin));
        }
      }
      return true;
    }
    case Kind::kReplace: {
      out.clear();
      size_t at = 0;
      for (;;) {
        size_t begin, end;
        if (step.pattern) {
          const auto found = step.pattern->Next(text, at, match, begin, end);
          if (found == Pattern::Found::kError) return false;
          if (found == Pattern::Found::kNo) break;
        } else {
          begin = text.find(step.find, at);
          if (begin == text.npos) break;
          end = begin + step.find.size();
        }
        out.append(text.substr(at, begin - at)).append(step.content);
        at = end;
      }
      out.append(text.substr(at));
      return true;
    }
    case Kind::kStrip:
      break;
  }
  return true;
}

}  // namespace token_producer
