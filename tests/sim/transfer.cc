#include "tests/sim/transfer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/sim/api.h"
#include "tests/sim/server.h"

namespace epp::sim {
namespace {

using Json = nlohmann::json;

// Of each kind; what nobody takes is forgotten.
constexpr size_t kMostTransfers = 4096;
constexpr uint64_t kMediaBytes = 2'359'296;

constexpr std::array<std::pair<std::string_view, KvConnector>, 7> kKvNames = {{
    {"any", KvConnector::kAny},
    {"nixl", KvConnector::kNixl},
    {"moriio", KvConnector::kMoriio},
    {"shared-storage", KvConnector::kSharedStorage},
    {"sglang", KvConnector::kSglang},
    {"mooncake", KvConnector::kMooncake},
    {"offloading", KvConnector::kOffloading},
}};
constexpr std::array<std::pair<std::string_view, EcConnector>, 3> kEcNames = {{
    {"none", EcConnector::kNone},
    {"example", EcConnector::kExample},
    {"nixl", EcConnector::kNixl},
}};
constexpr std::array<std::pair<std::string_view, Role>, 4> kRoleNames = {{
    {"any", Role::kAny},
    {"prefill", Role::kPrefill},
    {"decode", Role::kDecode},
    {"encode", Role::kEncode},
}};

template <typename Names>
auto Named(const Names& names, std::string_view name)
    -> std::optional<decltype(names.front().second)> {
  for (const auto& [known, value] : names) {
    if (known == name) return value;
  }
  return std::nullopt;
}

// A member of transfer parameters, of the type that the connector wants. Only the first error
// counts.
class Params {
 public:
  Params(std::string where, const std::string& text)
      : where_(std::move(where)), json_(text.empty() ? Json() : Json::parse(text, nullptr, false)) {
    if (!json_.is_object()) Fail("", "want an object");
  }
  Params(std::string where, Json json) : where_(std::move(where)), json_(std::move(json)) {
    if (!json_.is_object()) Fail("", "want an object");
  }

  bool Has(const char* key) const { return json_.is_object() && json_.contains(key); }

  std::string String(const char* key) {
    const Json* member = Member(key);
    if (member != nullptr && member->is_string() &&
        !member->get_ref<const std::string&>().empty()) {
      return member->get<std::string>();
    }
    Fail(key, "want a text");
    return "";
  }
  uint64_t Integer(const char* key, uint64_t least, uint64_t most) {
    const Json* member = Member(key);
    if (member != nullptr && member->is_number_unsigned()) {
      const auto value = member->get<uint64_t>();
      if (value >= least && value <= most) return value;
    }
    Fail(key, absl::StrCat("want an integer in [", least, ", ", most, "]"));
    return 0;
  }
  uint16_t Port(const char* key) { return static_cast<uint16_t>(Integer(key, 1, 65535)); }
  void Is(const char* key, const Json& value) {
    const Json* member = Member(key);
    if (member == nullptr || *member != value) Fail(key, absl::StrCat("want ", value.dump()));
  }
  // Nothing but these.
  void Only(std::initializer_list<std::string_view> keys) {
    if (!json_.is_object()) return;
    for (const auto& [key, value] : json_.items()) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
        Fail(key.c_str(), "not expected here");
      }
    }
  }
  Json Object(const char* key) {
    const Json* member = Member(key);
    if (member != nullptr && member->is_object()) return *member;
    Fail(key, "want an object");
    return Json::object();
  }
  void Fail(const std::string& key, std::string_view want) {
    if (!status_.ok()) return;
    const Json* member = key.empty() ? &json_ : Member(key.c_str());
    status_ = absl::InvalidArgumentError(absl::StrCat(
        where_, key.empty() ? "" : ".", key, ": got ",
        member == nullptr
            ? "nothing"
            : member->dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 200),
        ", ", std::string(want)));
  }
  const absl::Status& status() const { return status_; }

 private:
  const Json* Member(const char* key) const {
    if (!json_.is_object()) return nullptr;
    const auto it = json_.find(key);
    return it == json_.end() ? nullptr : &*it;
  }

  const std::string where_;
  const Json json_;
  absl::Status status_;
};

