// The bytes of a message body, freed from their framing as they come in.
//
// Threads: none. Nothing here does I/O.
#pragma once

#include <cstdint>
#include <string_view>

#include "head.h"

namespace sidecar {

class BodyDecoder {
 public:
  explicit BodyDecoder(const Framing& framing);

  // Takes bytes from the front of `in` and gives a piece of the body, a view into it; an empty
  // piece with bytes left of `in` untaken means that the body is done or bad. Trailers are dropped.
  std::string_view Take(std::string_view& in);

  bool done() const { return state_ == State::kDone; }
  bool bad() const { return state_ == State::kBad; }
  // The peer closed. False when the body is cut.
  bool End();

 private:
  enum class State : uint8_t {
    kData,
    kUntilClose,
    kSize,
    kExtension,
    kSizeEnd,
    kChunk,
    kChunkCr,
    kChunkLf,
    kTrailer,
    kTrailerLine,
    kTrailerLineLf,
    kTrailerLf,
    kDone,
    kBad
  };
  void Step(char c);

  State state_;
  uint64_t left_ = 0;
  uint32_t digits_ = 0;
  uint32_t trailer_bytes_ = 0;
};

}  // namespace sidecar
