// What the sidecar reads from sockets: heads, bodies in chunks, and addresses in headers.
//
// Input: a byte that chooses, then the bytes.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "plugins/services/pde-sidecar/body.h"
#include "plugins/services/pde-sidecar/head.h"
#include "plugins/services/pde-sidecar/target.h"

namespace {

void Want(bool condition) {
  if (!condition) std::abort();
}

// A head that is accepted has one framing, and no byte that a second reader could take for a line.
void Heads(std::string_view text) {
  size_t scanned = 0;
  const size_t size = sidecar::HeadSize(text, scanned);
  if (size == 0) return;
  sidecar::RequestHead request;
  if (sidecar::ParseRequest(text.substr(0, size), &request) == nullptr) {
    const bool both = request.headers.Get("content-length").has_value() &&
                      request.headers.Get("transfer-encoding").has_value();
    Want(!both);
    std::string lines;
    request.headers.AppendTo(lines);
    size_t ends = 0;
    for (size_t at = 0; (at = lines.find_first_of("\r\n", at)) != lines.npos; at += 2) {
      Want(lines.compare(at, 2, "\r\n") == 0);
      ++ends;
    }
    Want(ends == request.headers.all().size());
    request.headers.DropHopByHop();
  }
  sidecar::ResponseHead response;
  sidecar::ParseResponse(text.substr(0, size), "POST", &response);
}

// The verdict does not depend on how the bytes arrive.
void Bodies(std::string_view text) {
  std::string all[2];
  bool bad[2];
  for (int way = 0; way < 2; ++way) {
    sidecar::BodyDecoder decoder({sidecar::Framing::Kind::kChunked, 0});
    std::string in;
    const size_t step = way == 0 ? 1 : text.size() + 1;
    for (size_t at = 0; at < text.size(); at += step) {
      in += text.substr(at, step);
      std::string_view rest = in;
      for (std::string_view piece; !(piece = decoder.Take(rest)).empty();) all[way] += piece;
      in.erase(0, in.size() - rest.size());
    }
    bad[way] = decoder.bad();
  }
  Want(all[0] == all[1] && bad[0] == bad[1]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      Heads(text);
      break;
    case 1:
      Bodies(text);
      break;
    default:
      if (const auto target = sidecar::ParseTarget(text, 80)) {
        Want(sidecar::ParseTarget(target->text()).has_value());
      }
      break;
  }
  return 0;
}
