// Plays the proxy against an ext-proc server: many streams at once, each a whole HTTP exchange, and
// tells what they cost the server. See README.md for what the numbers mean.
//
// Closed loop: a stream that ends is replaced by the next, until the wanted number was measured.
// One thread, one completion queue; the client's own cost does not enter the figures, which come
// from the kernel's accounting of the server process.

#include <grpcpp/channel.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "host/extproc/ext_proc.grpc.pb.h"
#include "tests/bench/chat_body.h"
#include "tests/bench/process_stats.h"
#include "tests/bench/summary.h"

namespace {

namespace pb = envoy::service::ext_proc::v3;
using Clock = std::chrono::steady_clock;
using Stub = pb::ExternalProcessor::Stub;

struct Options {
  std::string target = "127.0.0.1:9002";
  uint64_t streams = 2000;  // measured
  uint64_t warmup = 200;
  uint32_t concurrency = 64;
  uint32_t connections = 4;
  size_t body_bytes = 1024;
  size_t piece_bytes = 65536;
  double shared = 0.5;
  uint32_t chunks = 0;
  size_t chunk_bytes = 200;
  bool ignore_mode_override = false;
  bool chunk_baseline = true;
  double idle_seconds = 0;
  double stream_timeout_s = 30;
  uint64_t first_number = 0;
  pid_t server_pid = 0;
  std::string json;
};

struct Counts {
  uint64_t ok = 0;
  uint64_t immediate = 0;
  uint64_t overridden = 0;  // streams whose response bodies were not wanted
  std::map<std::string, uint64_t> errors;

  uint64_t failed() const {
    uint64_t sum = 0;
    for (const auto& [what, count] : errors) sum += count;
    return sum;
  }
};

class Load;

// One stream. Lives until its last operation completed, then tells the load and deletes itself.
class Call {
 public:
  Call(Load& load, Stub& stub, uint64_t number);
  void Complete(int operation, bool ok);

 private:
  enum Operation : uint8_t { kStart, kRead, kWrite, kFinish };
  struct Tag {
    Call* call;
    Operation operation;
  };
  enum class Write : uint8_t { kNone, kHeaders, kBody, kResponseHeaders, kChunk, kDone };
  enum class Expect : uint8_t { kHeaders, kBody, kResponseHeaders, kChunk, kEnd };

  friend class Load;
  void Pump();
  void OnMessage();
  void Fail(std::string what);
  void Want(Write write) {
    next_ = write;
    Pump();
  }
  void EndOfRequest();

  Load& load_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<pb::ProcessingRequest, pb::ProcessingResponse>> io_;
  Tag start_{this, kStart}, read_{this, kRead}, write_{this, kWrite}, finish_{this, kFinish};
  pb::ProcessingResponse incoming_;
  pb::ProcessingRequest outgoing_;
  grpc::Status status_;
  std::string body_;
  std::string error_;
  Clock::time_point begin_;
  size_t sent_ = 0;      // bytes of the body
  size_t returned_ = 0;  // bytes of the body, or of the current chunk
  uint32_t chunk_ = 0;
  Write next_ = Write::kNone;
  Expect expect_ = Expect::kHeaders;
  bool open_ = false;  // started and not finished
  bool writing_ = false;
  bool immediate_ = false;
  bool no_response_body_ = false;
};

class Load {
 public:
  Load(const Options& options, std::vector<std::unique_ptr<Stub>>& stubs)
      : options(options),
        body(options.body_bytes, options.shared, 7),
        chunk(epp::bench::ChatChunk(options.chunk_bytes)),
        stubs_(stubs) {
    auto* message = headers.mutable_request_headers()->mutable_headers();
    for (const auto& [name, value] :
         epp::bench::ChatHeaders(body.size(), "3f1c2d4e-0000-4000-8000-1234567890ab")) {
      auto* header = message->add_headers();
      header->set_key(name);
      header->set_raw_value(value);
    }
    auto* protocol = headers.mutable_protocol_config();
    protocol->set_request_body_mode(pb::ProcessingMode::FULL_DUPLEX_STREAMED);
    protocol->set_response_body_mode(pb::ProcessingMode::FULL_DUPLEX_STREAMED);
    auto* answer = response_headers.mutable_response_headers()->mutable_headers();
    for (const auto& [name, value] : std::map<std::string, std::string>{
             {":status", "200"}, {"content-type", "text/event-stream"}, {"server", "uvicorn"}}) {
      auto* header = answer->add_headers();
      header->set_key(name);
      header->set_raw_value(value);
    }
  }

