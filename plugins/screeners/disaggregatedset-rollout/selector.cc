#include "selector.h"

#include <algorithm>
#include <utility>

namespace epp::rollout {

class SelectorParser {
 public:
  SelectorParser(std::string_view text, Selector& out) : text_(text), out_(out) {}

  Status Run() {
    if (text_.size() > Selector::kMaxBytes) return Status::Invalid("is too long");
    do {
      Selector::Requirement requirement;
      if (!Read(requirement)) {
        return Status::Invalid("got \"" + std::string(text_) + "\", column " +
                               std::to_string(at_ + 1) + ": want " + want_);
      }
      out_.requirements_.push_back(std::move(requirement));
    } while (Take(","));
    Space();
    if (at_ == text_.size()) return {};
    return Status::Invalid("got \"" + std::string(text_) + "\", column " + std::to_string(at_ + 1) +
                           ": want a comma");
  }

 private:
  using Op = Selector::Op;
  void Space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  bool Take(std::string_view token) {
    Space();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  bool Fail(const char* want) {
    want_ = want;
    return false;
  }
  std::string_view Word() {
    constexpr std::string_view kNotInWords = " \t,()=!<>";
    Space();
    const size_t begin = at_;
    while (at_ < text_.size() && kNotInWords.find(text_[at_]) == kNotInWords.npos) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  bool Read(Selector::Requirement& out) {
    const bool absent = Take("!");
    out.key = Word();
    if (out.key.empty()) return Fail("a label");
    if (absent) {
      out.op = Op::kAbsent;
      return true;
    }
    if (Take("!=") || Take("==") || Take("=")) {
      out.op = text_[at_ - 2] == '!' ? Op::kNotIn : Op::kIn;
      out.values.emplace_back(Word());  // may be empty
      return true;
    }
    Space();
    if (at_ == text_.size() || text_[at_] == ',') return true;
    const std::string_view word = Word();
    if (word != "in" && word != "notin") return Fail("=, !=, in or notin");
    out.op = word == "in" ? Op::kIn : Op::kNotIn;
    if (!Take("(")) return Fail("(");
    do {
      out.values.emplace_back(Word());
    } while (Take(","));
    return Take(")") || Fail(")");
  }

  const std::string_view text_;
  Selector& out_;
  size_t at_ = 0;
  const char* want_ = "";
};

Status Selector::Parse(std::string_view text, Selector& out) {
  out.requirements_.clear();
  return SelectorParser(text, out).Run();
}

bool Selector::Matches(const epp_endpoint& endpoint) const {
  return std::all_of(requirements_.begin(), requirements_.end(), [&](const Requirement& r) {
    bool present = false;
    const std::string_view value = Label(endpoint, r.key, &present);
    const bool listed = std::find(r.values.begin(), r.values.end(), value) != r.values.end();
    switch (r.op) {
      case Op::kExists:
        return present;
      case Op::kAbsent:
        return !present;
      case Op::kIn:
        return present && listed;
      case Op::kNotIn:
        return !present || !listed;
    }
    return false;
  });
}

}  // namespace epp::rollout
