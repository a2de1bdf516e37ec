// One ext-proc stream on a completion queue: drives a Stream with what gRPC completes.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "host/extproc/ext_proc.grpc.pb.h"
#include "host/extproc/options.h"
#include "host/extproc/stream.h"
#include "host/extproc/worker.h"

namespace epp::extproc {

// Messages are read and written as bytes: a message that does not parse, or is too large, can then
// be told from a proxy that left.
using ExtProcService = pb::ExternalProcessor::WithRawMethod_Process<pb::ExternalProcessor::Service>;

// What all streams of a server share; outlives them.
struct ProcessContext {
  ExtProcService* service;
  request::ExchangeFactory* factory;
  StreamObserver* observer;  // may be null
  uint64_t max_receive_bytes;
  bool mode_override;
};

// Creates itself for the next stream, deletes itself when the last of its operations completed.
class ProcessCall final : public Call {
 public:
  // Waits for one more stream on this worker. On the worker's thread.
  static void Accept(const ProcessContext& context, Worker& worker);

  void Cancel() override;

 private:
  enum class Operation : uint8_t { kAccept, kDone, kRead, kWrite, kFinish };

  struct Tag final : Completion {
    Tag(ProcessCall* call, Operation operation) : call(call), operation(operation) {}
    void Complete(bool ok) override { call->OnComplete(operation, ok); }
    ProcessCall* call;
    Operation operation;
  };

  // Wakes the stream; outlives it in the hands of an exchange.
  class CallWaker final : public request::Waker,
                          public Task,
                          public std::enable_shared_from_this<CallWaker> {
   public:
    CallWaker(ProcessCall* call, std::shared_ptr<TaskQueue> tasks)
        : call_(call), tasks_(std::move(tasks)) {}
    void Wake() override;
    void Run() override;
    void Detach() { call_ = nullptr; }

   private:
    ProcessCall* call_;  // on the worker's thread only
    const std::shared_ptr<TaskQueue> tasks_;
    std::atomic<bool> posted_{false};
  };

  ProcessCall(const ProcessContext& context, Worker& worker);
  ~ProcessCall() override;

  void OnComplete(Operation operation, bool ok);
  void OnAccepted();
  void OnDone();
  // Does what the stream's state and the completed operations allow.
  void Pump();
  void StartRead();
  void Deliver();
  void WriteNext();
  void Finish(const grpc::Status& status);
  void FailRead(std::string_view why);
  void EndStream(request::StreamEnd how);

  const ProcessContext& context_;
  Worker& worker_;
  grpc::ServerContext server_context_;
  grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer> io_{&server_context_};
  Tag accept_{this, Operation::kAccept};
  Tag done_tag_{this, Operation::kDone};
  Tag read_{this, Operation::kRead};
  Tag write_{this, Operation::kWrite};
  Tag finish_{this, Operation::kFinish};

  std::optional<Stream> stream_;
  std::shared_ptr<CallWaker> waker_;
  grpc::ByteBuffer incoming_;
  // Of the operations above, all must have completed before the call is deleted.
  bool accepted_ = false;
  bool done_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool finishing_ = false;  // Finish was called; nothing else is started
  bool finished_ = false;   // and completed
  bool have_message_ = false;
  bool read_closed_ = false;
  bool ended_ = false;                                        // the exchange was told
  request::StreamEnd end_ = request::StreamEnd::kHalfClosed;  // unless cancelled
  int code_ = 0;                                              // for the observer
  std::chrono::steady_clock::time_point start_;
};

}  // namespace epp::extproc
