// What the JSON parsers share: one pass of simdjson over the padded body, fields as views into it.
//
// A request can be wrong in two ways, and clients see different texts for them: it is not JSON
// (false from the functions here), or a field has the wrong type (Wrong() is noted, and the pass
// goes on, because a fault of the first kind further on outranks it).
#pragma once

#include <simdjson.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "epp/plugin.hpp"
#include "plugins/common/json_text.hpp"

namespace epp::json {

// simdjson's buffers (about six bytes a byte of body), one set a worker. After a body larger than
// kKeepBytes they are given back.
class ParserPool {
 public:
  static constexpr size_t kKeepBytes = 1 << 20;

  explicit ParserPool(uint32_t workers) : parsers_(std::max(workers, 1u)) {
    for (auto& p : parsers_) p = std::make_unique<simdjson::ondemand::parser>();
  }

  // The worker's parser, with room for a body of that size.
  simdjson::ondemand::parser& Get(uint32_t worker, size_t body_bytes) {
    auto& parser = *parsers_[worker % parsers_.size()];
    if (parser.capacity() < body_bytes) {
      // A power of two, so that slowly growing bodies do not allocate every time. When this fails,
      // iterate() tries again and reports it.
      const auto error = parser.allocate(std::bit_ceil(std::max<size_t>(body_bytes, 4096)));
      static_cast<void>(error);
    }
    return parser;
  }
  void Done(uint32_t worker) {
    auto& parser = parsers_[worker % parsers_.size()];
    if (parser->capacity() > kKeepBytes) parser = std::make_unique<simdjson::ondemand::parser>();
  }

 private:
  std::vector<std::unique_ptr<simdjson::ondemand::parser>> parsers_;
};

// Segments in the request's arena, growing by doubling.
class Segments {
 public:
  explicit Segments(const Call& call) : call_(call) {}

  size_t size() const { return size_; }
  epp_segment& operator[](size_t i) { return items_[i]; }
  std::span<const epp_segment> items() const { return {items_, size_}; }
  void Truncate(size_t n) { size_ = n; }
  // False when the arena refuses.
  bool Add(const epp_segment& s) {
    if (size_ == capacity_) {
      const size_t capacity = capacity_ ? capacity_ * 2 : 64;
      // Not Call::Alloc, which would clear what is about to be written.
      auto* const items = static_cast<epp_segment*>(call_.raw().alloc(
          call_.raw().arena, capacity * sizeof(epp_segment), alignof(epp_segment)));
      if (items == nullptr) return false;
      if (size_) std::memcpy(items, items_, size_ * sizeof(epp_segment));
      items_ = items;
      capacity_ = capacity;
    }
    items_[size_++] = s;
    return true;
  }

 private:
  const Call& call_;
  epp_segment* items_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// One request body. Members are visited in the order of the text; of equal keys the last wins.
class RequestBody {
 public:
  using Value = simdjson::ondemand::value;

  RequestBody(const Call& call, const epp_request& request, epp_parsed& out)
      : call_(call), body_(View(request.body)), out_(out) {}

  // Reads the top-level object. `member(key, value)` handles a member and returns false to refuse
  // the text; it gets those that are not common to all APIs. max_keys: where the limit on output
  // tokens may be, best first. Returns false when the body is not a JSON object; null passes, and
  // has no members.
  template <class F>
  bool Read(ParserPool& pool, std::span<const std::string_view> max_keys, F&& member) {
    const bool ok = ReadDocument(pool, max_keys, member);
    pool.Done(call_.worker());
    return ok;
  }

  // Is the value of this kind? A value's first character says what it is.
  static char First(Value& v) { return v.raw_json_token().front(); }
  static bool IsNull(Value& v) { return First(v) == 'n'; }

  // Reads all members of an object, or notes that it is none. null is an empty object.
  template <class F>
  bool Members(Value& v, const char* field, F&& member) {
    if (First(v) != '{') return NullOrWrong(v, field, "an object");
    simdjson::ondemand::object object;
    if (const auto error = v.get_object().get(object)) return Refuse(error);
    for (auto f : object) {
      simdjson::ondemand::field member_field;
      if (const auto error = std::move(f).get(member_field)) return Refuse(error);
      if (!Member(member_field, member)) return false;
    }
    return true;
  }

  // Reads all elements of an array, or notes that it is none. null is an empty array.
  template <class F>
  bool Elements(Value& v, const char* field, F&& element) {
    if (First(v) != '[') return NullOrWrong(v, field, "an array");
    simdjson::ondemand::array array;
    if (const auto error = v.get_array().get(array)) return Refuse(error);
    for (auto e : array) {
      Value value;
      if (const auto error = std::move(e).get(value)) return Refuse(error);
      if (!element(value)) return false;
    }
    return true;
  }

