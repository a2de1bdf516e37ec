#include "tests/bench/load.h"

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <string>
#include <thread>

#include "tests/bench/chat_body.h"
#include "tests/bench/process_stats.h"
#include "tests/bench/summary.h"

namespace epp::bench {
namespace {

namespace pb = envoy::service::ext_proc::v3;
using Clock = std::chrono::steady_clock;
using Stub = ExtProcStub;

// Streams are started in bursts of what is due.
constexpr std::chrono::milliseconds kArrivalTick{1};

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
  enum Operation : uint8_t { kStart, kRead, kWrite, kFinish, kPause };
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
  void NextChunk();
  void End();

  Load& load_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<pb::ProcessingRequest, pb::ProcessingResponse>> io_;
  Tag start_{this, kStart}, read_{this, kRead}, write_{this, kWrite}, finish_{this, kFinish},
      pause_{this, kPause};
  pb::ProcessingResponse incoming_;
  pb::ProcessingRequest outgoing_;
  grpc::Status status_;
  std::string body_;
  std::string error_;
  Clock::time_point begin_;
  std::string marked_;  // value of the header that must stay the same
  grpc::Alarm alarm_;
  size_t sent_ = 0;      // bytes of the body
  size_t returned_ = 0;  // bytes of the body, or of the current chunk
  uint32_t chunk_ = 0;
  Write next_ = Write::kNone;
  Expect expect_ = Expect::kHeaders;
  bool open_ = false;  // started and not finished
  bool writing_ = false;
  bool pausing_ = false;
  bool finished_ = false;
  bool immediate_ = false;
  bool no_response_body_ = false;
};

class Load {
 public:
  Load(const LoadOptions& options, std::vector<std::unique_ptr<Stub>>& stubs)
      : options(options),
        body(options.body_bytes, options.shared, 7),
        chunk(ChatChunk(options.chunk_bytes)),
        stubs_(stubs) {
    auto* message = headers.mutable_request_headers()->mutable_headers();
    for (const auto& [name, value] :
         ChatHeaders(body.size(), "3f1c2d4e-0000-4000-8000-1234567890ab")) {
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
  // A measured stream has got its endpoint, this long after it began.
  void Note(std::chrono::duration<double, std::micro> latency) {
    const auto began = std::chrono::system_clock::now().time_since_epoch() - latency;
    timeline_.emplace_back(std::chrono::duration_cast<std::chrono::nanoseconds>(began).count(),
                           latency.count());
  }

  const LoadOptions& options;
  ChatBody body;
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
    CpuTicks ticks;
  };
  Mark Now() const {
    return {Clock::now(), ProcessCpuNs(options.server_pid), ProcessCpuTicks(options.server_pid)};
  }
  uint64_t wanted() const { return options.warmup + options.streams; }
  void StartOne() {
    most_open_ = std::max(most_open_, ++open_);
    Stub& stub = *stubs_[started_ % stubs_.size()];
    new Call(*this, stub, options.first_number + started_++);
  }
  // Starts what the rate has due by now; false when all were started.
  bool StartDue() {
    const std::chrono::duration<double> since = Clock::now() - first_arrival_;
    const auto due = std::min(wanted(), static_cast<uint64_t>(since.count() * options.rate));
    while (started_ < due) StartOne();
    return started_ < wanted();
  }

  std::vector<std::unique_ptr<Stub>>& stubs_;
  uint64_t started_ = 0;
  uint64_t ended_ = 0;
  uint64_t open_ = 0;
  uint64_t most_open_ = 0;
  Clock::time_point first_arrival_;
  std::vector<std::pair<int64_t, double>> timeline_;
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
    case kPause:
      pausing_ = false;
      if (finished_) return End();
      if (ok && open_) Want(Write::kChunk);
      return;
    default:
      finished_ = true;
      if (pausing_) return alarm_.Cancel();
      End();
  }
}

void Call::End() {
  load_.Ended(*this);
  delete this;
}

void Call::NextChunk() {
  if (load_.options.chunk_gap_ms == 0) return Want(Write::kChunk);
  pausing_ = true;
  const auto gap = std::chrono::duration<double, std::milli>(load_.options.chunk_gap_ms);
  alarm_.Set(&load_.queue,
             std::chrono::system_clock::now() + std::chrono::round<std::chrono::microseconds>(gap),
             &pause_);
}

// The value that a header is set to; empty when it is not.
std::string SetHeader(const pb::HeaderMutation& mutation, const std::string& name) {
  for (const auto& option : mutation.set_headers()) {
    if (option.header().key() == name) return option.header().raw_value();
  }
  return "";
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
    const std::chrono::duration<double, std::micro> latency = Clock::now() - begin_;
    load_.latencies_us.push_back(latency.count());
    if (!load_.options.timeline.empty()) load_.Note(latency);
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
      if (!load_.options.same_header.empty()) {
        marked_ = SetHeader(incoming_.request_headers().response().header_mutation(),
                            load_.options.same_header);
        if (marked_.empty()) return Fail("the request's header is not set");
      }
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
      if (SetHeader(incoming_.response_headers().response().header_mutation(),
                    load_.options.same_header) != marked_) {
        return Fail("the header differs between request and response");
      }
      if (no_response_body_ && !load_.options.ignore_mode_override) {
        expect_ = Expect::kEnd;
        return Want(Write::kDone);
      }
      expect_ = Expect::kChunk;
      return NextChunk();
    case Expect::kChunk: {
      if (!incoming_.has_response_body()) return Fail("no answer to a response chunk");
      const auto& piece = incoming_.response_body().response().body_mutation().streamed_response();
      returned_ += piece.body().size();
      if (returned_ < load_.chunk.size()) return;
      if (returned_ != load_.chunk.size())
        return Fail("response chunk came back with another size");
      if (chunk_ < load_.options.chunks) return NextChunk();
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
  if (ended_ == wanted()) {
    measuring = false;
    end_ = Now();
  }
  if (options.rate == 0 && ended_ < wanted()) StartOne();
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
  grpc::Alarm arrivals;
  bool more = options.rate > 0;
  const auto wait_for_arrivals = [&] {
    arrivals.Set(&queue, std::chrono::system_clock::now() + kArrivalTick, nullptr);
  };
  first_arrival_ = Clock::now();
  if (more) wait_for_arrivals();
  for (uint32_t i = 0; !more && i < options.concurrency; ++i) StartOne();
  void* tag;
  bool ok;
  while ((open_ > 0 || more) && queue.Next(&tag, &ok)) {
    if (tag == nullptr) {
      more = StartDue();
      if (more) wait_for_arrivals();
      continue;
    }
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
  out["concurrency"] = options.rate > 0 ? most_open_ : options.concurrency;
  out["connections"] = options.connections;
  out["body_bytes"] = body.size();
  out["chunks"] = options.chunks;
  for (const auto& [name, share] :
       std::map<std::string, double>{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}}) {
    out["request_latency_us"][name] = Percentile(latencies_us, share);
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
    out["server"]["rss_kib"] = ResidentKib(options.server_pid);
  }
  if (!options.timeline.empty()) {
    std::ofstream file(options.timeline);
    for (const auto& [began, latency] : timeline_) file << began << ' ' << latency << '\n';
    if (!file.flush()) throw std::runtime_error(options.timeline + " cannot be written");
  }
  return out;
}

}  // namespace

nlohmann::ordered_json RunLoad(const LoadOptions& options,
                               std::vector<std::unique_ptr<ExtProcStub>>& stubs) {
  return Load(options, stubs).Run();
}

}  // namespace epp::bench
