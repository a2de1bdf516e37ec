// pde-sidecar: stands before the engine of a decode pod and runs the other stages of a request
// first, on the workers that the endpoint picker chose.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "config.h"
#include "server.h"

namespace {

using sidecar::Config;
using sidecar::Milliseconds;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kMi = 1024 * 1024;

constexpr const char* kKvConnectors[] = {"nixlv2",   "shared-storage", "sglang",
                                         "mooncake", "offloading",     "none"};
constexpr const char* kEcConnectors[] = {"none", "ec-example", "ec-nixl"};
constexpr std::pair<std::string_view, sidecar::Stage> kStages[] = {
    {"encoder", sidecar::Stage::kEncode},
    {"prefiller", sidecar::Stage::kPrefill},
    {"decoder", sidecar::Stage::kDecode}};
constexpr const char* kClientParams[] = {"drop", "keep"};

// The order of kParams.
enum ParamIndex : size_t {
  kListen,
  kPort,
  kEngineHost,
  kEnginePort,
  kRanks,
  kKv,
  kEc,
  kPodIp,
  kPull,
  kP2pPort,
  kMooncakePort,
  kSglangPort,
  kSampling,
  kRetries,
  kBackoff,
  kChunk,
  kParamsOfClient,
  kAllowed,
  kSecure,
  kCertPath,
  kEnableTls,
  kSkipVerify,
  kCaFile,
  kTlsName,
  kWrite,
  kParallel,
  kMoriIp,
  kDecodeNotify,
  kDecodeHandshake,
  kPrefillNotify,
  kPrefillHandshake,
  kTp,
  kDp,
  kDpLocal,
  kRemoteHosts,
  kDecodeHosts,
  kMoriWait,
  kRecordShare,
  kThreads,
  kConnections,
  kIdlePerHost,
  kHeaderBytes,
  kBodyBytes,
  kReplyBytes,
  kEncoders,
  kHeaderTimeout,
  kIdleTimeout,
  kConnectTimeout,
  kPrefillTimeout,
  kEncodeTimeout,
  kAnswerTimeout,
  kStreamTimeout,
  kPoolTimeout,
};

// A number of the environment, as the launchers of others set it; 0 when it is none up to `max`.
int64_t FromEnvironment(const char* name, int64_t max = 65535) {
  const char* const text = std::getenv(name);
  if (text == nullptr) return 0;
  const long value = std::strtol(text, nullptr, 10);
  return value >= 1 && value <= max ? value : 0;
}

class PdeSidecar {
 public:
  static constexpr const char* kName = "pde-sidecar";
  static constexpr const char* kDoc =
      "Serves HTTP before the engine of a decode pod; encode and prefill run elsewhere first.";
  static constexpr std::array kParams{
      epp::String("listen", "0.0.0.0", "Address to listen on, IPv6 in brackets."),
      epp::Int("port", 8000, 0, 65535, "Port of the first rank; each rank has the next one."),
      epp::String("modelServerHost", "127.0.0.1", "Host of the engine."),
      epp::Int("modelServerPort", 8200, 1, 65535, "The engine's port of the first rank."),
      epp::Int("dataParallelSize", 1, 1, 1024,
               "Ranks; each has a listener and a port of the engine."),
      epp::String("kvConnector", "nixlv2", "How the KV cache gets from prefill to decode.")
          .OneOf(kKvConnectors),
      epp::String("ecConnector", "none", "How encoded media get to the next stage.")
          .OneOf(kEcConnectors),
      epp::String("podIp", nullptr, "Address of this pod. POD_IP of the environment by default."),
      epp::Bool("enableP2PPull", false,
                "nixlv2 only: cached prefixes may come from a third worker."),
      epp::Int("p2pConnectorPort", 7777, 1, 65535,
               "P2P tier of rank 0. Environment: P2P_CONNECTOR_PORT.")
          .Unset(),
      epp::Int("mooncakeBootstrapPort", 8998, 1, 65535,
               "Of prefill workers. Environment: MOONCAKE_BOOTSTRAP_PORT.")
          .Unset(),
      epp::Int("sglangBootstrapPort", 8998, 1, 65535,
               "Of prefill workers. Environment: SGLANG_BOOTSTRAP_PORT.")
          .Unset(),
      epp::Bool("enablePrefillerSampling", false, "Any of several prefill workers, not the first."),
      epp::Int("prefillMaxRetries", 0, 0, 100, "nixlv2: repetitions after 502, 503, 504."),
      epp::Duration("prefillRetryBackoff", kSecond / 5, 0, 60, "Pause before a repetition."),
      epp::Int("decodeChunkSize", 0, 0, 1e9,
               "Tokens asked for at a time in chats; 0: whole answers."),
      epp::String("clientTransferParams", "drop",
                  "kv_transfer_params and their like in clients' bodies: drop or keep.")
          .OneOf(kClientParams),
      epp::StringList("allowedTargets",
                      "Workers that headers may name: host:port, host, network/bits:port, *:port. "
                      "Empty: all."),
      epp::Bool("secureProxy", false, "TLS on the listeners."),
      epp::String("certPath", nullptr,
                  "Directory with tls.crt and tls.key, followed. Self-signed by default."),
      epp::StringList("enableTLS",
                      "Stages that are spoken to with TLS: prefiller, decoder, encoder."),
      epp::StringList("tlsInsecureSkipVerify", "Those whose certificate is not checked."),
      epp::String("tlsCaFile", nullptr,
                  "PEM file that workers' certificates are checked against, followed. The "
                  "system's by default."),
      epp::String("tlsServerName", nullptr,
                  "Name that workers' certificates must have. Their address by default."),
      epp::Bool("moriio.writeMode", false, "nixlv2: prefill writes to decode (MoRI-IO)."),
      epp::Bool("moriio.parallelDispatch", false, "Prefill and decode at the same time."),
      epp::String("moriio.localPodIp", nullptr, "Decode address for prefill. podIp by default."),
      epp::Int("moriio.decodeNotifyPort", 61005, 1, 65535, "Of the decode engine."),
      epp::Int("moriio.decodeHandshakePort", 6301, 1, 65535, "Of the decode engine."),
      epp::Int("moriio.prefillNotifyPort", 61005, 1, 65535, "Of prefill engines."),
      epp::Int("moriio.prefillHandshakePort", 6301, 1, 65535, "Of prefill engines."),
      epp::Int("moriio.tpSize", 1, 1, 1e6, "Tensor-parallel size."),
      epp::Int("moriio.dpSize", 1, 1, 1e6, "Data-parallel size."),
      epp::Int("moriio.dpSizeLocal", 0, 0, 1e6, "Data-parallel size of one pod."),
      epp::StringList("moriio.remoteHosts", "Pods of the prefill side."),
      epp::StringList("moriio.decodeHosts", "Pods of the decode side."),
      epp::Duration("moriio.parallelDecodeWaitTimeout", 30 * kSecond, 0.001, 3600,
                    "For prefill, in parallel dispatch."),
      epp::Float(
          "decisionLogSample", 1, 0, 1,
          "Share of the requests that went as asked whose record is logged; all others are."),
      epp::Int("threads", 2, 1, 64, "Threads that serve."),
      epp::Int("maxConnections", 16384, 1, 1e6, "Clients at a time."),
      epp::Int("maxIdleConnsPerHost", 1024, 1, 65536, "Connections kept to a worker, each thread."),
      epp::Int("maxHeaderBytes", 64 * 1024, 1024, 1048576, "Of one head."),
      epp::Int("maxBodyBytes", 64 * kMi, 1024, 4294967296.0, "Of a body that is read whole."),
      epp::Int("maxReplyBytes", 64 * kMi, 1024, 4294967296.0, "Of an answer that is read whole."),
      epp::Int("maxEncodersAtOnce", 8, 1, 1024, "Encode requests of one request at a time."),
      epp::Duration("headerTimeout", 30 * kSecond, 0.001, 3600, "Between two reads of a head."),
      epp::Duration("idleTimeout", 300 * kSecond, 0.001, 86400, "Of clients between requests."),
      epp::Duration("connectTimeout", 5 * kSecond, 0.001, 3600, "To any worker."),
      epp::Duration("prefillTimeout", 600 * kSecond, 0.001, 86400, "For all of a prefill answer."),
      epp::Duration("encodeTimeout", 120 * kSecond, 0.001, 86400, "For all of an encode answer."),
      epp::Duration("answerTimeout", 600 * kSecond, 0.001, 86400, "For the head of the engine's."),
      epp::Duration("streamTimeout", 300 * kSecond, 0.001, 86400, "Between two pieces of a body."),
      epp::Duration("poolIdleTimeout", 3 * kSecond, 0, 3600,
                    "A kept connection older than this is not used; below the engine's own limit."),
  };

