#include "body.h"

#include <algorithm>

namespace sidecar {
namespace {

constexpr uint32_t kMaxLineBytes = 16 * 1024;  // of extensions and trailers

int Hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

BodyDecoder::BodyDecoder(const Framing& framing) : state_(State::kDone) {
  switch (framing.kind) {
    case Framing::Kind::kNone:
      break;
    case Framing::Kind::kLength:
      left_ = framing.length;
      if (left_ != 0) state_ = State::kData;
      break;
    case Framing::Kind::kChunked:
      state_ = State::kSize;
      break;
    case Framing::Kind::kUntilClose:
      state_ = State::kUntilClose;
      break;
  }
}

std::string_view BodyDecoder::Take(std::string_view& in) {
  while (!in.empty() && state_ != State::kDone && state_ != State::kBad) {
    if (state_ == State::kUntilClose) {
      const std::string_view piece = in;
      in = {};
      return piece;
    }
    if (state_ == State::kData || state_ == State::kChunk) {
      const std::string_view piece = in.substr(0, std::min<uint64_t>(left_, in.size()));
      in.remove_prefix(piece.size());
      left_ -= piece.size();
      if (left_ == 0) state_ = state_ == State::kData ? State::kDone : State::kChunkCr;
      return piece;
    }
    Step(in.front());
    if (state_ != State::kBad) in.remove_prefix(1);
  }
  return {};
}

void BodyDecoder::Step(char c) {
  const auto want = [&](char wanted, State next) { state_ = c == wanted ? next : State::kBad; };
  switch (state_) {
    case State::kSize:
      if (const int digit = Hex(c); digit >= 0) {
        if (++digits_ > 15) {
          state_ = State::kBad;
        } else {
          left_ = left_ * 16 + static_cast<uint64_t>(digit);
        }
      } else if (digits_ == 0) {
        state_ = State::kBad;
      } else if (c == ';') {
        state_ = State::kExtension;
      } else {
        want('\r', State::kSizeEnd);
      }
      return;
    case State::kExtension:
      if (c == '\r') {
        state_ = State::kSizeEnd;
      } else if (c == '\n' || ++trailer_bytes_ > kMaxLineBytes) {
        state_ = State::kBad;
      }
      return;
    case State::kSizeEnd:
      want('\n', left_ == 0 ? State::kTrailer : State::kChunk);
      digits_ = 0;
      return;
    case State::kChunkCr:
      want('\r', State::kChunkLf);
      return;
    case State::kChunkLf:
      want('\n', State::kSize);
      return;
    case State::kTrailer:
      state_ = c == '\r' ? State::kTrailerLf : State::kTrailerLine;
      if (c == '\n') state_ = State::kBad;
      return;
    case State::kTrailerLine:
      if (c == '\r') {
        state_ = State::kTrailerLineLf;
      } else if (c == '\n' || ++trailer_bytes_ > kMaxLineBytes) {
        state_ = State::kBad;
      }
      return;
    case State::kTrailerLineLf:
      want('\n', State::kTrailer);
      return;
    case State::kTrailerLf:
      want('\n', State::kDone);
      return;
    default:
      return;
  }
}

bool BodyDecoder::End() {
  if (state_ == State::kUntilClose) state_ = State::kDone;
  return state_ == State::kDone;
}

}  // namespace sidecar