constexpr char kKvParams[] = "kv_transfer_params";

std::string HostPort(std::string_view host, uint16_t port) {
  return absl::StrCat(std::string(host), ":", port);
}

void ReadPull(Params* params, KvLeg* leg) {
  if (!params->Has("remote_kv_source")) return;
  Params source("kv_transfer_params.remote_kv_source", params->Object("remote_kv_source"));
  leg->pull_id = source.String("kv_request_id");
  leg->pull_host = source.String("remote_host");
  leg->pull_port = source.Port("remote_port");
  source.Only({"kv_request_id", "remote_host", "remote_port"});
  if (!source.status().ok()) params->Fail("remote_kv_source", "want id, host and port");
}

}  // namespace

std::optional<KvConnector> KvConnectorOf(std::string_view name) { return Named(kKvNames, name); }
std::optional<EcConnector> EcConnectorOf(std::string_view name) { return Named(kEcNames, name); }
std::optional<Role> RoleOf(std::string_view name) { return Named(kRoleNames, name); }

void TransferHub::Leave(const std::string& name) {
  members_.erase(name);
  std::erase_if(transfers_, [&](const auto& entry) { return entry.second.by == name; });
  std::erase_if(media_, [&](const auto& entry) { return entry.second.by == name; });
}

void TransferHub::Offer(const std::string& key, Transfer transfer) {
  transfers_[key] = std::move(transfer);
  order_.push_back(key);
  if (order_.size() > kMostTransfers) {
    transfers_.erase(order_.front());
    order_.pop_front();
  }
  const auto [begin, end] = waiting_.equal_range(key);
  std::vector<std::function<void()>> wake;
  for (auto it = begin; it != end; ++it) wake.push_back(std::move(it->second));
  waiting_.erase(begin, end);
  for (const auto& one : wake) one();
}

const TransferHub::Transfer* TransferHub::Find(const std::string& key) const {
  const auto it = transfers_.find(key);
  return it == transfers_.end() ? nullptr : &it->second;
}

size_t TransferHub::Pending(const std::string& by) const {
  return static_cast<size_t>(
      std::count_if(transfers_.begin(), transfers_.end(),
                    [&](const auto& entry) { return entry.second.by == by; }));
}

const TransferHub::Member* TransferHub::At(std::string_view host, uint16_t p2p_port) const {
  for (const auto& [name, member] : members_) {
    if (member.host == host && member.p2p_port == p2p_port) return &member;
  }
  return nullptr;
}

bool TransferHub::Fresh(const std::string& pull_id) {
  if (pull_ids_.size() >= kMostTransfers) pull_ids_.clear();
  return pull_ids_.insert(pull_id).second;
}

uint32_t TransferHub::Stored(std::span<const uint64_t> hashes) const {
  uint32_t blocks = 0;
  while (blocks < hashes.size() && stored_.contains(hashes[blocks])) ++blocks;
  return blocks;
}

Transfers::Transfers(TransferHub* hub, const ServerOptions& server, uint64_t incarnation)
    : hub_(hub), server_(server), options_(server.transfer), incarnation_(incarnation) {}

Transfers::~Transfers() { hub_->Leave(server_.name); }

void Transfers::Join(std::function<uint32_t(std::span<const uint64_t>)> cached_blocks) {
  hub_->Join(server_.name, {.host = server_.address,
                            .p2p_port = options_.p2p_port,
                            .cached_blocks = std::move(cached_blocks)});
}

size_t Transfers::pending() const { return hub_->Pending(server_.name); }

std::string Transfers::EngineId(uint32_t rank) const {
  return absl::StrCat(server_.name, ".", incarnation_, ".", rank);
}

absl::Status Transfers::Refuse(std::string message) {
  ++stats_.refused;
  return absl::FailedPreconditionError(message);
}

absl::StatusOr<KvLeg> Transfers::Read(const ApiRequest& request) {
  absl::StatusOr<KvLeg> leg = ReadLeg(request);
  if (!leg.ok()) ++stats_.refused;
  return leg;
}