  // The text of any value; only its brackets are known to be balanced.
  bool Span(Value& v, std::string_view& out) {
    const char c = First(v);
    if (c == '{') {
      simdjson::ondemand::object object;
      if (const auto error = v.get_object().get(object)) return Refuse(error);
      if (const auto error = object.raw_json().get(out)) return Refuse(error);
    } else if (c == '[') {
      simdjson::ondemand::array array;
      if (const auto error = v.get_array().get(array)) return Refuse(error);
      if (const auto error = array.raw_json().get(out)) return Refuse(error);
    } else {
      out = v.raw_json_token();
      if (c == '"' && !Consume(v)) return false;
    }
    out = TrimRight(out);
    return true;
  }
  // The text of any value, checked.
  bool Raw(Value& v, std::string_view& out) { return Span(v, out) && Check(out); }
  bool Check(std::string_view text) {
    Cursor cursor(text);
    return (cursor.Skip() && cursor.End()) || Refuse(cursor.reason(), cursor.at());
  }
  bool Skip(Value& v) {
    std::string_view text;
    return Raw(v, text);
  }

  // A string, or null which leaves out alone; notes any other type.
  bool String(Value& v, const char* field, RawString& out) {
    if (First(v) != '"') return NullOrWrong(v, field, "a string");
    return Quoted(v, out);
  }
  // A value that is known to be a string.
  bool Quoted(Value& v, RawString& out) {
    Cursor cursor(v.raw_json_token());
    if (!cursor.String(out)) return Refuse(cursor.reason(), cursor.at());
    return Consume(v);
  }
  bool Bool(Value& v, const char* field) {
    const char c = First(v);
    if (c != 't' && c != 'f') return NullOrWrong(v, field, "a bool");
    return Skip(v);
  }
  bool Integer(Value& v, const char* field) {
    const char c = First(v);
    if (c != '-' && !IsDigit(c)) return NullOrWrong(v, field, "an integer");
    std::string_view text;
    int64_t ignored;
    if (!Raw(v, text)) return false;
    if (!ToInt(text, ignored)) Wrong(field, "an integer", text.data());
    return true;
  }
  // A container of that kind whose content is not looked into.
  bool Container(Value& v, const char* field, char open, std::string_view& text) {
    if (First(v) != open) return NullOrWrong(v, field, open == '[' ? "an array" : "an object");
    return Raw(v, text);
  }

  // Notes a field of the wrong type; the first one counts.
  void Wrong(const char* field, const char* want, const char* at) {
    if (wrong_.empty()) {
      wrong_ = "\"" + std::string(field) + "\" at byte " + std::to_string(at - body_.data()) +
               ": want " + want;
    }
  }
  bool Refuse(const char* reason, const char* at = nullptr) {
    if (!fault_.empty()) return false;
    fault_ = reason;
    if (at) fault_ += " at byte " + std::to_string(at - body_.data());
    return false;
  }

  // Adds a piece of the prompt; an empty text is none, except with keep_empty.
  bool Add(Segments& to, int32_t kind, const RawString& s, uint32_t message, uint32_t flags = 0,
           uint32_t prompt = 0, bool keep_empty = false) {
    if (s.bytes.empty() && !keep_empty) return true;
    if (s.escaped) flags |= EPP_SEGMENT_ESCAPED;
    return to.Add({kind, flags, prompt, message, epp_str{s.bytes.data(), s.bytes.size()}}) ||
           Refuse("too many pieces of prompt");
  }
  bool AddJson(Segments& to, std::string_view text, uint32_t message = 0) {
    return Add(to, EPP_SEGMENT_JSON, {text, false}, message);
  }

  // s with its escapes decoded, in the arena when it has any.
  epp_str Decoded(const RawString& s) const {
    if (!s.escaped) return {s.bytes.data(), s.bytes.size()};
    char* const data = call_.Alloc<char>(s.bytes.size());
    if (data == nullptr) return {nullptr, 0};
    return {data, static_cast<uint64_t>(Unescape(s.bytes, data) - data)};
  }

  // Hands the segments over: those of lists, one after another.
  bool Finish(std::initializer_list<Segments*> lists) {
    size_t total = 0, used = 0;
    for (Segments* list : lists) {
      total += list->size();
      used += list->size() != 0;
    }
    out_.segment_count = static_cast<uint32_t>(total);
    if (used <= 1) {
      for (Segments* list : lists) {
        if (list->size()) out_.segments = list->items().data();
      }
      return true;
    }
    auto* const all = call_.Alloc<epp_segment>(total);
    if (all == nullptr) return Refuse("too many pieces of prompt");
    out_.segments = all;
    size_t n = 0;
    for (Segments* list : lists) {
      std::copy(list->items().begin(), list->items().end(), all + n);
      n += list->size();
    }
    return true;
  }

  const std::string& fault() const { return fault_; }
  const std::string& wrong() const { return wrong_; }
  std::string_view body() const { return body_; }

