// vLLM's NixlConnector, reading: decode fetches the blocks that prefill's answer describes.
#include "connector.h"
#include "moriio.h"

namespace sidecar {
namespace {

class Nixl final : public Connector {
 public:
  explicit Nixl(const Config& config) : config_(config) {
    traits_.retries = traits_.counts_cached = traits_.chunks = true;
    traits_.pulls = config.enable_p2p_pull;
  }
  const Traits& traits() const override { return traits_; }

  Leg Prefill(const Facts& facts) const override {
    static constexpr std::string_view kParams =
        R"({"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,)"
        R"("remote_block_ids":null,"remote_host":null,"remote_port":null})";
    Splice params = *Splice::Parse(kParams);
    AddSource(config_, facts, params);
    Splice body = *facts.body;
    body.Set("kv_transfer_params", params.Render());
    MakePrefill(body, facts.api, Cap::kAll);
    Leg out{body.Render(), {}};
    // Ranks follow from ids in this mode too, for whoever set the size; decode gets the same id.
    if (const int64_t size = config_.mori.dp_size; size > 1) {
      out.set = {{"x-request-id", facts.id},
                 {"x-data-parallel-rank", Number(MoriRank(facts.id, size))}};
    }
    return out;
  }

  // What prefill says is passed on as it is: the engines know what it means.
  Leg Decode(const Facts& facts, std::string_view reply) const override {
    Splice body = *facts.body;
    body.Set("kv_transfer_params",
             std::string(Lookup(reply, "kv_transfer_params").value_or("null")));
    Leg out{body.Render(), {}};
    if (config_.mori.dp_size > 1) out.set = {{"x-request-id", facts.id}};
    return out;
  }

 private:
  const Config& config_;
  Traits traits_;
};

}  // namespace

std::unique_ptr<const Connector> MakeNixl(const Config& config) {
  return std::make_unique<Nixl>(config);
}

}  // namespace sidecar
