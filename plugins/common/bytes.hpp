// Saved state as bytes, for epp.state/1: fixed-size values one after another, texts with their
// length in front. Both sides run in one process, so values have the machine's own form.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace epp::common {

template <class T>
void PutBytes(std::string* out, T value) {
  static_assert(std::is_arithmetic_v<T>);
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  out->append(raw, sizeof(T));
}
inline void PutText(std::string* out, std::string_view text) {
  PutBytes(out, static_cast<uint32_t>(text.size()));
  out->append(text);
}

// Reads what Put wrote from bytes that are not to be trusted: each call is false at the end.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  template <class T>
  bool Get(T* value) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    if (rest_.size() < sizeof(T)) return false;
    std::memcpy(value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return true;
  }
  bool GetText(std::string_view* text) {
    uint32_t size = 0;
    return Get(&size) && GetRaw(size, text);
  }
  bool GetRaw(uint64_t size, std::string_view* raw) {
    if (rest_.size() < size) return false;
    *raw = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }
  bool done() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

}  // namespace epp::common