  // The limit on output tokens among candidates such as ReadLimit fills; -1 when none is valid.
  static constexpr int64_t kNoLimit = -1;
  // A non-negative integral number, in any notation; otherwise kNoLimit.
  bool ReadLimit(Value& v, int64_t& out) {
    std::string_view text;
    if (!Raw(v, text)) return false;
    out = kNoLimit;
    if (text.front() != '-' && !IsDigit(text.front())) return true;
    if (ToInt(text, out)) {
      out = std::max(out, kNoLimit);
      return true;
    }
    const double value = ToDouble(text);
    const bool fits = value >= 0 && value < 9.2e18 && value == std::floor(value);
    out = fits ? static_cast<int64_t>(value) : kNoLimit;
    return true;
  }

 private:
  template <class F>
  bool Member(simdjson::ondemand::field& field, F&& member) {
    // The raw key points behind its opening quote.
    Cursor cursor(Rest(field.key().raw() - 1));
    RawString key;
    if (!cursor.String(key)) return Refuse(cursor.reason(), cursor.at());
    if (!key.escaped) return member(key.bytes, field.value());
    return member(std::string_view(Unescaped(key.bytes)), field.value());
  }
  std::string_view Rest(const char* from) const {
    return {from, static_cast<size_t>(body_.data() + body_.size() - from)};
  }

  template <class F>
  bool ReadDocument(ParserPool& pool, std::span<const std::string_view> max_keys, F&& member) {
    const size_t start = body_.find_first_not_of(" \t\r\n");
    if (start == std::string_view::npos) return Refuse("empty body");
    if (body_[start] != '{') return ReadNoObject(TrimRight(body_.substr(start)));
    auto& parser = pool.Get(call_.worker(), body_.size());
    simdjson::ondemand::document document;
    const simdjson::padded_string_view padded(body_.data(), body_.size(),
                                              body_.size() + simdjson::SIMDJSON_PADDING);
    if (const auto error = parser.iterate(padded).get(document)) return Refuse(error);
    simdjson::ondemand::object object;
    if (const auto error = document.get_object().get(object)) return Refuse(error);

    out_.model_offset = start + 1;
    int64_t limits[2] = {kNoLimit, kNoLimit};
    for (auto f : object) {
      simdjson::ondemand::field field;
      if (const auto error = std::move(f).get(field)) return Refuse(error);
      ++out_.member_count;
      const bool ok = Member(field, [&](std::string_view key, Value& v) {
        if (key == "model") return ReadModel(v);
        if (key == "stream") return ReadStream(v);
        if (key == "cache_salt") return ReadSalt(v);
        for (size_t i = 0; i < max_keys.size(); ++i) {
          if (key == max_keys[i]) return ReadLimit(v, limits[i]);
        }
        return member(key, v);
      });
      if (!ok) return false;
    }
    const char* rest = nullptr;
    if (document.current_location().get(rest) == simdjson::SUCCESS) {
      return Refuse("text after the value", rest);
    }
    out_.max_output_tokens = limits[0] != kNoLimit ? limits[0] : limits[1];
    out_.flags |= EPP_PARSED_CAN_REWRITE;
    return true;
  }

  bool ReadNoObject(std::string_view text) {
    if (text == "null") return true;
    Cursor cursor(text);
    if (!cursor.Skip() || !cursor.End()) return Refuse(cursor.reason(), cursor.at());
    return Refuse("want an object", text.data());
  }

  bool ReadModel(Value& v) {
    std::string_view text;
    if (!Raw(v, text)) return false;
    out_.flags |= EPP_PARSED_MODEL_PRESENT;
    out_.model_offset = static_cast<uint64_t>(text.data() - body_.data());
    out_.model_size = text.size();
    out_.model = {nullptr, 0};
    RawString s;
    if (text.front() == '"' && Cursor(text).String(s)) out_.model = Decoded(s);
    return true;
  }
  bool ReadStream(Value& v) {
    std::string_view text;
    if (!Raw(v, text)) return false;
    out_.flags &= ~EPP_PARSED_STREAM;
    if (text == "true") out_.flags |= EPP_PARSED_STREAM;
    return true;
  }
  bool ReadSalt(Value& v) {
    RawString s;
    if (!String(v, "cache_salt", s)) return false;
    out_.cache_salt = Decoded(s);
    return true;
  }

  // Moves on from a string. simdjson would take one that was only looked at, and that a colon
  // follows, for a key, and read on.
  bool Consume(Value& v) {
    const auto error = v.get_raw_json_string().error();
    return error == simdjson::SUCCESS || Refuse(error);
  }
  bool NullOrWrong(Value& v, const char* field, const char* want) {
    if (!IsNull(v)) Wrong(field, want, v.raw_json_token().data());
    return Skip(v);
  }
  bool Refuse(simdjson::error_code error) { return Refuse(simdjson::error_message(error)); }

  const Call& call_;
  std::string_view body_;
  epp_parsed& out_;
  std::string fault_;
  std::string wrong_;
};

// A client's path for an error message: short, printable.
inline std::string Printable(std::string_view path) {
  std::string out(path.substr(0, 200));
  for (char& c : out) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return out;
}

}  // namespace epp::json