absl::StatusOr<KvLeg> Transfers::ReadLeg(const ApiRequest& request) const {
  KvLeg leg;
  if (options_.kv == KvConnector::kAny) {
    if (request.remote_decode) leg.kind = KvLeg::Kind::kPrefill;
    if (request.remote_prefill) leg.kind = KvLeg::Kind::kDecode;
    return leg;
  }
  if (options_.kv != KvConnector::kSglang && !request.bootstrap.empty()) {
    return absl::InvalidArgumentError("bootstrap_room: this engine is none of SGLang");
  }
  const bool own =
      options_.kv != KvConnector::kSharedStorage && options_.kv != KvConnector::kSglang;
  if (!own && !request.kv_params.empty()) {
    return absl::InvalidArgumentError("kv_transfer_params: this engine's connector has none");
  }
  absl::Status status;
  if (options_.kv == KvConnector::kSglang) {
    if (!request.bootstrap.empty()) status = ReadSglang(request, &leg);
  } else if (!request.kv_params.empty()) {
    switch (options_.kv) {
      case KvConnector::kNixl:
        status = ReadNixl(request, &leg);
        break;
      case KvConnector::kMoriio:
        status = ReadMoriio(request, &leg);
        break;
      case KvConnector::kMooncake:
        status = ReadMooncake(request, &leg);
        break;
      case KvConnector::kOffloading:
        status = ReadOffloading(request, &leg);
        break;
      default:
        break;
    }
  }
  if (!status.ok()) return status;
  const bool wrong = (leg.kind == KvLeg::Kind::kPrefill && options_.role == Role::kDecode) ||
                     (leg.kind == KvLeg::Kind::kDecode && options_.role == Role::kPrefill);
  if (wrong) return absl::InvalidArgumentError("this engine has the other role");
  return leg;
}

absl::Status Transfers::ReadNixl(const ApiRequest& request, KvLeg* leg) const {
  Params params(kKvParams, request.kv_params);
  if (request.remote_decode) {
    leg->kind = KvLeg::Kind::kPrefill;
    params.Is("do_remote_prefill", false);
    for (const char* key : {"remote_engine_id", "remote_block_ids", "remote_host", "remote_port"}) {
      params.Is(key, nullptr);
    }
    ReadPull(&params, leg);
    params.Only({"do_remote_decode", "do_remote_prefill", "remote_engine_id", "remote_block_ids",
                 "remote_host", "remote_port", "remote_kv_source"});
    return params.status();
  }
  if (params.Has("remote_kv_source") && !params.Has("do_remote_prefill")) {
    ReadPull(&params, leg);
    params.Only({"remote_kv_source"});
    return params.status();
  }
  leg->kind = KvLeg::Kind::kDecode;
  params.Is("do_remote_prefill", true);
  const std::string engine = params.String("remote_engine_id");
  leg->key = absl::StrCat(engine, "/", params.String("remote_request_id"));
  leg->params = request.kv_params;
  return params.status();
}

absl::Status Transfers::ReadMoriio(const ApiRequest& request, KvLeg* leg) const {
  Params params(kKvParams, request.kv_params);
  leg->key = params.String("transfer_id");
  const uint64_t size = params.Integer("remote_dp_size", 1, 1 << 20);
  const uint64_t rank = params.Integer("remote_dp_rank", 0, size == 0 ? 0 : size - 1);
  params.Is("remote_dp_rank_override", true);
  params.Integer("tp_size", 1, 1 << 20);
  params.Port("remote_notify_port");
  const std::string want = size > 1 ? absl::StrCat(rank) : "";
  if (params.status().ok() && request.rank_header != want) {
    return absl::InvalidArgumentError(absl::StrCat("x-data-parallel-rank: got \"",
                                                   request.rank_header, "\", want \"", want, "\""));
  }
  const uint16_t handshake = params.Port("remote_handshake_port");
  leg->told = params.String("remote_host");
  if (request.remote_decode) {
    leg->kind = KvLeg::Kind::kPrefill;
    params.Is("do_remote_prefill", false);
    return params.status();
  }
  leg->kind = KvLeg::Kind::kDecode;
  leg->may_wait = true;
  leg->params = request.kv_params;
  params.Is("do_remote_prefill", true);
  params.Is("do_remote_decode", false);
  // Without prefill's answer the address is all that decode has.
  if (params.String("remote_engine_id") == HostPort(leg->told, handshake)) leg->params.clear();
  return params.status();
}

