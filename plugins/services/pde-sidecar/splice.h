// Edits a JSON object in its text: members that are not touched keep every byte, so number
// spelling, key order, unknown fields and white space reach the engine as the client wrote them.
//
// Threads: none. Lifetime: the text must outlive the object.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sidecar {

class Splice {
 public:
  // Nothing when `text` is not one JSON object; *why then says so.
  static std::optional<Splice> Parse(std::string_view text, std::string* why = nullptr);

  // The text of a member's value as it is now. Of several members of one name the last counts, as
  // it does for the engines.
  std::optional<std::string_view> Get(std::string_view key) const;
  bool Has(std::string_view key) const { return Get(key).has_value(); }

  // `value` is JSON text. A member that is there keeps its place; its namesakes go. A new one is
  // appended.
  void Set(std::string_view key, std::string value);
  void Remove(std::string_view key);

  // Render would not give the text itself.
  bool changed() const;
  std::string Render() const;

 private:
  struct Member {
    std::string_view key;     // inside of the string, as written
    std::string_view lead;    // white space before the key
    std::string_view middle;  // the key and all up to the value
    std::string_view value;
    std::string_view tail;  // white space behind the value
    std::string replaced;
    bool escaped = false;
    bool edited = false;
    bool removed = false;
  };
  bool Is(const Member& member, std::string_view key) const;

  std::string_view head_;    // up to the opening brace
  std::string_view foot_;    // from the closing brace
  std::string_view inside_;  // of an object without members
  std::vector<Member> members_;
  std::vector<std::pair<std::string, std::string>> added_;
};

// Text as a JSON string, quotes included. Bytes that are not UTF-8 pass as they are.
std::string JsonString(std::string_view text);
// The inside of a JSON string's text (quotes included), or nothing when it is none.
std::optional<std::string> StringOf(std::string_view json);
// A whole number, as is or as 3.0; nothing for all else.
std::optional<int64_t> IntegerOf(std::string_view json);
// The value at a path of object keys, or nothing.
std::optional<std::string_view> Lookup(std::string_view object, std::string_view key);
// The elements of an array, as text; empty for what is none.
std::vector<std::string_view> ElementsOf(std::string_view array);

}  // namespace sidecar
