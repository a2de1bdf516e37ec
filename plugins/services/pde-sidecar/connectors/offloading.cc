// vLLM's OffloadingConnector with its peer-to-peer tier. Prefill goes first: a decode engine that
// waits for blocks which are not there yet runs into its own deadline.
#include "connector.h"

namespace sidecar {
namespace {

class Offloading final : public Connector {
 public:
  explicit Offloading(const Config& config) : config_(config) { traits_.pulls = true; }
  const Traits& traits() const override { return traits_; }
  Leg Prefill(const Facts& facts) const override {
    const std::string text = R"({"remote_decoder":{"kv_request_id":)" + JsonString(facts.id) + "}}";
    Splice params = *Splice::Parse(text);
    AddSource(config_, facts, params);
    Splice body = *facts.body;
    MakePrefill(body, facts.api, Cap::kSent);
    body.Set("kv_transfer_params", params.Render());
    return {body.Render(), {}};
  }
  Leg Decode(const Facts& facts, std::string_view) const override {
    Splice body = *facts.body;
    body.Set("kv_transfer_params",
             R"({"remote_prefiller":)" + P2pBlock(config_, facts.id, facts.prefiller) + "}");
    return {body.Render(), {}};
  }

 private:
  const Config& config_;
  Traits traits_;
};

}  // namespace

std::unique_ptr<const Connector> MakeOffloading(const Config& config) {
  return std::make_unique<Offloading>(config);
}

}  // namespace sidecar
