// The headers of one request or response: what plugins see and what they changed.
//
// Memory: texts in the request's arena. Threads: one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "epp/abi.h"
#include "host/base/arena.h"
#include "host/request/exchange.h"

namespace epp::request {

// Headers that belong to the endpoint picker's own protocol: never echoed, whoever set them.
// `name` is lower case.
bool IsSystemOwned(std::string_view name);
// Headers that describe one hop, which must never be copied to another.
bool IsHopByHop(std::string_view name);

class HeaderMap {
 public:
  explicit HeaderMap(Arena* arena) : arena_(arena) {}

  // Takes what the proxy sent: names in lower case, the last of a repeated name.
  void Assign(std::span<const Header> headers);

  // The value of a header by lower-case name, or nothing.
  std::optional<std::string_view> Find(std::string_view name) const;
  // The value of `name`, or of `alias` when `name` is absent (an empty value counts as present).
  std::optional<std::string_view> Find(std::string_view name, std::string_view alias) const;
  std::span<const epp_header> view() const { return entries_; }

  // Changes by plugins. Later ones win.
  void Set(std::string_view name, std::string_view value);
  void Remove(std::string_view name);

  // What the proxy has to be told: entries that are new or have another value, and received entries
  // that are gone. With echo_all every entry counts as new. System-owned and hop-by-hop names are
  // left out, and texts that no header can carry: a proxy refuses the whole mutation for one.
  void AppendChanges(bool echo_all, HeaderMutation* out) const;

 private:
  size_t IndexOf(std::string_view name) const;

  Arena* arena_;
  std::vector<epp_header> entries_;
  std::vector<bool> changed_;           // by entry; shorter than entries_ means unchanged
  std::vector<std::string_view> gone_;  // received names that were ever removed; may be back
  size_t received_ = 0;                 // entries_[0 .. received_) came from the proxy
};

}  // namespace epp::request
