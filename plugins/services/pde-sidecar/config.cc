#include "config.h"

namespace sidecar {
namespace {

bool OverTop(uint32_t first, uint32_t count) { return first + count - 1 > 65535; }

}  // namespace

std::string Check(const Config& c) {
  std::string out;
  const auto wrong = [&](const std::string& text) { out += (out.empty() ? "" : "\n") + text; };
  const std::string ranks = std::to_string(c.data_parallel_size);
  if (c.data_parallel_size == 0) {
    wrong("dataParallelSize is 0, want 1 or more");
    return out;
  }
  if (OverTop(c.port, c.data_parallel_size)) {
    wrong("port " + std::to_string(c.port) + " leaves no room for the listeners of " + ranks +
          " ranks (dataParallelSize) below 65536");
  }
  if (c.port == 0 && c.data_parallel_size > 1)
    wrong("port is 0, which works with dataParallelSize 1 only");
  if (OverTop(c.engine_port, c.data_parallel_size)) {
    wrong("modelServerPort " + std::to_string(c.engine_port) + " leaves no room for " + ranks +
          " ranks (dataParallelSize) below 65536");
  }
  if (OverTop(c.p2p_port, c.data_parallel_size)) {
    wrong("p2pConnectorPort " + std::to_string(c.p2p_port) + " leaves no room for " + ranks +
          " ranks (dataParallelSize) below 65536");
  }
  if (c.enable_p2p_pull && c.kv_connector != "nixlv2") {
    wrong("enableP2PPull works with kvConnector nixlv2 only, got " + c.kv_connector);
  }
  if (c.prefill_retries > 0 && c.prefill_backoff.count() == 0) {
    wrong("prefillRetryBackoff is 0, want more when prefillMaxRetries is set");
  }
  if (!c.tls.listen && !c.tls.cert_path.empty()) {
    wrong("certPath is set, but secureProxy is not true");
  }
  const MoriConfig& m = c.mori;
  if (m.write_mode && c.kv_connector != "nixlv2") {
    wrong("moriio.writeMode works with kvConnector nixlv2 only, got " + c.kv_connector);
  }
  if (m.write_mode && m.local_host.empty()) {
    wrong("moriio.writeMode needs moriio.localPodIp, or POD_IP in the environment");
  }
  if (m.parallel_dispatch && !m.write_mode) wrong("moriio.parallelDispatch needs moriio.writeMode");
  for (const auto& [name, hosts] : {std::pair("moriio.remoteHosts", &m.remote_hosts),
                                    std::pair("moriio.decodeHosts", &m.decode_hosts)}) {
    if (hosts->size() < 2) continue;
    if (m.dp_size_local <= 0) {
      wrong(std::string(name) + " has several hosts, so moriio.dpSizeLocal must be set");
    } else if (m.dp_size % m.dp_size_local != 0) {
      wrong("moriio.dpSizeLocal " + std::to_string(m.dp_size_local) +
            " does not divide moriio.dpSize " + std::to_string(m.dp_size));
    } else if (m.dp_size / m.dp_size_local != static_cast<int64_t>(hosts->size())) {
      wrong(std::string(name) + " has " + std::to_string(hosts->size()) + " hosts, want " +
            std::to_string(m.dp_size / m.dp_size_local));
    }
  }
  return out;
}

}  // namespace sidecar