absl::Status Transfers::ReadSglang(const ApiRequest& request, KvLeg* leg) const {
  Params params("body", request.bootstrap);
  const std::string host = params.String("bootstrap_host");
  const uint16_t port = params.Port("bootstrap_port");
  const uint64_t room = params.Integer("bootstrap_room", 0, INT64_MAX);
  leg->key = absl::StrCat(host, ":", port, "/", room);
  if (options_.role == Role::kPrefill) {
    leg->kind = KvLeg::Kind::kPrefill;
    if (host != server_.address || port != options_.bootstrap_port) {
      params.Fail("bootstrap_host", absl::StrCat("want this worker, ", server_.address, ":",
                                                 options_.bootstrap_port));
    }
  } else {
    leg->kind = KvLeg::Kind::kDecode;
    leg->may_wait = true;
  }
  return params.status();
}

absl::Status Transfers::ReadMooncake(const ApiRequest& request, KvLeg* leg) const {
  Params params(kKvParams, request.kv_params);
  leg->key = params.String("transfer_id");
  if (request.remote_decode) {
    leg->kind = KvLeg::Kind::kPrefill;
    params.Is("do_remote_prefill", false);
    params.Only({"do_remote_decode", "do_remote_prefill", "transfer_id"});
    for (uint32_t rank = 0; rank < options_.ranks; ++rank) {
      if (request.rank_header == absl::StrCat(rank)) leg->told = EngineId(rank);
    }
    if (params.status().ok() && leg->told.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "x-data-parallel-rank: got \"", request.rank_header, "\", want one of ", options_.ranks));
    }
    return params.status();
  }
  leg->kind = KvLeg::Kind::kDecode;
  leg->may_wait = true;
  params.Is("do_remote_prefill", true);
  params.Is("do_remote_decode", false);
  const std::string address = params.String("remote_bootstrap_addr");
  leg->told = absl::StrCat(address, " ", params.String("remote_engine_id"));
  params.Only({"do_remote_decode", "do_remote_prefill", "transfer_id", "remote_bootstrap_addr",
               "remote_engine_id"});
  return params.status();
}

absl::Status Transfers::ReadOffloading(const ApiRequest& request, KvLeg* leg) const {
  Params params(kKvParams, request.kv_params);
  ReadPull(&params, leg);
  if (params.Has("remote_decoder")) {
    leg->kind = KvLeg::Kind::kPrefill;
    Params decoder("kv_transfer_params.remote_decoder", params.Object("remote_decoder"));
    leg->key = decoder.String("kv_request_id");
    decoder.Only({"kv_request_id"});
    params.Only({"remote_decoder", "remote_kv_source"});
    return decoder.status().ok() ? params.status() : decoder.status();
  }
  if (params.Has("remote_kv_source")) {
    params.Only({"remote_kv_source"});
    return params.status();
  }
  leg->kind = KvLeg::Kind::kDecode;
  leg->may_wait = true;
  Params prefiller("kv_transfer_params.remote_prefiller", params.Object("remote_prefiller"));
  leg->key = prefiller.String("kv_request_id");
  const std::string host = prefiller.String("remote_host");
  leg->told = HostPort(host, prefiller.Port("remote_port"));
  prefiller.Only({"kv_request_id", "remote_host", "remote_port"});
  params.Only({"remote_prefiller"});
  return params.status().ok() ? prefiller.status() : params.status();
}

bool Transfers::MustWait(const KvLeg& leg) const {
  return leg.kind == KvLeg::Kind::kDecode && leg.may_wait && hub_->Find(leg.key) == nullptr;
}

void Transfers::Wait(const KvLeg& leg, std::function<void()> wake) {
  ++stats_.waited;
  hub_->WhenOffered(leg.key, std::move(wake));
}

