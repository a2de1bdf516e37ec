// session-id-producer: finds the id of the client's session in a header or a cookie.
//
// A header's value, or that of the first cookie of the name, without surrounding white space. An
// empty value is none.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "plugins/common/attributes.hpp"

namespace {

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return "";
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return out;
}

// The value of the first cookie of that name in "a=1; b=2", or "".
std::string_view Cookie(std::string_view cookies, std::string_view name) {
  while (!cookies.empty()) {
    const size_t end = std::min(cookies.find(';'), cookies.size());
    const std::string_view pair = cookies.substr(0, end);
    cookies.remove_prefix(std::min(end + 1, cookies.size()));
    const size_t equals = pair.find('=');
    if (equals != pair.npos && Trim(pair.substr(0, equals)) == name) {
      return Trim(pair.substr(equals + 1));
    }
  }
  return "";
}

class SessionIdProducer {
 public:
  static constexpr const char* kName = "session-id-producer";
  static constexpr const char* kDoc =
      "Makes the id of the client's session, from a header or a cookie, known to other plugins.";
  static constexpr std::array kParams{
      epp::String("headerName", nullptr, "Header that holds the id, in any case."),
      epp::String("cookieName", nullptr, "Cookie that holds the id; instead of headerName.")};
  static constexpr std::array kProduces{epp::Makes(epp::common::kSessionId)};

  static epp::Result<SessionIdProducer> Create(const epp::Context& ctx) {
    const std::string_view header = Trim(ctx.str(0));
    const std::string_view cookie = Trim(ctx.str(1));
    if (header.empty() == cookie.empty()) {
      return epp::Status::Invalid(std::string("got ") + (header.empty() ? "neither" : "both") +
                                  " of headerName and cookieName, want one of them");
    }
    return SessionIdProducer(Lower(header), std::string(cookie));
  }

  epp::Status Produce(const epp::Call& call, const epp::Candidates&, epp::Outputs& out) const {
    const std::string_view id = cookie_.empty()
                                    ? Trim(call.header(header_).value_or(""))
                                    : Cookie(call.header("cookie").value_or(""), cookie_);
    if (id.empty()) return out.ClearRequest(0), epp::Status();
    epp_str* const text = call.Alloc<epp_str>();
    char* const bytes = call.Alloc<char>(id.size());
    if (text == nullptr || bytes == nullptr) {
      return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    }
    std::copy(id.begin(), id.end(), bytes);
    *text = {bytes, id.size()};
    out.Set<const void*>(0, text);
    return {};
  }

 private:
  SessionIdProducer(std::string header, std::string cookie)
      : header_(std::move(header)), cookie_(std::move(cookie)) {}
  std::string header_;  // lower case; empty when it is a cookie
  std::string cookie_;
};

}  // namespace

EPP_LIBRARY("session-id-producer", "0.1.0", SessionIdProducer)
