// SGLang: both workers get the same body and meet in a room on the prefill worker's bootstrap port.
#include "connector.h"

namespace sidecar {
namespace {

class Sglang final : public Connector {
 public:
  explicit Sglang(const Config& config) : config_(config) { traits_.order = Order::kTogether; }
  const Traits& traits() const override { return traits_; }
  Leg Prefill(const Facts& facts) const override { return Decode(facts, ""); }
  Leg Decode(const Facts& facts, std::string_view) const override {
    Splice body = *facts.body;
    body.Set("bootstrap_host", JsonString(facts.prefiller.host));
    body.Set("bootstrap_port", Number(config_.sglang_port));
    body.Set("bootstrap_room", std::to_string(facts.room));
    return {body.Render(), {}};
  }

 private:
  const Config& config_;
  Traits traits_;
};

}  // namespace

std::unique_ptr<const Connector> MakeSglang(const Config& config) {
  return std::make_unique<Sglang>(config);
}

}  // namespace sidecar
