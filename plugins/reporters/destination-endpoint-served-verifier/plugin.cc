// destination-endpoint-served-verifier: shows conformance tests which endpoint the proxy says has
// answered.
#include "epp/plugin.hpp"

#include <string_view>

namespace {

constexpr std::string_view kHeader = "x-conformance-test-served-endpoint";

class ServedVerifier {
 public:
  static constexpr const char* kName = "destination-endpoint-served-verifier";
  static constexpr const char* kDoc =
      "Sets a response header to the endpoint that the proxy says has answered; for conformance "
      "tests.";
  static constexpr uint32_t kWants = EPP_WANT_HEADERS;

  static epp::Result<ServedVerifier> Create(const epp::Context&) { return ServedVerifier(); }

  epp::Status OnHeaders(const epp::Call&, const epp_response_event& event,
                        const epp::Editor& edit) const {
    const bool reported = event.served != nullptr && (event.flags & EPP_SERVED_REPORTED);
    edit.SetHeader(kHeader, reported ? epp::View(event.served->host_port)
                                     : "fail: missing destination endpoint served metadata");
    return {};
  }
};

}  // namespace

EPP_LIBRARY("destination-endpoint-served-verifier", "0.1.0", ServedVerifier)