  nlohmann::ordered_json Run();
  void Ended(const Call& call);

  const Options& options;
  epp::bench::ChatBody body;
  const std::string chunk;
  pb::ProcessingRequest headers;
  pb::ProcessingRequest response_headers;
  grpc::CompletionQueue queue;
  std::vector<double> latencies_us;
  bool measuring = false;

 private:
  struct Mark {
    Clock::time_point at;
    uint64_t cpu_ns;
    epp::bench::CpuTicks ticks;
  };
  Mark Now() const {
    return {Clock::now(), epp::bench::ProcessCpuNs(options.server_pid),
            epp::bench::ProcessCpuTicks(options.server_pid)};
  }
  void StartOne() {
    ++open_;
    Stub& stub = *stubs_[started_ % stubs_.size()];
    new Call(*this, stub, options.first_number + started_++);
  }

  std::vector<std::unique_ptr<Stub>>& stubs_;
  uint64_t started_ = 0;
  uint64_t ended_ = 0;
  uint64_t open_ = 0;
  Counts counts_;
  Mark begin_{};
  Mark end_{};
};

Call::Call(Load& load, Stub& stub, uint64_t number) : load_(load), body_(load.body.For(number)) {
  context_.set_deadline(
      std::chrono::system_clock::now() +
      std::chrono::milliseconds(static_cast<int64_t>(load.options.stream_timeout_s * 1000)));
  begin_ = Clock::now();
  io_ = stub.PrepareAsyncProcess(&context_, &load.queue);
  io_->StartCall(&start_);
}

void Call::Complete(int operation, bool ok) {
  switch (operation) {
    case kStart:
      if (!ok) {
        io_->Finish(&status_, &finish_);
        return;
      }
      open_ = true;
      io_->Read(&incoming_, &read_);
      return Want(Write::kHeaders);
    case kWrite:
      writing_ = false;
      if (!ok) next_ = Write::kNone;
      return open_ ? Pump() : io_->Finish(&status_, &finish_);
    case kRead:
      if (ok) {
        OnMessage();
        incoming_.Clear();
        return io_->Read(&incoming_, &read_);
      }
      open_ = false;
      if (!writing_) io_->Finish(&status_, &finish_);
      return;
    default:
      load_.Ended(*this);
      delete this;
  }
}

void Call::Pump() {
  if (writing_ || !open_) return;
  switch (next_) {
    case Write::kNone:
      return;
    case Write::kHeaders:
      next_ = Write::kBody;
      writing_ = true;
      return io_->Write(load_.headers, &write_);
    case Write::kBody: {
      const size_t n = std::min(load_.options.piece_bytes, body_.size() - sent_);
      auto* piece = outgoing_.mutable_request_body();
      piece->set_body(body_.data() + sent_, n);
      sent_ += n;
      piece->set_end_of_stream(sent_ == body_.size());
      next_ = sent_ == body_.size() ? Write::kNone : Write::kBody;
      writing_ = true;
      return io_->Write(outgoing_, &write_);
    }
    case Write::kResponseHeaders:
      next_ = Write::kNone;
      writing_ = true;
      return io_->Write(load_.response_headers, &write_);
    case Write::kChunk: {
      auto* piece = outgoing_.mutable_response_body();
      piece->set_body(load_.chunk);
      piece->set_end_of_stream(++chunk_ == load_.options.chunks);
      returned_ = 0;
      next_ = Write::kNone;
      writing_ = true;
      return io_->Write(outgoing_, &write_);
    }
    case Write::kDone:
      next_ = Write::kNone;
      writing_ = true;
      return io_->WritesDone(&write_);
  }
}

void Call::Fail(std::string what) {
  if (error_.empty()) error_ = std::move(what);
  expect_ = Expect::kEnd;
  context_.TryCancel();
}

void Call::EndOfRequest() {
  if (load_.measuring) {
    load_.latencies_us.push_back(
        std::chrono::duration<double, std::micro>(Clock::now() - begin_).count());
  }
  if (load_.options.chunks == 0) {
    expect_ = Expect::kEnd;
    return Want(Write::kDone);
  }
  expect_ = Expect::kResponseHeaders;
  Want(Write::kResponseHeaders);
}

void Call::OnMessage() {
  if (incoming_.has_immediate_response()) {
    immediate_ = true;
    expect_ = Expect::kEnd;
    return Want(Write::kDone);
  }
  switch (expect_) {
    case Expect::kHeaders:
      if (!incoming_.has_request_headers()) return Fail("no answer to the request headers");
      no_response_body_ =
          incoming_.has_mode_override() &&
          incoming_.mode_override().response_body_mode() == pb::ProcessingMode::NONE;
      expect_ = Expect::kBody;
      return;
    case Expect::kBody: {
      if (!incoming_.has_request_body()) return Fail("no answer to the request body");
      const auto& piece = incoming_.request_body().response().body_mutation().streamed_response();
      returned_ += piece.body().size();
      if (!piece.end_of_stream()) return;
      if (returned_ != body_.size()) return Fail("request body came back with another size");
      return EndOfRequest();
    }
    case Expect::kResponseHeaders:
      if (!incoming_.has_response_headers()) return Fail("no answer to the response headers");
      if (no_response_body_ && !load_.options.ignore_mode_override) {
        expect_ = Expect::kEnd;
        return Want(Write::kDone);
      }
      expect_ = Expect::kChunk;
      return Want(Write::kChunk);
    case Expect::kChunk: {
      if (!incoming_.has_response_body()) return Fail("no answer to a response chunk");
      const auto& piece = incoming_.response_body().response().body_mutation().streamed_response();
      returned_ += piece.body().size();
      if (returned_ < load_.chunk.size()) return;
      if (returned_ != load_.chunk.size())
        return Fail("response chunk came back with another size");
      if (chunk_ < load_.options.chunks) return Want(Write::kChunk);
      if (!piece.end_of_stream()) return Fail("the last response chunk does not end the stream");
      expect_ = Expect::kEnd;
      return Want(Write::kDone);
    }
    case Expect::kEnd:
      return Fail("a message after the last");
  }
}

void Load::Ended(const Call& call) {
  --open_;
  if (measuring) {
    std::string error = call.error_;
    if (error.empty() && !call.status_.ok()) {
      error = "status " + std::to_string(call.status_.error_code()) + ": " +
              call.status_.error_message();
    } else if (error.empty() && call.expect_ != Call::Expect::kEnd) {
      error = "the stream ended early";
    }
    if (!error.empty()) {
      ++counts_.errors[error];
    } else if (call.immediate_) {
      ++counts_.immediate;
    } else {
      ++counts_.ok;
      counts_.overridden += call.no_response_body_;
    }
  }
  ++ended_;
  if (ended_ == options.warmup) {
    measuring = true;
    begin_ = Now();
  }
  if (ended_ == options.warmup + options.streams) {
    measuring = false;
    end_ = Now();
  }
  if (ended_ < options.warmup + options.streams) StartOne();
}

nlohmann::ordered_json Load::Run() {
  double idle_share = 0;
  if (options.idle_seconds > 0) {
    const Mark before = Now();
    std::this_thread::sleep_for(std::chrono::duration<double>(options.idle_seconds));
    const Mark after = Now();
    idle_share = static_cast<double>(after.cpu_ns - before.cpu_ns) * 1e-9 /
                 std::chrono::duration<double>(after.at - before.at).count();
  }
  if (options.warmup == 0) {
    measuring = true;
    begin_ = Now();
  }
  for (uint32_t i = 0; i < options.concurrency; ++i) StartOne();
  void* tag;
  bool ok;
  while (open_ > 0 && queue.Next(&tag, &ok)) {
    const auto* at = static_cast<Call::Tag*>(tag);
    at->call->Complete(at->operation, ok);
  }
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }

