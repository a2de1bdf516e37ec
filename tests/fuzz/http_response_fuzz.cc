// The response reader must take any bytes, and its verdict must not depend on how they arrive.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "host/http/response_reader.h"

namespace {

using epp::http::ResponseReader;

struct Outcome {
  ResponseReader::Result result = ResponseReader::Result::kNeedMore;
  ResponseReader::Error error = ResponseReader::Error::kNone;
  int status = 0;
  std::string body;
  bool operator==(const Outcome&) const = default;
};

Outcome Feed(std::string_view wire, size_t step, bool no_body, bool drop) {
  constexpr uint64_t kMaxBody = 4096;
  ResponseReader reader;
  reader.Reset(kMaxBody, no_body);
  std::unique_ptr<char[]> buffer;
  size_t size = 0;
  Outcome out;
  while (out.result == ResponseReader::Result::kNeedMore && !wire.empty()) {
    const size_t n = std::min(step, wire.size());
    // A fresh allocation of the exact size lets the sanitizer see one byte too many.
    std::unique_ptr<char[]> next(new char[size + n]);
    std::copy_n(buffer.get(), size, next.get());
    std::copy_n(wire.data(), n, next.get() + size);
    buffer = std::move(next);
    size += n;
    wire.remove_prefix(n);
    const size_t before = size;
    out.result = reader.Advance(buffer.get(), &size);
    if (size > before) std::abort();
    if (drop && reader.head_complete()) {
      out.body += reader.body(buffer.get());
      reader.DropBody(buffer.get(), &size);
    }
  }
  if (out.result == ResponseReader::Result::kNeedMore) out.result = reader.Finish();
  out.error = reader.error();
  if (reader.head_complete() && out.result == ResponseReader::Result::kDone) {
    out.status = reader.status();
    if (!drop) out.body = reader.body(buffer.get());
    if (out.body.size() > kMaxBody) std::abort();
    (void)reader.Header(buffer.get(), "content-type");
  } else {
    out.body.clear();
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t step = data[0] + size_t{1};
  const bool no_body = (data[1] & 1) != 0;
  const std::string_view wire(reinterpret_cast<const char*>(data) + 2, size - 2);
  const Outcome whole = Feed(wire, wire.size(), no_body, false);
  if (Feed(wire, step, no_body, false).body != whole.body) std::abort();
  if (!(Feed(wire, step, no_body, true) == Feed(wire, step, no_body, false))) std::abort();
  if (Feed(wire, 1, no_body, false).result != whole.result) std::abort();
  return 0;
}
