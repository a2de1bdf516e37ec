#include "plugins/producers/token/media.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace token_producer {
namespace {

int64_t Clamp(double tokens) {
  if (!(tokens >= 1)) return 1;
  return tokens < static_cast<double>(kMaxAssetTokens) ? static_cast<int64_t>(tokens)
                                                       : kMaxAssetTokens;
}

// Base64 text as bytes, in any order.
class Base64 {
 public:
  explicit Base64(std::string_view text) : text_(text) {}

  // The byte at that position, or -1 when there is none.
  int At(size_t i) const {
    const size_t c = i / 3 * 4 + i % 3;
    const int high = Digit(c), low = Digit(c + 1);
    if (high < 0 || low < 0) return -1;
    const int shift = 2 + 2 * static_cast<int>(i % 3);
    return ((high << shift) | (low >> (6 - shift))) & 0xFF;
  }
  // Big-endian and little-endian integers of n bytes; -1 when there are not as many.
  int64_t Big(size_t i, size_t n) const {
    int64_t value = 0;
    for (size_t k = 0; k < n; ++k) {
      const int byte = At(i + k);
      if (byte < 0) return -1;
      value = value * 256 + byte;
    }
    return value;
  }
  int64_t Little16(size_t i) const {
    const int low = At(i), high = At(i + 1);
    return low < 0 || high < 0 ? -1 : high * 256 + low;
  }

 private:
  int Digit(size_t i) const {
    if (i >= text_.size()) return -1;
    const char c = text_[i];
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
  }
  std::string_view text_;
};

// Walks the segments of a JPEG up to the frame header.
Resolution JpegSize(const Base64& bytes) {
  constexpr int kMaxSegments = 1024;
  size_t at = 2;
  for (int i = 0; i < kMaxSegments; ++i) {
    if (bytes.At(at) != 0xFF) return {};
    const int marker = bytes.At(at + 1);
    if (marker == 0xFF) {  // fill byte
      ++at;
      continue;
    }
    if (marker < 0 || marker == 0xD9 || marker == 0xDA) return {};
    if (marker >= 0xC0 && marker <= 0xC2) return {bytes.Big(at + 7, 2), bytes.Big(at + 5, 2)};
    at += 2;
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7)) continue;
    const int64_t length = bytes.Big(at, 2);
    if (length < 2) return {};
    at += static_cast<size_t>(length);
  }
  return {};
}

int64_t FrameCount(const VideoSettings& s, const VideoHints& hints) {
  const double seconds = hints.seconds > 0 ? hints.seconds : s.seconds;
  const double fps = !s.strided             ? s.sample_fps
                     : hints.source_fps > 0 ? hints.source_fps
                                            : s.source_fps;
  int64_t frames = static_cast<int64_t>(std::min(seconds * fps, 1e15));
  if (s.strided) frames /= std::max<int64_t>(s.stride, 1);
  frames = std::max(frames, s.min_frames);
  if (s.max_frames > 0) frames = std::min(frames, s.max_frames);
  if (!s.strided && s.temporal_patch > 1) frames /= s.temporal_patch;
  return frames;
}

}  // namespace

std::optional<Resolution> ImageSize(std::string_view base64) {
  const Base64 bytes(base64);
  Resolution size;
  if (bytes.Big(0, 4) == 0x89504E47 && bytes.Big(4, 4) == 0x0D0A1A0A &&
      bytes.Big(12, 4) == 0x49484452) {
    size = {bytes.Big(16, 4), bytes.Big(20, 4)};
  } else if (bytes.Big(0, 3) == 0x474946) {
    size = {bytes.Little16(6), bytes.Little16(8)};
  } else if (bytes.Big(0, 2) == 0xFFD8) {
    size = JpegSize(bytes);
  }
  if (size.width <= 0 || size.height <= 0) return std::nullopt;
  return size;
}

std::string_view DataUrlPayload(std::string_view url) {
  if (!url.starts_with("data:")) return {};
  const size_t comma = url.substr(0, 256).find(',');
  if (comma == std::string_view::npos || !url.substr(0, comma).ends_with(";base64")) return {};
  return url.substr(comma + 1);
}

int64_t ImageTokens(const ImageSettings& s, std::string_view base64) {
  if (s.is_static) return Clamp(static_cast<double>(s.static_tokens));
  const Resolution size = ImageSize(base64).value_or(s.fallback);
  // Sides of 32 bits: the product fits.
  return Clamp(std::floor(static_cast<double>(size.width) * static_cast<double>(size.height) /
                          static_cast<double>(s.factor)));
}

int64_t VideoTokens(const VideoSettings& s, const VideoHints& hints) {
  const Resolution size = hints.resolution.width > 0 ? hints.resolution : s.resolution;
  const double by_size =
      std::floor(static_cast<double>(size.width) * static_cast<double>(size.height) /
                 static_cast<double>(s.factor));
  const double a_frame = s.static_frames ? static_cast<double>(s.tokens_per_frame) : by_size;
  double tokens = a_frame * static_cast<double>(FrameCount(s, hints));
  if (s.max_tokens > 0) tokens = std::min(tokens, static_cast<double>(s.max_tokens));
  return Clamp(tokens);
}

int64_t AudioTokens(uint64_t bytes) { return Clamp(static_cast<double>((bytes + 3) / 4)); }

Resolution ParseResolution(std::string_view text) {
  const auto side = [](std::string_view s) -> int64_t {
    const size_t begin = s.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return 0;
    s = s.substr(begin, s.find_last_not_of(" \t") + 1 - begin);
    int32_t value = 0;
    const auto [end, ec] = std::from_chars(s.data(), s.data() + s.size(), value);
    return ec == std::errc() && end == s.data() + s.size() ? value : 0;
  };
  const size_t x = text.find_first_of("xX");
  if (x == std::string_view::npos) return {};
  const Resolution size{side(text.substr(0, x)), side(text.substr(x + 1))};
  return size.width > 0 && size.height > 0 ? size : Resolution{};
}

double ParsePositive(std::string_view text) {
  double value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool good = ec == std::errc() && end == text.data() + text.size();
  return good && std::isfinite(value) && value > 0 ? value : 0;
}

}  // namespace token_producer