  const double seconds = std::chrono::duration<double>(end_.at - begin_.at).count();
  const auto streams = static_cast<double>(options.streams);
  const double cpu_us = static_cast<double>(end_.cpu_ns - begin_.cpu_ns) * 1e-3;
  nlohmann::ordered_json out;
  out["streams"] = options.streams;
  out["streams_per_s"] = streams / seconds;
  out["concurrency"] = options.concurrency;
  out["connections"] = options.connections;
  out["body_bytes"] = body.size();
  out["chunks"] = options.chunks;
  for (const auto& [name, share] :
       std::map<std::string, double>{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}}) {
    out["request_latency_us"][name] = epp::bench::Percentile(latencies_us, share);
  }
  out["ok"] = counts_.ok;
  out["immediate"] = counts_.immediate;
  out["response_bodies_not_wanted"] = counts_.overridden;
  out["failed"] = counts_.failed();
  out["errors"] = counts_.errors;
  if (options.server_pid != 0) {
    const auto user = static_cast<double>(end_.ticks.user - begin_.ticks.user);
    const auto system = static_cast<double>(end_.ticks.system - begin_.ticks.system);
    out["server"]["cpu_us_per_stream"] = (cpu_us - idle_share * seconds * 1e6) / streams;
    out["server"]["system_share"] = user + system > 0 ? system / (user + system) : 0;
    out["server"]["idle_cores"] = idle_share;
    out["server"]["busy_cores"] = cpu_us * 1e-6 / seconds;
    out["server"]["rss_kib"] = epp::bench::ResidentKib(options.server_pid);
  }
  return out;
}

