// agent-identity: tells agents apart by the session headers that they send.
//
// The first header of the list that has a value: those of the config, then those of known clients.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/attributes.hpp"

namespace {

constexpr std::array kKnown{"x-claude-code-session-id", "x-session-affinity", "session-id",
                            "session_id"};
constexpr size_t kMaxHeaders = 32;

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return out;
}

class AgentIdentity {
 public:
  static constexpr const char* kName = "agent-identity";
  static constexpr const char* kDoc =
      "Takes the identity of an agent from the session header that it sends; it names the flow of "
      "requests that name none.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr std::array kParams{epp::StringList(
      "additionalSessionHeaders", "Headers that are tried before the known ones, in any case.")};
  static constexpr std::array kProduces{epp::Makes(epp::common::kAgentIdentity)};

  static epp::Result<AgentIdentity> Create(const epp::Context& ctx) {
    AgentIdentity made;
    if (ctx.list(0).size() > kMaxHeaders) {
      return epp::Status::Invalid("additionalSessionHeaders: got " +
                                  std::to_string(ctx.list(0).size()) + ", want at most " +
                                  std::to_string(kMaxHeaders));
    }
    for (const epp_str& name : ctx.list(0)) {
      if (name.size == 0) {
        return epp::Status::Invalid("additionalSessionHeaders: got \"\", want a name");
      }
      made.headers_.push_back(Lower(epp::View(name)));
    }
    made.headers_.insert(made.headers_.end(), kKnown.begin(), kKnown.end());
    return made;
  }

  epp::Status RequestHeader(const epp::Call& call, epp::Outputs& out) const {
    for (const std::string& name : headers_) {
      const std::string_view value = call.header(name).value_or("");
      if (value.empty()) continue;
      epp_str* const text = call.Alloc<epp_str>();
      char* const bytes = call.Alloc<char>(value.size());
      if (text == nullptr || bytes == nullptr) break;  // as if there were none
      std::copy(value.begin(), value.end(), bytes);
      *text = {bytes, value.size()};
      out.Set<const void*>(0, text);
      return {};
    }
    out.ClearRequest(0);
    return {};
  }

 private:
  std::vector<std::string> headers_;  // lower case, in the order of preference
};

}  // namespace

EPP_LIBRARY("agent-identity", "0.1.0", AgentIdentity)
