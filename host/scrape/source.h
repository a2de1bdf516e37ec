// A wired data source: what to fetch from every endpoint, and who reads what comes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "epp/abi.h"
#include "host/pool/attributes.h"

namespace epp::loader {
class Guard;
}

namespace epp::scrape {

struct Extractor {
  std::string type;  // of the plugin, for counters and messages
  void* self = nullptr;
  const epp_scraper* table = nullptr;
  // By index into its produces: where the attribute goes, and its EPP_T_*.
  std::vector<pool::AttributeId> attributes;
  std::vector<int32_t> types;
  std::shared_ptr<const void> owner;  // keeps self and table alive
  loader::Guard* guard = nullptr;     // of the instance; null: not watched
};

struct Source {
  std::string name;  // of the instance
  std::string type;  // of the plugin
  // Its strings live as long as owner.
  epp_fetch_plan plan{};
  std::vector<Extractor> extractors;
  std::shared_ptr<const void> owner;
};

// Told of failures, on the scraping thread.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void PollFailed(const std::string& source_type) = 0;
  virtual void ExtractFailed(const std::string& source_type, const std::string& extractor_type) = 0;
};

}  // namespace epp::scrape
