// passthrough-parser: takes every path that no other parser claims. It looks at nothing: the
// request has no model and no prompt, and goes on byte for byte.
#include "epp/plugin.hpp"

#include <array>

namespace {

class PassthroughParser {
 public:
  static constexpr const char* kName = "passthrough-parser";
  static constexpr const char* kDoc = "Forwards what no other parser understands.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr std::array<const char*, 0> kSuffixes{};

  static epp::Result<PassthroughParser> Create(const epp::Context&) { return PassthroughParser(); }

  epp::Status ParseRequest(const epp::Call&, const epp_request&, epp_parsed&) const { return {}; }
};

}  // namespace

EPP_LIBRARY("passthrough-parser", "0.1.0", PassthroughParser)
