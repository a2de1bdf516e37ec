#include "host/request/parser_registry.h"

#include <algorithm>
#include <span>

namespace epp::request {
namespace {

std::string_view Trim(std::string_view text, std::string_view what) {
  const size_t begin = text.find_first_not_of(what);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(what) - begin + 1);
}

}  // namespace

std::string_view RequestPath(std::string_view path, std::string_view original_path,
                             std::string_view forwarded_path) {
  for (const std::string_view candidate : {path, original_path, forwarded_path}) {
    if (!candidate.empty()) return candidate.substr(0, candidate.find('?'));
  }
  return "/v1/completions";
}

ParserRegistry::ParserRegistry(const std::vector<scheduling::Step<epp_parser>>& parsers) {
  for (const auto& parser : parsers) {
    const bool repeated = std::any_of(used_.begin(), used_.end(), [&](const auto* other) {
      return std::string_view(other->plugin->type_name()) == parser.plugin->type_name();
    });
    if (repeated) continue;
    used_.push_back(&parser);
    if (parser.table->suffix_count == 0) {
      fallback_ = &parser;
      break;
    }
    for (const char* suffix : std::span(parser.table->suffixes, parser.table->suffix_count)) {
      claims_.push_back({Trim(suffix, "/"), &parser});
    }
  }
  std::stable_sort(claims_.begin(), claims_.end(), [](const Claim& a, const Claim& b) {
    return a.suffix.size() > b.suffix.size();
  });
}

const scheduling::Step<epp_parser>* ParserRegistry::Resolve(std::string_view path) const {
  path = Trim(path, " ");
  if (path.ends_with('/')) path.remove_suffix(1);
  for (const Claim& claim : claims_) {
    if (path.ends_with(claim.suffix)) return claim.parser;
  }
  return fallback_;
}

bool ParserRegistry::Serves(std::string_view protocol) const {
  if (protocol.empty()) return true;
  return std::all_of(used_.begin(), used_.end(), [&](const auto* parser) {
    const std::span protocols(parser->table->protocols, parser->table->protocol_count);
    return protocols.empty() || std::any_of(protocols.begin(), protocols.end(),
                                            [&](const char* p) { return protocol == p; });
  });
}

}  // namespace epp::request