  static epp::Result<PdeSidecar> Create(const epp::Context& ctx) {
    Config config;
    const epp::Status status = Read(ctx, &config);
    if (!status.ok()) return epp::Status(status.code(), std::string(status.message()));
    const std::string wrong = Check(config);
    if (!wrong.empty()) return epp::Status::Invalid(wrong);
    if (config.allowed.empty() && config.kv_connector != "none") {
      ctx.host().Log(
          EPP_LOG_WARN,
          "allowedTargets is empty: whoever reaches this port chooses the prefill worker");
    }
    return std::make_unique<PdeSidecar>(std::move(config), ctx.host());
  }

  PdeSidecar(Config config, epp::Host host) : server_(std::move(config), host) {}

  epp::Status Start() { return server_.Start(); }
  void Drain(uint64_t) { server_.Drain(); }
  void Stop() { server_.Stop(); }
  uint64_t Running() const { return server_.running(); }

  epp::Status Ready() const {
    const std::string why = server_.not_ready();
    return why.empty() ? epp::Status() : epp::Status(EPP_UNAVAILABLE, why);
  }
  epp::Status Dump(std::string& out) const {
    out = server_.Describe();
    return {};
  }

 private:
  static Milliseconds Time(const epp::Context& ctx, size_t i) {
    return std::max(Milliseconds(ctx.ns(i) / 1'000'000), Milliseconds(ctx.ns(i) > 0 ? 1 : 0));
  }
  static uint16_t PortOr(const epp::Context& ctx, size_t i, const char* variable, int64_t other) {
    const int64_t set = ctx.has(i) ? ctx.i64(i) : FromEnvironment(variable);
    return static_cast<uint16_t>(set > 0 ? set : other);
  }
  static std::string Text(const epp::Context& ctx, size_t i) {
    return ctx.has(i) ? std::string(ctx.str(i)) : std::string();
  }
  static std::vector<std::string> Texts(const epp::Context& ctx, size_t i) {
    std::vector<std::string> out;
    for (const epp_str& text : ctx.list(i)) out.emplace_back(epp::View(text));
    return out;
  }

