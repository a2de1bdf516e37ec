// How many placeholder tokens an image, a sound or a video stands for, by estimate.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace token_producer {

struct Resolution {
  int64_t width = 0;  // pixels
  int64_t height = 0;
};

// No estimate exceeds this, whatever an image or a header claims.
inline constexpr int64_t kMaxAssetTokens = 1 << 20;

struct ImageSettings {
  bool is_static = false;
  Resolution fallback{640, 360};  // when the size cannot be read
  int64_t factor = 1024;          // pixels a token
  int64_t static_tokens = 0;
};

struct VideoSettings {
  bool static_frames = false;  // tokens of a frame: a constant, or by size
  int64_t factor = 1024;       // pixels a token
  int64_t tokens_per_frame = 0;
  bool strided = false;  // frames: every nth of the source, or at a fixed rate
  int64_t min_frames = 0;
  int64_t max_frames = 0;  // 0: no limit
  double sample_fps = 2;
  int64_t temporal_patch = 0;  // this many sampled frames share their tokens
  double source_fps = 24;
  int64_t stride = 1;
  Resolution resolution{640, 360};
  double seconds = 10;
  int64_t max_tokens = 0;  // 0: no limit
};

// What the headers of a request say of its videos; 0 where they say nothing.
struct VideoHints {
  double seconds = 0;
  double source_fps = 0;
  Resolution resolution;
};

// The size of a PNG, JPEG or GIF given as base64, from its first bytes. Reads only headers.
std::optional<Resolution> ImageSize(std::string_view base64);

// The base64 part of a data URL; empty for any other URL.
std::string_view DataUrlPayload(std::string_view url);

// At least 1, at most kMaxAssetTokens. base64 is empty for an image known by its URL only.
int64_t ImageTokens(const ImageSettings& settings, std::string_view base64);
int64_t VideoTokens(const VideoSettings& settings, const VideoHints& hints);
int64_t AudioTokens(uint64_t bytes);

// "1280x720", with space around the numbers; zeros when it is something else.
Resolution ParseResolution(std::string_view text);
// A positive finite number; 0 when it is something else.
double ParsePositive(std::string_view text);

}  // namespace token_producer
