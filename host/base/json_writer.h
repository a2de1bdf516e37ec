// Appends JSON to a string as it is described, without a tree in between.
//
//   std::string out;
//   JsonWriter w(&out);
//   w.BeginObject().Key("id").Value(7).Key("tags").BeginArray().Value("a").EndArray().EndObject();
//
// Commas and colons are the writer's business; order and nesting are the caller's, and misuse is
// our bug (asserted in debug builds). Output is compact and valid UTF-8 whatever goes in.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace epp {

// Appends `text` between quotes: control characters, quotes and backslashes escaped, malformed
// UTF-8 as U+FFFD.
void AppendJsonString(std::string_view text, std::string* out);

// Shortest decimal form that reads back as the same double; null when not finite.
void AppendJsonDouble(double value, std::string* out);

class JsonWriter {
 public:
  static constexpr int kMaxDepth = 64;

  // `out` is borrowed, appended to, and must outlive the writer.
  explicit JsonWriter(std::string* out) : out_(out) {}

  JsonWriter& BeginObject() { return Open('{'); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& BeginArray() { return Open('['); }
  JsonWriter& EndArray() { return Close(']'); }
  JsonWriter& Key(std::string_view name);

  JsonWriter& Value(std::string_view text);
  JsonWriter& Value(const char* text) { return Value(std::string_view(text)); }
  JsonWriter& Value(double value);
  template <std::same_as<bool> Bool>
  JsonWriter& Value(Bool value) {
    return Raw(value ? "true" : "false");
  }
  template <typename Int>
  requires(std::integral<Int> && !std::same_as<Int, bool> &&
           !std::same_as<Int, char>) JsonWriter& Value(Int value) {
    char buffer[24];
    const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
    return Raw({buffer, static_cast<size_t>(end - buffer)});
  }
  JsonWriter& Null() { return Raw("null"); }
  // One complete JSON value, already encoded; not checked.
  JsonWriter& Raw(std::string_view json);

  // Key and value in one.
  template <typename T>
  JsonWriter& Field(std::string_view name, const T& value) {
    return Key(name).Value(value);
  }

  // True when every object and array is closed.
  bool done() const { return depth_ == 0; }

 private:
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  void Separate();

  std::string* out_;
  int depth_ = 0;
  bool after_key_ = false;
  uint64_t has_items_ = 0;  // bit d: the container at depth d + 1 is not empty
};

}  // namespace epp
