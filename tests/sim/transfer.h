// How simulated engines hand each other KV blocks and encoded media: the engine side of the
// transfer connectors of vLLM and SGLang. Engines of one process can reach each other.
//
// What a connector's requests must say, and what answers it:
//
//   any             do_remote_decode, do_remote_prefill: believed as they come (no hand-over)
//   nixl            prefill: the six keys, no stream; its answer names the blocks when the token
//                   limit ended it; decode: exactly that answer, once
//   moriio          both: transfer_id; prefill: where decode listens; decode: which prefill worker,
//                   the blocks may come later
//   shared-storage  nothing but cache_hit_threshold; blocks go by way of a storage that all share
//   sglang          both: bootstrap_host, _port, _room; roles say who is who; blocks may come later
//   mooncake        both: transfer_id; prefill: x-data-parallel-rank; decode: an engine that
//                   GET /query names; blocks may come later
//   offloading      prefill: remote_decoder; decode: remote_prefiller; also remote_kv_source, from
//                   which the cached beginning of the prompt is pulled
//
// Parameters of the wrong shape are InvalidArgument, well-formed ones that no other engine stands
// for are FailedPrecondition; so are blocks of another prompt. Nothing is computed again quietly.
//
// Threads: all of one process's engines run on one.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace epp::sim {

struct ApiRequest;
struct ServerOptions;

enum class KvConnector : uint8_t {
  kAny,
  kNixl,
  kMoriio,
  kSharedStorage,
  kSglang,
  kMooncake,
  kOffloading,
};
enum class EcConnector : uint8_t { kNone, kExample, kNixl };
enum class Role : uint8_t { kAny, kPrefill, kDecode, kEncode };

// By the names above; "none", "example", "nixl"; "any", "prefill", "decode", "encode".
[[nodiscard]] std::optional<KvConnector> KvConnectorOf(std::string_view name);
[[nodiscard]] std::optional<EcConnector> EcConnectorOf(std::string_view name);
[[nodiscard]] std::optional<Role> RoleOf(std::string_view name);

// Who an engine is to the others.
struct TransferOptions {
  KvConnector kv = KvConnector::kAny;
  EcConnector ec = EcConnector::kNone;
  Role role = Role::kAny;
  uint16_t side_port = 5600;       // nixl, moriio, media
  uint16_t bootstrap_port = 8998;  // sglang
  uint16_t p2p_port = 7777;        // offloading
  uint32_t ranks = 1;              // mooncake
  uint32_t wait_ms = 5000;         // for blocks that may come later
};

// Totals of one engine.
struct TransferStats {
  uint64_t issued = 0;           // transfers offered by prefill
  uint64_t received = 0;         // transfers taken by decode
  uint64_t received_tokens = 0;  // of those
  uint64_t refused = 0;          // requests that no transfer stands behind
  uint64_t waited = 0;           // decodes that were there before their blocks
  uint64_t pulled_tokens = 0;    // from another engine's cache
  uint64_t loaded_tokens = 0;    // from the shared storage
  uint64_t declined = 0;         // for cache_hit_threshold
  uint64_t media_encoded = 0;    // for others
  uint64_t media_received = 0;
  uint64_t media_computed = 0;  // that nobody had encoded before
};

// What a request is in a transfer.
struct KvLeg {
  enum class Kind : uint8_t { kPlain, kPrefill, kDecode };
  Kind kind = Kind::kPlain;
  bool may_wait = false;  // decode: the blocks may come later
  std::string key;        // names the transfer
  std::string told;       // the other side's address and id, as this side was told
  std::string params;     // decode: what prefill is supposed to have answered
  std::string pull_host;  // remote_kv_source; empty when there is none
  uint16_t pull_port = 0;
  std::string pull_id;
};

// A prompt, as far as transfers are concerned.
struct PromptFacts {
  uint64_t hash = 0;  // of all of it
  uint32_t tokens = 0;
  uint32_t block_tokens = 16;
  std::vector<uint64_t> block_hashes;  // of the full blocks of the (first) prompt
};

// What all engines of a process share.
class TransferHub {
 public:
  struct Member {
    std::string host;
    uint16_t p2p_port = 0;
    std::function<uint32_t(std::span<const uint64_t>)> cached_blocks;
  };
  struct Transfer {
    std::string by;      // the engine's name
    std::string told;    // see KvLeg; what the other side must have been told of this one
    std::string params;  // what was answered, JSON; empty when nothing is
    std::string to;      // host of the decode side, when prefill was told
    uint64_t prompt = 0;
    uint32_t tokens = 0;
  };
  struct Media {
    std::string by;
    std::string descriptor;  // JSON
  };

