// What became of one request, for the log: which workers it went to, what each made of it, and
// where we did other than was asked.
//
// Threads: the lane's.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "upstream.h"

namespace sidecar {

// Where we did other than the headers asked, or than all stages wish for.
enum class Fallback : uint8_t {
  kPrefillOff,     // a prefill worker is named, kvConnector is none
  kEncodeOff,      // encode workers are named, ecConnector is none
  kEncoderDenied,  // an encode worker is not allowed, or no address
  kSourceDenied,   // a source of cached blocks is not allowed, or no address
  kSourceOff,      // a source is named, the connector cannot pull
  kRetried,        // prefill was repeated
  kNoParams,       // prefill's answer has no kv_transfer_params: decode computes itself
  kDeclined,       // decode has too little in its cache, so that prefill ran
};
inline constexpr size_t kFallbacks = 8;
std::string_view NameOf(Fallback fallback);

// One request of ours to a worker.
struct Hop {
  std::string_view stage;  // static: encode, prefill, bootstrap, probe, decode
  std::string worker;
  double seconds = 0;
  int status = 0;  // 0: no answer came
  CallError error = CallError::kNone;
  uint64_t sent = 0;  // bytes, heads included
  uint64_t received = 0;
  uint32_t calls = 1;
  std::string detail;  // of a TLS error
};

struct Record {
  static constexpr size_t kHops = 64;  // further ones are only counted

  std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
  std::string_view api = "other";           // static; empty: a probe, not to be told
  std::string_view stages = "decode-only";  // static
  std::vector<Hop> hops;
  size_t more_hops = 0;
  uint32_t fallbacks = 0;  // bits by Fallback
  int status = 0;          // 0: no answer was begun
  bool client_left = false;
  bool cut = false;       // the answer was not sent to its end
  double seconds = 0;     // to the end of the answer
  double first_byte = 0;  // to its first byte; 0 when there was none
  uint64_t sent = 0;      // to the client, bytes
  std::string why;        // of an answer of ours

  void Add(Hop hop);
  void Fell(Fallback fallback) { fallbacks |= 1u << static_cast<uint8_t>(fallback); }
  bool fell(Fallback fallback) const {
    return (fallbacks >> static_cast<uint8_t>(fallback) & 1) != 0;
  }
  // Everything went as asked.
  bool plain() const;
  // As one JSON object. What clients wrote is shortened, and free of what is no plain ASCII.
  std::string Json(std::string_view id, std::string_view method, std::string_view path,
                   uint32_t rank) const;
};

}  // namespace sidecar
