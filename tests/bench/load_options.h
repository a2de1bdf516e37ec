// What a load generator is told on its command line.
#pragma once

#include <sys/types.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace epp::bench {

struct LoadOptions {
  std::string target = "127.0.0.1:9002";
  uint64_t streams = 2000;  // measured
  uint64_t warmup = 200;
  uint32_t concurrency = 64;
  double rate = 0;  // streams a second, however many are open; 0: `concurrency` at once
  uint32_t connections = 4;
  size_t body_bytes = 1024;
  size_t piece_bytes = 65536;
  double shared = 0.5;
  uint32_t chunks = 0;
  size_t chunk_bytes = 200;
  double chunk_gap_ms = 0;
  bool ignore_mode_override = false;
  bool chunk_baseline = true;
  double idle_seconds = 0;
  double stream_timeout_s = 30;
  uint64_t first_number = 0;
  std::string same_header;  // must have one value in the request and in its response
  std::string timeline;
  pid_t server_pid = 0;
  std::string json;
};

// Adds the options to `app`, which writes them to `out` when it parses.
void DeclareLoadOptions(CLI::App* app, LoadOptions* out);

}  // namespace epp::bench
