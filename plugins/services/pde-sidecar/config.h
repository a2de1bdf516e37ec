// What the operator chose, checked as a whole.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "target.h"

namespace sidecar {

using Milliseconds = std::chrono::milliseconds;

enum class Stage : uint8_t { kEncode, kPrefill, kDecode };

class Names;

struct MoriConfig {
  bool write_mode = false;
  bool parallel_dispatch = false;
  std::string local_host;  // of the decode pod, as prefill workers reach it
  int64_t decode_notify_port = 61005;
  int64_t decode_handshake_port = 6301;
  int64_t prefill_notify_port = 61005;
  int64_t prefill_handshake_port = 6301;
  int64_t tp_size = 1;
  int64_t dp_size = 1;
  int64_t dp_size_local = 0;
  std::vector<std::string> remote_hosts;  // of the prefill side
  std::vector<std::string> decode_hosts;
  Milliseconds wait{30'000};  // for the outcome of prefill in parallel dispatch
  Milliseconds dns_ttl{30'000};
  Milliseconds dns_timeout{5'000};
  std::shared_ptr<Names> names;  // of those hosts; null: as they are
};

// TLS with workers, and of one of the stages.
struct TlsConfig {
  bool listen = false;    // on the listeners
  std::string cert_path;  // of a directory with tls.crt and tls.key; empty: self-signed
  std::string ca_file;    // that workers' certificates are checked against; empty: the system's
  std::string name;       // that they must have; empty: the address
  struct Hop {
    bool on = false;
    bool verify = true;
  };
  std::array<Hop, 3> hops;  // by Stage
};

struct Config {
  std::string listen = "0.0.0.0";
  uint16_t port = 8000;  // of rank 0; 0 for any, with one rank only
  std::string engine_host = "127.0.0.1";
  uint16_t engine_port = 8200;  // of rank 0
  uint32_t data_parallel_size = 1;
  std::string kv_connector = "nixlv2";
  std::string ec_connector = "none";
  std::string pod_ip;
  bool enable_p2p_pull = false;
  uint16_t p2p_port = 7777;
  uint16_t mooncake_port = 8998;
  uint16_t sglang_port = 8998;
  bool prefiller_sampling = false;
  uint32_t prefill_retries = 0;
  Milliseconds prefill_backoff{200};
  uint32_t decode_chunk_tokens = 0;  // 0: whole answers
  bool keep_client_params =
      false;  // kv_transfer_params and their like, where nothing replaces them
  AllowList allowed;
  MoriConfig mori;
  TlsConfig tls;

  double record_share = 1;  // of the requests that went as asked, told in the log
  uint32_t threads = 2;
  size_t max_connections = 16384;  // of clients, in all
  size_t max_idle = 1024;          // kept open a worker and thread
  size_t max_header_bytes = 64 * 1024;
  size_t max_body_bytes = 64 * 1024 * 1024;
  size_t max_reply_bytes = 64 * 1024 * 1024;  // of what is read whole: prefill, encode, chunks
  size_t max_encoders_at_once = 8;
  Milliseconds header_timeout{30'000};
  Milliseconds idle_timeout{300'000};  // of clients between requests
  Milliseconds connect_timeout{5'000};
  Milliseconds prefill_timeout{600'000};
  Milliseconds encode_timeout{120'000};
  Milliseconds answer_timeout{600'000};  // from a request sent to the head of its answer
  Milliseconds stream_timeout{300'000};  // between two pieces of a body, in or out
  Milliseconds pool_idle_timeout{3'000};
};

// Empty, or everything that is wrong, a line each.
std::string Check(const Config& config);

}  // namespace sidecar