absl::StatusOr<uint32_t> Transfers::Take(const KvLeg& leg, const PromptFacts& prompt) {
  if (!leg.pull_host.empty()) return Pull(leg, prompt);
  if (options_.kv == KvConnector::kSharedStorage) {
    const uint32_t tokens = Stored(prompt);
    stats_.loaded_tokens += tokens;
    return tokens;
  }
  if (leg.kind != KvLeg::Kind::kDecode) return 0u;
  if (options_.kv == KvConnector::kAny) return prompt.tokens;
  return TakeTransfer(leg, prompt);
}

absl::StatusOr<uint32_t> Transfers::TakeTransfer(const KvLeg& leg, const PromptFacts& prompt) {
  const TransferHub::Transfer* const transfer = hub_->Find(leg.key);
  if (transfer == nullptr) {
    return Refuse(absl::StrCat("kv transfer: no prefill has issued \"", leg.key, "\""));
  }
  if (options_.kv != KvConnector::kNixl && leg.told != transfer->told) {
    return Refuse(absl::StrCat("kv transfer: told of \"", leg.told, "\", but ", transfer->by,
                               " is \"", transfer->told, "\""));
  }
  if (!leg.params.empty()) {
    const Json got = Json::parse(leg.params, nullptr, false);
    const Json issued = Json::parse(transfer->params, nullptr, false);
    const bool mori = options_.kv == KvConnector::kMoriio;
    bool same = mori || got.size() == issued.size();
    for (const auto& [key, value] : issued.items()) {
      if (mori && key == "remote_dp_rank") continue;
      same = same && got.contains(key) && got[key] == value;
    }
    if (!same) {
      return Refuse(absl::StrCat("kv transfer: ", transfer->by, " has issued ", transfer->params));
    }
  }
  if (!transfer->to.empty() && transfer->to != server_.address) {
    return Refuse(absl::StrCat("kv transfer: the blocks went to ", transfer->to));
  }
  if (transfer->prompt != prompt.hash || transfer->tokens != prompt.tokens) {
    return Refuse(absl::StrCat("kv transfer: \"", leg.key, "\" is of another prompt"));
  }
  hub_->Remove(leg.key);  // prefill's blocks are free again
  ++stats_.received;
  stats_.received_tokens += prompt.tokens;
  return prompt.tokens;
}

absl::StatusOr<uint32_t> Transfers::Pull(const KvLeg& leg, const PromptFacts& prompt) {
  if (!hub_->Fresh(leg.pull_id)) {
    return Refuse(absl::StrCat("remote_kv_source: \"", leg.pull_id, "\" was used before"));
  }
  const TransferHub::Member* const source = hub_->At(leg.pull_host, leg.pull_port);
  if (source == nullptr) {
    return Refuse(
        absl::StrCat("remote_kv_source: no engine is at ", HostPort(leg.pull_host, leg.pull_port)));
  }
  const uint32_t tokens = source->cached_blocks(prompt.block_hashes) * prompt.block_tokens;
  stats_.pulled_tokens += tokens;
  return tokens;
}

uint32_t Transfers::Stored(const PromptFacts& prompt) const {
  return hub_->Stored(prompt.block_hashes) * prompt.block_tokens;
}

