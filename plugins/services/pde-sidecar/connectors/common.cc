#include <array>

#include "connector.h"

namespace sidecar {

std::unique_ptr<const Connector> MakeConnector(const Config& config) {
  const std::string& name = config.kv_connector;
  if (name == "nixlv2") return config.mori.write_mode ? MakeMori(config) : MakeNixl(config);
  if (name == "shared-storage") return MakeSharedStorage(config);
  if (name == "sglang") return MakeSglang(config);
  if (name == "mooncake") return MakeMooncake(config);
  if (name == "offloading") return MakeOffloading(config);
  return nullptr;
}

void CapTokens(Splice& body, Api api, Cap cap) {
  const auto limit = [&](Splice& object, std::string_view key, bool always) {
    if (always || object.Has(key)) object.Set(key, "1");
  };
  const bool all = cap == Cap::kAll;
  switch (api) {
    case Api::kChat:
      limit(body, "max_tokens", true);
      limit(body, "max_completion_tokens", all);
      limit(body, "min_tokens", all);
      return;
    case Api::kResponses:
      limit(body, "max_output_tokens", true);
      return;
    case Api::kGenerate: {
      const std::string text(body.Get("sampling_params").value_or("{}"));
      std::optional<Splice> sampling = Splice::Parse(text);
      const std::string empty = "{}";
      if (!sampling) sampling = Splice::Parse(empty);
      limit(*sampling, "max_tokens", true);
      limit(*sampling, "min_tokens", all);
      body.Set("sampling_params", sampling->Render());
      return;
    }
  }
}

void MakePrefill(Splice& body, Api api, Cap cap) {
  CapTokens(body, api, cap);
  body.Set("stream", "false");
  body.Remove("stream_options");
}

uint16_t P2pPort(const Config& config, const Target& worker) {
  if (config.data_parallel_size <= 1 || worker.port < config.port) return config.p2p_port;
  const uint32_t rank = worker.port - config.port;
  if (rank >= config.data_parallel_size) return config.p2p_port;
  return static_cast<uint16_t>(config.p2p_port + rank);
}

std::string P2pBlock(const Config& config, const std::string& id, const Target& worker) {
  return R"({"kv_request_id":)" + JsonString(id) + R"(,"remote_host":)" + JsonString(worker.host) +
         R"(,"remote_port":)" + Number(P2pPort(config, worker)) + "}";
}

void AddSource(const Config& config, const Facts& facts, Splice& params) {
  if (!facts.source) return;
  params.Set("remote_kv_source", P2pBlock(config, facts.source_id, *facts.source));
}

std::string PullOnlyBody(const Config& config, const Facts& facts) {
  Splice body = *facts.body;
  body.Set("kv_transfer_params",
           R"({"remote_kv_source":)" + P2pBlock(config, facts.source_id, *facts.source) + "}");
  return body.Render();
}

void DropTransferParams(Splice& body) {
  static constexpr std::array<std::string_view, 5> kKeys = {"kv_transfer_params",
                                                            "ec_transfer_params", "bootstrap_host",
                                                            "bootstrap_port", "bootstrap_room"};
  for (const std::string_view key : kKeys) body.Remove(key);
}

std::string Number(int64_t value) { return std::to_string(value); }

}  // namespace sidecar
