// header-based-testing-filter: keeps the endpoints that the header test-epp-endpoint-selection
// lists. For conformance tests: it lets a client choose where its request goes.
//
//   list  = entry, entry ...
//   entry = address | address:port | [v6] | [v6]:port
//
// An address with a port means that endpoint, one without the last endpoint of that address. Only
// the first entry of an address that means an endpoint counts.
#include "epp/plugin.hpp"

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

#include "plugins/common/text.hpp"

namespace {

constexpr std::string_view kHeader = "test-epp-endpoint-selection";

struct Entry {
  std::string_view address;  // without brackets
  std::optional<uint32_t> port;
};

// Nothing when it is malformed.
std::optional<Entry> Parse(std::string_view text) {
  Entry out{text, std::nullopt};
  size_t colon = text.npos;  // before the port
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == text.npos) return std::nullopt;
    out.address = text.substr(1, close - 1);
    if (close + 1 < text.size()) {
      if (text[close + 1] != ':') return std::nullopt;
      colon = close + 1;
    }
  } else if (const size_t first = text.find(':'); first == text.rfind(':') && first != text.npos) {
    out.address = text.substr(0, first);
    colon = first;
  }
  if (out.address.empty()) return std::nullopt;
  if (colon == text.npos) return out;
  const char* const end = text.data() + text.size();
  uint32_t port = 0;
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, port);
  if (error != std::errc() || stop != end) return std::nullopt;
  out.port = port;
  return out;
}

class HeaderBasedTestingFilter {
 public:
  static constexpr const char* kName = "header-based-testing-filter";
  static constexpr const char* kDoc =
      "For conformance tests: keeps the endpoints that a request header lists.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;

  static epp::Result<HeaderBasedTestingFilter> Create(const epp::Context&) {
    return HeaderBasedTestingFilter();
  }

  epp::Status Filter(const epp::Call& call, const epp::Candidates& in, epp::Keep& keep) const {
    std::string_view rest = call.header(kHeader).value_or("");
    auto* const done = call.Alloc<bool>(in.size());  // endpoints whose address was served
    if (done == nullptr) return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    while (!rest.empty()) {
      const size_t comma = rest.find(',');
      if (const std::optional<Entry> entry = Parse(epp::common::Trim(rest.substr(0, comma)))) {
        Serve(*entry, in, done, keep);
      }
      rest = comma == rest.npos ? "" : rest.substr(comma + 1);
    }
    return {};
  }

 private:
  static void Serve(const Entry& entry, const epp::Candidates& in, bool* done, epp::Keep& keep) {
    const auto here = [&](size_t i) { return epp::View(in.endpoint(i).address) == entry.address; };
    size_t match = in.size();
    for (size_t i = 0; i < in.size(); ++i) {
      if (!here(i)) continue;
      if (done[i]) return;
      if (!entry.port || in.endpoint(i).port == *entry.port) match = i;
    }
    if (match == in.size()) return;
    keep.Set(match);
    for (size_t i = 0; i < in.size(); ++i) done[i] |= here(i);
  }
};

}  // namespace

EPP_LIBRARY("header-based-testing-filter", "0.1.0", HeaderBasedTestingFilter)
