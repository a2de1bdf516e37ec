// Which parser understands a path.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "host/scheduling/wiring.h"

namespace epp::request {

// The path that decides: the first non-empty of the three headers, without its query.
std::string_view RequestPath(std::string_view path, std::string_view original_path,
                             std::string_view forwarded_path);

// Longest claimed suffix wins, then the order of the config. A parser that claims nothing is the
// fallback and ends the list; a second parser of one type is ignored. Immutable.
class ParserRegistry {
 public:
  ParserRegistry() = default;
  // `parsers` must outlive the registry.
  explicit ParserRegistry(const std::vector<scheduling::Step<epp_parser>>& parsers);

  // Null when no parser claims the path and there is no fallback.
  const scheduling::Step<epp_parser>* Resolve(std::string_view path) const;
  // True when every parser that names protocols names this one; "" is always accepted.
  bool Serves(std::string_view protocol) const;

 private:
  struct Claim {
    std::string_view suffix;
    const scheduling::Step<epp_parser>* parser;
  };
  std::vector<Claim> claims_;  // longest first, then config order
  std::vector<const scheduling::Step<epp_parser>*> used_;
  const scheduling::Step<epp_parser>* fallback_ = nullptr;
};

}  // namespace epp::request
