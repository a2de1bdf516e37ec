// Collects what extractors write about one endpoint. Reused from page to page.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "epp/abi.h"
#include "host/pool/pool.h"
#include "host/scrape/source.h"

namespace epp::scrape {

// Threads: one at a time.
class Sink {
 public:
  static constexpr uint32_t kMaxSymbols = 65536;  // of one list; the rest is cut off

  Sink();
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  void Clear() { count_ = 0; }
  // What is written from now on is the extractor's.
  const epp_sink* For(const Extractor& extractor);
  std::span<const pool::AttributeValue> values() const { return {values_.data(), count_}; }
  // Writes to attributes that the extractor does not have, or of another type; reset by For.
  uint32_t refused() const { return refused_; }

 private:
  // The next value, for attribute `attr` of a type that `fits` says yes to; null when refused.
  template <class Fits>
  static pool::AttributeValue* Next(void* ctx, uint32_t attr, Fits fits);

  epp_sink table_{};
  const Extractor* extractor_ = nullptr;
  uint32_t refused_ = 0;
  size_t count_ = 0;
  std::vector<pool::AttributeValue> values_;  // the first count_ are in use
};

}  // namespace epp::scrape