  void Join(const std::string& name, Member member) { members_[name] = std::move(member); }
  // A dead engine's blocks and media are gone; the storage is not.
  void Leave(const std::string& name);

  void Offer(const std::string& key, Transfer transfer);
  [[nodiscard]] const Transfer* Find(const std::string& key) const;
  void Remove(const std::string& key) { transfers_.erase(key); }
  [[nodiscard]] size_t Pending(const std::string& by) const;
  // Calls `wake` once when something is offered under `key`.
  void WhenOffered(const std::string& key, std::function<void()> wake) {
    waiting_.emplace(key, std::move(wake));
  }
  [[nodiscard]] const Member* At(std::string_view host, uint16_t p2p_port) const;
  // Whether nobody used this id of a pull before.
  [[nodiscard]] bool Fresh(const std::string& pull_id);

  void Store(std::span<const uint64_t> hashes) { stored_.insert(hashes.begin(), hashes.end()); }
  [[nodiscard]] uint32_t Stored(std::span<const uint64_t> hashes) const;

  std::map<std::string, Media>& media() { return media_; }

 private:
  std::map<std::string, Member> members_;
  std::map<std::string, Transfer> transfers_;
  std::deque<std::string> order_;  // of keys, to forget the oldest
  std::multimap<std::string, std::function<void()>> waiting_;
  std::set<std::string> pull_ids_;
  std::set<uint64_t> stored_;
  std::map<std::string, Media> media_;
};

// One engine's side.
class Transfers {
 public:
  // Both must outlive it. `incarnation` differs between lives of the same engine.
  Transfers(TransferHub* hub, const ServerOptions& server, uint64_t incarnation);
  ~Transfers();
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  // `cached_blocks`: how many leading ones of these the engine's cache holds.
  void Join(std::function<uint32_t(std::span<const uint64_t>)> cached_blocks);

  // What the request asks for.
  [[nodiscard]] absl::StatusOr<KvLeg> Read(const ApiRequest& request);
  // Whether decode must wait before Take.
  [[nodiscard]] bool MustWait(const KvLeg& leg) const;
  void Wait(const KvLeg& leg, std::function<void()> wake);

  // How many leading tokens of the prompt need no computing: of a transfer, pulled, or stored.
  [[nodiscard]] absl::StatusOr<uint32_t> Take(const KvLeg& leg, const PromptFacts& prompt);
  // How many leading tokens the storage has, for cache_hit_threshold.
  [[nodiscard]] uint32_t Stored(const PromptFacts& prompt) const;
  void CountDeclined() { ++stats_.declined; }

  // Prefill is done: offers its blocks. What the answer's kv_transfer_params say, or nothing.
  std::string Finish(const KvLeg& leg, const ApiRequest& request, const PromptFacts& prompt,
                     const std::string& request_id, bool reached_limit);

  // Encodes media, or takes what others encoded. What the answer's ec_transfer_params say.
  [[nodiscard]] absl::StatusOr<std::string> TakeMedia(const KvLeg& leg, const ApiRequest& request,
                                                      const PromptFacts& prompt);

  // {"0": {"engine_id": ...}, ...}
  [[nodiscard]] std::string Query() const;
  [[nodiscard]] const TransferStats& stats() const { return stats_; }
  [[nodiscard]] size_t pending() const;
  [[nodiscard]] const TransferOptions& options() const { return options_; }

 private:
  [[nodiscard]] absl::StatusOr<KvLeg> ReadLeg(const ApiRequest& request) const;
  [[nodiscard]] absl::Status ReadNixl(const ApiRequest& request, KvLeg* leg) const;
  [[nodiscard]] absl::Status ReadMoriio(const ApiRequest& request, KvLeg* leg) const;
  [[nodiscard]] absl::Status ReadSglang(const ApiRequest& request, KvLeg* leg) const;
  [[nodiscard]] absl::Status ReadMooncake(const ApiRequest& request, KvLeg* leg) const;
  [[nodiscard]] absl::Status ReadOffloading(const ApiRequest& request, KvLeg* leg) const;
  [[nodiscard]] absl::StatusOr<uint32_t> TakeTransfer(const KvLeg& leg, const PromptFacts& prompt);
  [[nodiscard]] absl::StatusOr<uint32_t> Pull(const KvLeg& leg, const PromptFacts& prompt);
  [[nodiscard]] std::string EngineId(uint32_t rank) const;
  absl::Status Refuse(std::string message);

  TransferHub* const hub_;
  const ServerOptions& server_;
  const TransferOptions& options_;
  const uint64_t incarnation_;
  TransferStats stats_;
};

}  // namespace epp::sim