std::string Transfers::Finish(const KvLeg& leg, const ApiRequest& request,
                              const PromptFacts& prompt, const std::string& request_id,
                              bool reached_limit) {
  if (options_.kv == KvConnector::kSharedStorage) hub_->Store(prompt.block_hashes);
  if (leg.kind != KvLeg::Kind::kPrefill) return "";
  TransferHub::Transfer transfer{.by = server_.name,
                                 .told = "",
                                 .params = "",
                                 .to = "",
                                 .prompt = prompt.hash,
                                 .tokens = prompt.tokens};
  std::string key = leg.key;
  Json params;
  if (options_.kv == KvConnector::kNixl || options_.kv == KvConnector::kMoriio) {
    Json blocks = Json::array();
    for (const uint64_t hash : prompt.block_hashes) blocks.push_back(hash % 1'000'000);
    params = {{"do_remote_prefill", true},
              {"do_remote_decode", false},
              {"remote_block_ids", Json::array({std::move(blocks)})},
              {"remote_engine_id", EngineId(0)},
              {"remote_host", server_.address},
              {"remote_port", options_.side_port},
              {"tp_size", 1}};
  }
  switch (options_.kv) {
    case KvConnector::kNixl:
      // As vLLM: only what the token limit ends leaves blocks behind.
      if (!reached_limit || request.kind == ApiKind::kMessages ||
          request.kind == ApiKind::kResponses) {
        return "";
      }
      params["remote_request_id"] = request_id;
      params["remote_num_tokens"] = prompt.tokens;
      key = absl::StrCat(EngineId(0), "/", request_id);
      break;
    case KvConnector::kMoriio:
      transfer.told = server_.address;
      transfer.to = leg.told;
      break;
    case KvConnector::kMooncake:
      transfer.told =
          absl::StrCat("http://", HostPort(server_.address, server_.port), " ", leg.told);
      break;
    case KvConnector::kOffloading:
      transfer.told = HostPort(server_.address, options_.p2p_port);
      break;
    default:
      break;
  }
  if (options_.kv == KvConnector::kAny) return "";
  if (!params.is_null()) transfer.params = params.dump();
  std::string answered = transfer.params;
  ++stats_.issued;
  hub_->Offer(key, std::move(transfer));
  return answered;
}

absl::StatusOr<std::string> Transfers::TakeMedia(const KvLeg& leg, const ApiRequest& request,
                                                 const PromptFacts& prompt) {
  if (options_.role == Role::kEncode && request.media.empty()) {
    return absl::InvalidArgumentError("messages: nothing to encode");
  }
  // With its KV blocks here a prompt needs no media any more.
  const bool stored = options_.kv == KvConnector::kSharedStorage &&
                      options_.role != Role::kEncode &&
                      Stored(prompt) + prompt.block_tokens > prompt.tokens;
  if (options_.ec == EcConnector::kNone || leg.kind == KvLeg::Kind::kDecode || stored) return "";
  Json told = Json::object();
  if (options_.role == Role::kEncode) {
    for (const std::string& hash : request.media) {
      told[hash] = {{"peer_host", server_.address},
                    {"peer_port", options_.side_port},
                    {"size_bytes", kMediaBytes},
                    {"nixl_agent_metadata_b64", absl::StrCat("c2lt", incarnation_)}};
      if (hub_->media().size() >= kMostTransfers) hub_->media().clear();
      hub_->media()[hash] = {.by = server_.name, .descriptor = told[hash].dump()};
      ++stats_.media_encoded;
    }
    return options_.ec == EcConnector::kNixl ? told.dump() : "";
  }
  if (!request.ec_params.empty()) told = Json::parse(request.ec_params, nullptr, false);
  if (!told.is_object()) return absl::InvalidArgumentError("ec_transfer_params: want an object");
  if (options_.ec == EcConnector::kExample && !told.empty()) {
    return absl::InvalidArgumentError("ec_transfer_params: this engine's connector has none");
  }
  for (const std::string& hash : request.media) {
    const auto known = hub_->media().find(hash);
    if (options_.ec == EcConnector::kNixl && told.contains(hash)) {
      if (known == hub_->media().end() || told[hash].dump() != known->second.descriptor) {
        return Refuse(
            absl::StrCat("ec transfer: nobody has encoded ", hash, " as ",
                         told[hash].dump(-1, ' ', false, Json::error_handler_t::replace)));
      }
      ++stats_.media_received;
    } else if (options_.ec == EcConnector::kExample && known != hub_->media().end()) {
      ++stats_.media_received;
    } else {
      ++stats_.media_computed;
    }
  }
  return "";
}

std::string Transfers::Query() const {
  Json engines = Json::object();
  for (uint32_t rank = 0; rank < options_.ranks; ++rank) {
    engines[absl::StrCat(rank)] = {{"engine_id", EngineId(rank)}};
  }
  return engines.dump();
}

}  // namespace epp::sim
