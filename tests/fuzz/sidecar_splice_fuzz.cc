// The sidecar's editor of JSON objects, and of usage in streams of events.
//
// Input: a byte that chooses, then the bytes.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "plugins/services/pde-sidecar/splice.h"
#include "plugins/services/pde-sidecar/usage.h"

namespace {

void Want(bool condition) {
  if (!condition) std::abort();
}

// What is accepted stays one object through edits, and untouched text stays as it is.
void Splices(std::string_view text) {
  const auto splice = sidecar::Splice::Parse(text);
  if (!splice) return;
  Want(splice->Render() == text);
  sidecar::Splice edited = *splice;
  edited.Set("max_tokens", "1");
  edited.Remove("stream");
  const std::string out = edited.Render();
  const auto again = sidecar::Splice::Parse(out);
  Want(again.has_value());
  Want(again->Get("max_tokens") == "1");
  Want(!again->Has("stream"));
  Want(sidecar::Splice::Parse(sidecar::WithCachedTokens(text, 7)).has_value());
}

void Streams(std::string_view text) {
  sidecar::UsageStream whole(7), bytes(7);
  std::string a = whole.Feed(text) + whole.Finish();
  std::string b;
  for (const char& c : text) b += bytes.Feed({&c, 1});
  Want(a == b + bytes.Finish());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) {
    Splices(text);
  } else {
    Streams(text);
  }
  return 0;
}
