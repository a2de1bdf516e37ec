// What every call into a plugin needs around it. Private to this folder.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "epp/abi.h"
#include "host/base/arena.h"
#include "host/scheduling/cycle.h"

namespace epp::scheduling {

inline uint64_t* Zeroed(size_t bits, Arena& arena, uint64_t fill = 0) {
  const std::span<uint64_t> words = arena.AllocArray<uint64_t>((bits + 63) / 64);
  std::fill(words.begin(), words.end(), fill);
  return words.data();
}

inline bool TestBit(const uint64_t* words, uint32_t i) { return words[i / 64] >> (i % 64) & 1; }
inline void SetBit(uint64_t* words, uint32_t i) { words[i / 64] |= uint64_t{1} << (i % 64); }

inline epp_error EmptyError() {
  epp_error err;
  err.struct_size = sizeof(err);
  err.code = EPP_OK;
  err.message[0] = '\0';
  return err;
}

// Before every call: a plugin that fails without a text must not show another's.
inline void Clear(epp_error& err) {
  err.code = EPP_OK;
  err.message[0] = '\0';
}

inline std::string_view Message(const epp_error& err) {
  return {err.message, strnlen(err.message, sizeof(err.message))};
}

// Times one plugin call after another with one clock read each.
class Stopwatch {
 public:
  explicit Stopwatch(const RequestContext& context)
      : context_(context), last_(context.clock->mono_ns()) {}
  uint64_t now() const { return last_; }
  void Restart() { last_ = context_.clock->mono_ns(); }
  uint64_t Lap(const BoundPlugin& plugin, Point point) {
    const uint64_t now = context_.clock->mono_ns();
    const uint64_t took = now - last_;
    last_ = now;
    context_.observer->Called(context_.worker, plugin, point, took);
    return took;
  }

 private:
  const RequestContext& context_;
  uint64_t last_;
};

inline void Count(uint32_t* into, uint64_t ns) {
  *into = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{*into} + ns, UINT32_MAX));
}

}  // namespace epp::scheduling
