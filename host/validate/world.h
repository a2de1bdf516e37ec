// The pool, the values and the requests that checked plugins are fed with: made up, but always the
// same for the same seed.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "epp/abi.h"
#include "host/validate/memory.h"

namespace epp::validate {

// Random numbers from a seed.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  uint64_t Below(uint64_t n) { return n == 0 ? 0 : Next() % n; }
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  // A seed made of several numbers.
  static uint64_t Mix(uint64_t a, uint64_t b);
  static uint64_t Hash(std::string_view text);

 private:
  uint64_t state_;
};

// What attributes hold.
enum class Values : uint8_t {
  kUsual,       // small numbers, fractions, a few names; some rows without a value
  kComplete,    // every row has one
  kNoOptional,  // optional attributes have no producer
  kNone,        // no row has a value
  kExtreme,     // NaN, infinities, the ends of int64, unknown symbols
};

// The endpoints of a pool. Constant.
class World {
 public:
  // `labels` are keys that every second endpoint shall have.
  World(uint64_t seed, size_t endpoints, std::span<const std::string> labels = {},
        const Layout& layout = {});
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  uint64_t seed() const { return seed_; }
  size_t size() const { return endpoints_.size(); }
  const epp_endpoint* endpoint(size_t row) const { return endpoints_[row]; }

  // The column of an attribute for these rows (endpoint scope), or for the request (one row). For a
  // row the value is the same whichever other rows are asked for. `tokens` is what an opaque
  // tokenized prompt points to.
  epp_column Column(const epp_attr_spec& spec, std::span<const uint32_t> rows, Values values,
                    const epp_tokenized_prompt* tokens, Memory& memory) const;

 private:
  struct Endpoint;
  uint64_t seed_;
  Memory memory_;
  std::deque<std::string> texts_;
  std::vector<const epp_endpoint*> endpoints_;
};

// The sort of a request.
enum class RequestKind : uint8_t { kCompletion, kChat, kLongChat, kUnparsed, kBodyless };
inline constexpr int kRequestKinds = 5;

// One request as the host shows it to plugins.
class RequestData {
 public:
  RequestData(uint64_t seed, uint64_t number, Memory& memory);
  RequestData(const RequestData&) = delete;
  RequestData& operator=(const RequestData&) = delete;

  // With the body and what a parser found, or, in response hooks, without.
  const epp_request* request() const { return with_body_; }
  const epp_request* in_response() const { return without_body_; }
  const epp_tokenized_prompt* tokens() const { return tokens_; }
  RequestKind kind() const { return kind_; }

 private:
  void Parsed(Random& random, Memory& memory);
  void Tokens(Random& random, Memory& memory);
  epp_str Keep(Memory& memory, const char* what, std::string_view text);

  RequestKind kind_;
  epp_request* with_body_;
  epp_request* without_body_;
  epp_tokenized_prompt* tokens_;
};

}  // namespace epp::validate
