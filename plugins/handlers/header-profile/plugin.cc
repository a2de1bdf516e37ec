// header-profile-handler: runs the profile that a request header names.
//
// No or a blank header: the default profile. A name that is not configured: none, which ends the
// request. With a single profile the header does not matter.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr const char* kDefaultHeader = "EPP-Profile";

std::string_view Trim(std::string_view s) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t first = s.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return s.substr(first, s.find_last_not_of(kSpace) - first + 1);
}

std::string Lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

class HeaderProfileHandler {
 public:
  static constexpr const char* kName = "header-profile-handler";
  static constexpr const char* kDoc = "Runs the scheduling profile that a request header names.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr std::array kParams{
      epp::String("headerName", kDefaultHeader, "Header that names the profile."),
      epp::String("defaultProfile", "decode", "Profile for requests without the header.")};

  static epp::Result<HeaderProfileHandler> Create(const epp::Context& ctx) {
    std::string header = Lower(Trim(ctx.str(0)));
    if (header.empty()) header = Lower(kDefaultHeader);
    return HeaderProfileHandler(ctx.host(), std::move(header), std::string(Trim(ctx.str(1))));
  }

  epp::Status Choose(const epp::Call& call, const epp::Scheduling& so_far, const epp::Candidates&,
                     std::span<int32_t> decisions) const {
    for (size_t i = 0; i < so_far.size(); ++i) {
      if (so_far.result(i).state != EPP_PROFILE_NOT_RUN) return {};
    }
    size_t chosen = 0;
    if (so_far.size() != 1) {
      std::string_view name = Trim(call.header(header_).value_or(""));
      if (name.empty()) name = default_profile_;
      chosen = so_far.Find(name);
    }
    if (chosen < so_far.size()) {
      decisions[chosen] = EPP_DECIDE_RUN;
    } else if (host_.LogEnabled(EPP_LOG_DEBUG)) {
      LogUnknown(so_far);
    }
    return {};
  }

  epp::Status Conclude(const epp::Call&, const epp::Scheduling& done, const epp::Candidates&,
                       uint32_t& primary) const {
    size_t found = done.size();
    size_t usable = 0;
    for (size_t i = 0; i < done.size(); ++i) {
      if (!done.ok(i)) continue;
      found = i;
      ++usable;
    }
    if (usable != 1) {
      return {EPP_RESOURCE_EXHAUSTED,
              "profiles with a result: got " + std::to_string(usable) + ", want 1"};
    }
    primary = static_cast<uint32_t>(found);
    return {};
  }

 private:
  HeaderProfileHandler(epp::Host host, std::string header, std::string default_profile)
      : host_(host), header_(std::move(header)), default_profile_(std::move(default_profile)) {}

  // Does not repeat the client's value: header values stay out of logs.
  void LogUnknown(const epp::Scheduling& so_far) const {
    std::vector<std::string_view> names;
    for (size_t i = 0; i < so_far.size(); ++i) names.push_back(so_far.name(i));
    std::sort(names.begin(), names.end());
    std::string text = "header " + header_ + " names no configured profile, want one of";
    for (const std::string_view name : names) text.append(" \"").append(name).append("\"");
    host_.Log(EPP_LOG_DEBUG, text);
  }

  epp::Host host_;
  std::string header_;  // lower case
  std::string default_profile_;
};

}  // namespace

EPP_LIBRARY("header-profile-handler", "0.1.0", HeaderProfileHandler)
