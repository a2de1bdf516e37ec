// How the KV cache travels from a prefill worker to the decode worker: what the two requests say.
//
// A connector only writes requests; who sends them, in which order and with what time-outs, is
// exchange.cc. So the same connectors serve any place that has both addresses.
//
// Threads: connectors are immutable. Facts belong to one request.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../config.h"
#include "../head.h"
#include "../splice.h"
#include "../target.h"

namespace sidecar {

enum class Api : uint8_t { kChat, kResponses, kGenerate };

// What a connector knows of a request.
struct Facts {
  Api api = Api::kChat;
  const Splice* body = nullptr;  // of the client
  std::string id;                // fresh, a UUID
  Target prefiller;
  std::optional<Target> source;  // of a cached prefix; never the prefiller
  std::string source_id;         // fresh
  uint64_t room = 0;             // fresh, positive as int64
  bool encoded = false;          // an encode step came before
  // Of a connector that asks the prefiller first.
  std::string engine_id;
  std::string engine_rank;
  bool engine_remembered = false;  // from an earlier request, so it may be gone
};

// One of the two requests, as it differs from the client's.
struct Leg {
  std::string body;
  std::vector<Header> set;  // headers that replace the client's
};

class Connector {
 public:
  enum class Order : uint8_t {
    kPrefillFirst,  // decode starts when prefill has succeeded
    kTogether,      // both at once; prefill's answer is not needed
    kTogetherHeld   // both at once; decode's answer waits until prefill has succeeded
  };
  struct Traits {
    Order order = Order::kPrefillFirst;
    bool retries = false;        // prefill may be repeated after 502, 503 and 504
    bool counts_cached = false;  // the answer's cached tokens are those of prefill
    bool chunks = false;         // the decode leg may be cut into chunks
    bool pulls = false;          // a cached prefix may come from a third worker
    bool asks_engine = false;    // wants Facts::engine_id, see AskAt
  };

  virtual ~Connector() = default;
  virtual const Traits& traits() const = 0;
  // The body asks for decode alone first, and for prefill only if decode declines.
  virtual bool Probes(const Facts&) const { return false; }
  // Where GET /query tells the engines of the prefiller.
  virtual Target AskAt(const Facts& facts) const { return facts.prefiller; }
  virtual Leg Prefill(const Facts& facts) const = 0;
  // `reply`: the body of prefill's answer, a JSON object; empty unless kPrefillFirst.
  virtual Leg Decode(const Facts& facts, std::string_view reply) const = 0;
};

// The connector of that name; null for "none". The config must outlive it.
std::unique_ptr<const Connector> MakeConnector(const Config& config);

// One file each.
std::unique_ptr<const Connector> MakeNixl(const Config& config);
std::unique_ptr<const Connector> MakeMori(const Config& config);
std::unique_ptr<const Connector> MakeSharedStorage(const Config& config);
std::unique_ptr<const Connector> MakeSglang(const Config& config);
std::unique_ptr<const Connector> MakeMooncake(const Config& config);
std::unique_ptr<const Connector> MakeOffloading(const Config& config);

// ---- What several of them need (common.cc) ----

// Limits the answer to one token, on the prefill leg. kAll sets every limit of the API, sent or
// not, since some engines publish transfer parameters only when the limit ends the answer; kSent
// sets max_tokens and what the client sent.
enum class Cap : uint8_t { kAll, kSent };
void CapTokens(Splice& body, Api api, Cap cap);
// No stream, one token.
void MakePrefill(Splice& body, Api api, Cap cap);
// Where a worker's P2P tier listens.
uint16_t P2pPort(const Config& config, const Target& worker);
// {"kv_request_id": .., "remote_host": .., "remote_port": ..}
std::string P2pBlock(const Config& config, const std::string& id, const Target& worker);
// Adds "remote_kv_source" to an object, when the facts have a source.
void AddSource(const Config& config, const Facts& facts, Splice& params);
// The body with no prefiller but a source of cached blocks.
std::string PullOnlyBody(const Config& config, const Facts& facts);
// Drops what only trusted hops may say: transfer parameters and bootstrap addresses.
void DropTransferParams(Splice& body);
std::string Number(int64_t value);
// Rank and engine id of a bootstrap server's answer; empty when there is no usable one. Ranks that
// are no numbers are left out: they become header values.
std::vector<std::pair<std::string, std::string>> EnginesOf(std::string_view answer);

}  // namespace sidecar
