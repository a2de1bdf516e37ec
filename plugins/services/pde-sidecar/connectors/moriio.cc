// vLLM's MoRI-IO connector, writing: prefill pushes blocks to the decode worker, so its request
// names the decode side. Serially decode learns the rest from prefill's answer; in parallel
// dispatch both requests are complete from the start.
#include "moriio.h"

#include "../blake2s.h"
#include "../names.h"
#include "connector.h"

namespace sidecar {
namespace {

class Mori final : public Connector {
 public:
  explicit Mori(const Config& config) : config_(config), mori_(config.mori) {
    traits_.pulls = config.enable_p2p_pull;
    if (mori_.parallel_dispatch) {
      traits_.order = Order::kTogetherHeld;
    } else {
      traits_.retries = traits_.counts_cached = traits_.chunks = true;
    }
  }
  const Traits& traits() const override { return traits_; }

  Leg Prefill(const Facts& facts) const override {
    const std::string empty = "{}";
    Splice params = *Splice::Parse(empty);
    params.Set("do_remote_decode", "true");
    params.Set("do_remote_prefill", "false");
    params.Set("remote_engine_id", "null");
    params.Set("remote_block_ids", "null");
    params.Set("remote_port", "null");
    params.Set("remote_host", Host(mori_.local_host));
    params.Set("remote_notify_port", Number(mori_.decode_notify_port));
    params.Set("remote_handshake_port", Number(mori_.decode_handshake_port));
    AddShared(facts, params, mori_.decode_hosts, MoriRank(facts.id, mori_.dp_size));
    AddSource(config_, facts, params);
    Splice body = *facts.body;
    body.Set("kv_transfer_params", params.Render());
    MakePrefill(body, facts.api, Cap::kAll);
    return {body.Render(), HeadersOf(facts, MoriRank(facts.id, mori_.dp_size))};
  }

  Leg Decode(const Facts& facts, std::string_view reply) const override {
    Splice body = *facts.body;
    if (mori_.parallel_dispatch) {
      body.Set("kv_transfer_params", ParallelDecodeParams(facts));
      return {body.Render(), HeadersOf(facts, MoriRank(facts.id, mori_.dp_size))};
    }
    const std::string text(Lookup(reply, "kv_transfer_params").value_or("null"));
    std::optional<Splice> params = Splice::Parse(text);
    if (!params) {
      body.Set("kv_transfer_params", text);
      return {body.Render(), HeadersOf(facts, MoriRank(facts.id, mori_.dp_size))};
    }
    const int64_t rank = MoriDecodeRank(*params, facts.id, mori_.dp_size);
    params->Set("remote_dp_rank", Number(rank));
    params->Set("remote_dp_rank_override", "true");
    const auto add = [&](std::string_view key, std::string value) {
      if (!params->Has(key)) params->Set(key, std::move(value));
    };
    add("transfer_id", JsonString("tx" + facts.id));
    add("remote_notify_port", Number(mori_.decode_notify_port));
    add("remote_handshake_port", Number(mori_.decode_handshake_port));
    add("remote_dp_size", Number(mori_.dp_size));
    if (!mori_.remote_hosts.empty()) add("remote_hosts", HostList(mori_.remote_hosts));
    if (mori_.dp_size_local > 0) add("remote_dp_size_local", Number(mori_.dp_size_local));
    body.Set("kv_transfer_params", params->Render());
    return {body.Render(), HeadersOf(facts, rank)};
  }

 private:
  std::string Host(const std::string& host) const {
    return JsonString(mori_.names ? mori_.names->Of(host) : host);
  }
  std::string HostList(const std::vector<std::string>& hosts) const {
    std::string out = "[";
    for (const std::string& host : hosts) {
      if (out.size() > 1) out += ',';
      out += Host(host);
    }
    out += ']';
    return out;
  }
  void AddShared(const Facts& facts, Splice& params, const std::vector<std::string>& hosts,
                 int64_t rank) const {
    params.Set("remote_dp_rank", Number(rank));
    params.Set("remote_dp_rank_override", "true");
    params.Set("transfer_id", JsonString("tx" + facts.id));
    params.Set("tp_size", Number(mori_.tp_size));
    params.Set("remote_dp_size", Number(mori_.dp_size));
    if (hosts.empty()) return;
    params.Set("remote_hosts", HostList(hosts));
    if (mori_.dp_size_local > 0) params.Set("remote_dp_size_local", Number(mori_.dp_size_local));
  }

  std::string ParallelDecodeParams(const Facts& facts) const {
    const std::string port = Number(mori_.prefill_handshake_port);
    const std::string empty = "{}";
    Splice params = *Splice::Parse(empty);
    params.Set("do_remote_prefill", "true");
    params.Set("do_remote_decode", "false");
    params.Set("remote_engine_id", JsonString(facts.prefiller.url_host() + ":" + port));
    params.Set("remote_block_ids", "[]");
    params.Set("remote_host", JsonString(facts.prefiller.host));
    params.Set("remote_port", port);
    params.Set("remote_handshake_port", port);
    params.Set("remote_notify_port", Number(mori_.prefill_notify_port));
    AddShared(facts, params, mori_.remote_hosts, MoriRank(facts.id, mori_.dp_size));
    return params.Render();
  }

  // Both engines must see one and the same id, since the rank follows from it.
  std::vector<Header> HeadersOf(const Facts& facts, int64_t rank) const {
    std::vector<Header> out{{"x-request-id", facts.id}};
    if (mori_.dp_size > 1) out.push_back({"x-data-parallel-rank", Number(rank)});
    return out;
  }

  const Config& config_;
  const MoriConfig& mori_;
  Traits traits_;
};

}  // namespace

int64_t MoriRank(std::string_view id, int64_t dp_size) {
  if (dp_size <= 1) return 0;
  const std::array<uint8_t, 32> digest = Blake2s(id);
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value = value << 8 | digest[i];
  return static_cast<int64_t>(value % static_cast<uint64_t>(dp_size));
}

int64_t MoriDecodeRank(const Splice& params, std::string_view id, int64_t dp_size) {
  if (dp_size <= 1) return 0;
  const auto text = params.Get("remote_dp_rank");
  const auto rank = text ? IntegerOf(*text) : std::nullopt;
  return rank && *rank >= 0 && *rank < dp_size ? *rank : MoriRank(id, dp_size);
}

std::unique_ptr<const Connector> MakeMori(const Config& config) {
  return std::make_unique<Mori>(config);
}

}  // namespace sidecar
