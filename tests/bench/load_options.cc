#include "tests/bench/load_options.h"

namespace epp::bench {

void DeclareLoadOptions(CLI::App* app, LoadOptions* o) {
  app->add_option("--target", o->target, "host:port of the server, plaintext")
      ->capture_default_str();
  app->add_option("--streams", o->streams, "streams to measure")
      ->check(CLI::Range(1, 1'000'000'000))
      ->capture_default_str();
  app->add_option("--warmup", o->warmup, "streams before that")->capture_default_str();
  app->add_option("--concurrency", o->concurrency, "streams at once")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app->add_option("--rate", o->rate,
                  "start that many streams a second, however many are open; 0: keep "
                  "--concurrency open")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app->add_option("--connections", o->connections, "HTTP/2 connections")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app->add_option("--body-bytes", o->body_bytes, "size of the chat request")
      ->check(CLI::Range(0, 100'000'000))
      ->capture_default_str();
  app->add_option("--piece-bytes", o->piece_bytes, "largest body message")
      ->check(CLI::Range(1, 4'000'000))
      ->capture_default_str();
  app->add_option("--shared", o->shared, "share of the prompt that all requests begin with")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app->add_option("--chunks", o->chunks, "response chunks, each awaited; 0: no response phase")
      ->capture_default_str();
  app->add_option("--chunk-bytes", o->chunk_bytes, "size of a response chunk")
      ->capture_default_str();
  app->add_option("--chunk-gap-ms", o->chunk_gap_ms, "pause before each response chunk")
      ->check(CLI::Range(0.0, 60'000.0))
      ->capture_default_str();
  app->add_flag("--ignore-mode-override", o->ignore_mode_override,
                "send response chunks although the server does not want them");
  app->add_flag("!--no-chunk-baseline", o->chunk_baseline,
                "skip the run without a response phase that the cost of a chunk is derived from");
  app->add_option("--idle-seconds", o->idle_seconds,
                  "first measure what the idle server uses, and take that off")
      ->capture_default_str();
  app->add_option("--stream-timeout", o->stream_timeout_s, "seconds")->capture_default_str();
  app->add_option("--first-number", o->first_number,
                  "of the first prompt; runs that share a "
                  "number share the whole prompt")
      ->capture_default_str();
  app->add_option("--same-header", o->same_header,
                  "header that the server must set to one value on a request and on its response");
  app->add_option(
      "--timeline", o->timeline,
      "write \"start in unix ns, latency of the request phase in us\" of every measured "
      "stream to this file");
  app->add_option("--server-pid", o->server_pid, "process whose CPU time is measured");
  app->add_option("--json", o->json, "write the result to this file; \"-\": only that, to stdout");
}

}  // namespace epp::bench