void PrintText(const nlohmann::ordered_json& r) {
  const auto& latency = r["request_latency_us"];
  std::printf("%.0f streams/s, body %zu bytes, %u streams at once on %u connections\n",
              r["streams_per_s"].get<double>(), r["body_bytes"].get<size_t>(),
              r["concurrency"].get<uint32_t>(), r["connections"].get<uint32_t>());
  std::printf("request phase us: p50 %.0f, p90 %.0f, p99 %.0f, p99.9 %.0f\n",
              latency["p50"].get<double>(), latency["p90"].get<double>(),
              latency["p99"].get<double>(), latency["p99.9"].get<double>());
  std::printf("ok %zu, immediate %zu, failed %zu, response bodies not wanted by %zu\n",
              r["ok"].get<size_t>(), r["immediate"].get<size_t>(), r["failed"].get<size_t>(),
              r["response_bodies_not_wanted"].get<size_t>());
  for (const auto& [what, count] : r["errors"].items()) {
    std::printf("  %zu x %s\n", count.get<size_t>(), what.c_str());
  }
  if (!r.contains("server")) return;
  const auto& server = r["server"];
  std::printf("server: %.1f us CPU per stream (%.0f%% system), %.2f cores, RSS %zu KiB\n",
              server["cpu_us_per_stream"].get<double>(), server["system_share"].get<double>() * 100,
              server["busy_cores"].get<double>(), server["rss_kib"].get<size_t>());
  if (server.contains("cpu_us_per_chunk")) {
    std::printf("server: %.2f us CPU per response chunk\n",
                server["cpu_us_per_chunk"].get<double>());
  }
}

void Declare(CLI::App* app, Options* o) {
  app->add_option("--target", o->target, "host:port of the server, plaintext")
      ->capture_default_str();
  app->add_option("--streams", o->streams, "streams to measure")
      ->check(CLI::Range(1, 1'000'000'000))
      ->capture_default_str();
  app->add_option("--warmup", o->warmup, "streams before that")->capture_default_str();
  app->add_option("--concurrency", o->concurrency, "streams at once")
      ->check(CLI::Range(1, 100'000))
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
  app->add_option("--server-pid", o->server_pid, "process whose CPU time is measured");
  app->add_option("--json", o->json, "write the result to this file; \"-\": only that, to stdout");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("ext-proc load generator: plays the proxy");
  Declare(&app, &options);
  CLI11_PARSE(app, argc, argv);

  std::vector<std::unique_ptr<Stub>> stubs;
  for (uint32_t i = 0; i < options.connections; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    arguments.SetMaxReceiveMessageSize(-1);
    const auto channel =
        grpc::CreateCustomChannel(options.target, grpc::InsecureChannelCredentials(), arguments);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
      std::fprintf(stderr, "extproc_load: no connection to %s\n", options.target.c_str());
      return 1;
    }
    stubs.push_back(pb::ExternalProcessor::NewStub(channel));
  }

  double without_chunks = 0;
  if (options.chunks > 0 && options.chunk_baseline) {
    // The response phase without chunks is not free; what is left over is theirs.
    Options baseline = options;
    baseline.chunks = 0;
    const auto result = Load(baseline, stubs).Run();
    if (options.server_pid != 0) without_chunks = result["server"]["cpu_us_per_stream"];
    options.first_number += baseline.warmup + baseline.streams + baseline.concurrency;
  }
  nlohmann::ordered_json result = Load(options, stubs).Run();
  if (options.chunks > 0 && options.chunk_baseline && options.server_pid != 0) {
    result["server"]["cpu_us_per_chunk"] =
        (result["server"]["cpu_us_per_stream"].get<double>() - without_chunks) / options.chunks;
  }
  const std::string json = result.dump(2) + "\n";
  if (options.json == "-") {
    std::fputs(json.c_str(), stdout);
  } else {
    PrintText(result);
    if (!options.json.empty() && !(std::ofstream(options.json) << json)) {
      std::fprintf(stderr, "extproc_load: %s cannot be written\n", options.json.c_str());
      return 1;
    }
  }
  return result["failed"].get<uint64_t>() == 0 ? 0 : 3;
}
