// Joins texts and numbers. Debian's Abseil has a string_view of its own, so its StrCat does not
// take ours.
#pragma once

#include <charconv>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>

namespace epp {

namespace internal {

// A text, or a number formatted into the piece itself.
class Piece {
 public:
  Piece(std::string_view text) : text_(text) {}    // NOLINT: implicit on purpose
  Piece(const char* text) : text_(text) {}         // NOLINT
  Piece(const std::string& text) : text_(text) {}  // NOLINT
  template <std::integral Int>
  requires(!std::same_as<Int, bool> && !std::same_as<Int, char>) Piece(Int value) {  // NOLINT
    text_ = {digits_,
             static_cast<size_t>(std::to_chars(digits_, digits_ + 24, value).ptr - digits_)};
  }
  Piece(double value) {  // NOLINT
    text_ = {digits_,
             static_cast<size_t>(std::to_chars(digits_, digits_ + 32, value).ptr - digits_)};
  }
  Piece(const Piece&) = delete;
  Piece& operator=(const Piece&) = delete;
  std::string_view text() const { return text_; }

 private:
  std::string_view text_;
  char digits_[32];
};

inline void AppendPieces(std::string* out, std::initializer_list<std::string_view> pieces) {
  size_t size = out->size();
  for (const std::string_view piece : pieces) size += piece.size();
  out->reserve(size);
  for (const std::string_view piece : pieces) out->append(piece);
}

}  // namespace internal

template <class... Args>
[[nodiscard]] std::string StrCat(const Args&... args) {
  std::string out;
  internal::AppendPieces(&out, {internal::Piece(args).text()...});
  return out;
}

template <class... Args>
void StrAppend(std::string* out, const Args&... args) {
  internal::AppendPieces(out, {internal::Piece(args).text()...});
}

}  // namespace epp
