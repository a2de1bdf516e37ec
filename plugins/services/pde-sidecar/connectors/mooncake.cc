// vLLM's MooncakeConnector: decode pulls from an engine that the prefill worker's bootstrap server
// names.
#include "connector.h"
#include "plugins/common/json_text.hpp"

namespace sidecar {
namespace {

class Mooncake final : public Connector {
 public:
  explicit Mooncake(const Config& config) : config_(config) {
    traits_.order = Order::kTogether;
    traits_.asks_engine = true;
  }
  const Traits& traits() const override { return traits_; }
  // Never with TLS: engines ask the same address in the clear.
  Target AskAt(const Facts& facts) const override {
    return {facts.prefiller.host, config_.mooncake_port};
  }
  Leg Prefill(const Facts& facts) const override {
    Splice body = *facts.body;
    MakePrefill(body, facts.api, Cap::kSent);
    body.Set("kv_transfer_params", R"({"do_remote_prefill":false,"do_remote_decode":true,)"
                                   R"("transfer_id":)" +
                                       Transfer(facts) + "}");
    return {body.Render(), {{"x-data-parallel-rank", facts.engine_rank}}};
  }
  Leg Decode(const Facts& facts, std::string_view) const override {
    Splice body = *facts.body;
    body.Set("kv_transfer_params",
             R"({"do_remote_prefill":true,"do_remote_decode":false,"transfer_id":)" +
                 Transfer(facts) + R"(,"remote_bootstrap_addr":)" +
                 JsonString("http://" + AskAt(facts).text()) + R"(,"remote_engine_id":)" +
                 JsonString(facts.engine_id) + "}");
    return {body.Render(), {}};
  }

 private:
  static std::string Transfer(const Facts& facts) { return JsonString("xfer-" + facts.id); }
  const Config& config_;
  Traits traits_;
};

}  // namespace

std::vector<std::pair<std::string, std::string>> EnginesOf(std::string_view answer) {
  std::vector<std::pair<std::string, std::string>> out;
  if (!Splice::Parse(answer)) return out;
  epp::json::Cursor cursor(answer);
  const bool ok = cursor.Object([&](const epp::json::RawString& rank) {
    std::string_view value;
    if (!cursor.Value(value)) return false;
    const bool number = !rank.bytes.empty() && rank.bytes.size() <= 6 &&
                        rank.bytes.find_first_not_of("0123456789") == rank.bytes.npos;
    const auto text = Lookup(value, "engine_id");
    const auto id = text ? StringOf(*text) : std::nullopt;
    if (number && id && !id->empty()) out.emplace_back(rank.bytes, *id);
    return true;
  });
  if (!ok) out.clear();
  return out;
}

std::unique_ptr<const Connector> MakeMooncake(const Config& config) {
  return std::make_unique<Mooncake>(config);
}

}  // namespace sidecar