  static epp::Status Read(const epp::Context& ctx, Config* out) {
    Config& c = *out;
    const auto u32 = [&](size_t i) { return static_cast<uint32_t>(ctx.i64(i)); };
    const auto size = [&](size_t i) { return static_cast<size_t>(ctx.i64(i)); };
    c.listen = ctx.str(kListen);
    c.port = static_cast<uint16_t>(ctx.i64(kPort));
    c.engine_host = ctx.str(kEngineHost);
    c.engine_port = static_cast<uint16_t>(ctx.i64(kEnginePort));
    c.data_parallel_size = u32(kRanks);
    c.kv_connector = ctx.str(kKv);
    c.ec_connector = ctx.str(kEc);
    const char* const pod_ip = std::getenv("POD_IP");
    c.pod_ip = ctx.has(kPodIp) ? std::string(ctx.str(kPodIp)) : pod_ip ? pod_ip : "";
    c.enable_p2p_pull = ctx.flag(kPull);
    c.p2p_port = PortOr(ctx, kP2pPort, "P2P_CONNECTOR_PORT", 7777);
    c.mooncake_port = PortOr(ctx, kMooncakePort, "MOONCAKE_BOOTSTRAP_PORT", 8998);
    c.sglang_port = PortOr(ctx, kSglangPort, "SGLANG_BOOTSTRAP_PORT", 8998);
    c.prefiller_sampling = ctx.flag(kSampling);
    c.prefill_retries = u32(kRetries);
    c.prefill_backoff = Time(ctx, kBackoff);
    c.decode_chunk_tokens = u32(kChunk);
    c.keep_client_params = ctx.str(kParamsOfClient) == "keep";
    for (const std::string& rule : Texts(ctx, kAllowed)) {
      std::string bad;
      if (!c.allowed.Add(rule, &bad)) {
        return epp::Status::Invalid("allowedTargets: \"" + bad +
                                    "\", want host:port, host, network/bits:port or *:port");
      }
    }
    sidecar::TlsConfig& tls = c.tls;
    tls.listen = ctx.flag(kSecure);
    tls.cert_path = Text(ctx, kCertPath);
    tls.ca_file = Text(ctx, kCaFile);
    tls.name = Text(ctx, kTlsName);
    for (const size_t list : {size_t{kEnableTls}, size_t{kSkipVerify}}) {
      for (const std::string& text : Texts(ctx, list)) {
        const auto* const known =
            std::ranges::find(kStages, text, [](const auto& s) { return s.first; });
        if (known == std::end(kStages)) {
          return epp::Status::Invalid(
              std::string(list == kEnableTls ? "enableTLS" : "tlsInsecureSkipVerify") + ": \"" +
              text + "\", want prefiller, decoder or encoder");
        }
        auto& hop = tls.hops[static_cast<size_t>(known->second)];
        (list == kEnableTls ? hop.on : hop.verify) = list == kEnableTls;
      }
    }
    sidecar::MoriConfig& m = c.mori;
    m.write_mode = ctx.flag(kWrite);
    m.parallel_dispatch = ctx.flag(kParallel);
    m.local_host = ctx.has(kMoriIp) ? std::string(ctx.str(kMoriIp)) : c.pod_ip;
    m.decode_notify_port = ctx.i64(kDecodeNotify);
    m.decode_handshake_port = ctx.i64(kDecodeHandshake);
    m.prefill_notify_port = ctx.i64(kPrefillNotify);
    m.prefill_handshake_port = ctx.i64(kPrefillHandshake);
    m.tp_size = ctx.i64(kTp);
    m.dp_size = ctx.i64(kDp);
    m.dp_size_local = ctx.i64(kDpLocal);
    m.remote_hosts = Texts(ctx, kRemoteHosts);
    m.decode_hosts = Texts(ctx, kDecodeHosts);
    m.wait = Time(ctx, kMoriWait);
    constexpr int64_t kDay = 86'400;
    if (const int64_t ttl = FromEnvironment("MORIIO_DNS_RESOLVE_TTL_SECONDS", kDay); ttl > 0) {
      m.dns_ttl = std::chrono::seconds(ttl);
    }
    if (const int64_t limit = FromEnvironment("MORIIO_DNS_RESOLVE_TIMEOUT_SECONDS", kDay);
        limit > 0) {
      m.dns_timeout = std::chrono::seconds(limit);
    }
    c.record_share = ctx.f64(kRecordShare);
    c.threads = u32(kThreads);
    c.max_connections = size(kConnections);
    c.max_idle = size(kIdlePerHost);
    c.max_header_bytes = size(kHeaderBytes);
    c.max_body_bytes = size(kBodyBytes);
    c.max_reply_bytes = size(kReplyBytes);
    c.max_encoders_at_once = size(kEncoders);
    c.header_timeout = Time(ctx, kHeaderTimeout);
    c.idle_timeout = Time(ctx, kIdleTimeout);
    c.connect_timeout = Time(ctx, kConnectTimeout);
    c.prefill_timeout = Time(ctx, kPrefillTimeout);
    c.encode_timeout = Time(ctx, kEncodeTimeout);
    c.answer_timeout = Time(ctx, kAnswerTimeout);
    c.stream_timeout = Time(ctx, kStreamTimeout);
    c.pool_idle_timeout = Time(ctx, kPoolTimeout);
    return {};
  }

  sidecar::Server server_;
};

}  // namespace

EPP_LIBRARY("pde-sidecar", "0.1.0", PdeSidecar)
