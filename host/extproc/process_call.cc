#include "host/extproc/process_call.h"

#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <string>
#include <utility>

namespace epp::extproc {
namespace {

bool Parse(grpc::ByteBuffer* bytes, pb::ProcessingRequest* message) {
  grpc::Slice slice;
  if (bytes->TrySingleSlice(&slice).ok()) {
    return message->ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
  }
  grpc::ProtoBufferReader reader(bytes);
  return message->ParseFromZeroCopyStream(&reader);
}

grpc::ByteBuffer Serialize(const pb::ProcessingResponse& message) {
  const size_t size = message.ByteSizeLong();
  const grpc::Slice slice(size);
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return grpc::ByteBuffer(&slice, 1);
}

grpc::Status ToGrpc(const absl::Status& status) {
  // The codes have the same numbers.
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

}  // namespace

void ProcessCall::CallWaker::Wake() {
  if (!posted_.exchange(true, std::memory_order_acq_rel)) tasks_->Post(shared_from_this());
}

void ProcessCall::CallWaker::Run() {
  posted_.store(false, std::memory_order_release);
  if (call_ == nullptr || call_->ended_ || call_->finishing_) return;
  call_->stream_->OnWake();
  call_->Pump();
}

void ProcessCall::Accept(const ProcessContext& context, Worker& worker) {
  auto* call = new ProcessCall(context, worker);
  call->server_context_.AsyncNotifyWhenDone(static_cast<Completion*>(&call->done_tag_));
  context.service->RequestProcess(&call->server_context_, &call->io_, worker.queue(),
                                  worker.queue(), static_cast<Completion*>(&call->accept_));
}

ProcessCall::ProcessCall(const ProcessContext& context, Worker& worker)
    : context_(context), worker_(worker) {
  worker_.Add(this);
}

ProcessCall::~ProcessCall() { worker_.Remove(this); }

void ProcessCall::Cancel() {
  if (accepted_ && !done_) server_context_.TryCancel();
}

void ProcessCall::OnComplete(Operation operation, bool ok) {
  switch (operation) {
    case Operation::kAccept:
      if (!ok) {  // the server shuts down; kDone never comes for a call that did not start
        delete this;
        return;
      }
      OnAccepted();
      break;
    case Operation::kDone:
      OnDone();
      break;
    case Operation::kRead:
      reading_ = false;
      (ok ? have_message_ : read_closed_) = true;
      Pump();
      break;
    case Operation::kWrite:
      writing_ = false;
      if (!ok && !finishing_ && !done_) {
        end_ = request::StreamEnd::kSendError;
        Finish({grpc::StatusCode::UNKNOWN,
                "failed to send response back to Envoy: the stream is closed"});
      }
      Pump();
      break;
    case Operation::kFinish:
      finished_ = true;
      break;
  }
  if (done_ && !reading_ && !writing_ && finishing_ == finished_) delete this;
}

void ProcessCall::OnAccepted() {
  accepted_ = true;
  Accept(context_, worker_);
  waker_ = std::make_shared<CallWaker>(this, worker_.tasks());
  stream_.emplace(*context_.factory, worker_.scratch(),
                  StreamOptions{worker_.index(), context_.mode_override}, waker_);
  worker_.CountStream(1);
  if (context_.observer != nullptr) {
    start_ = std::chrono::steady_clock::now();
    context_.observer->OnStreamStart(worker_.index());
  }
  if (worker_.cancelling()) server_context_.TryCancel();
  StartRead();
}

void ProcessCall::OnDone() {
  done_ = true;
  if (server_context_.IsCancelled()) {
    const bool expired = server_context_.deadline() <= std::chrono::system_clock::now();
    // An end that was decided before stays what it was.
    if (!ended_) {
      code_ = expired ? grpc::StatusCode::DEADLINE_EXCEEDED : grpc::StatusCode::CANCELLED;
    }
    EndStream(expired ? request::StreamEnd::kDeadline : request::StreamEnd::kCancelled);
  } else {
    EndStream(end_);
  }
  waker_->Detach();
  stream_.reset();
  worker_.CountStream(-1);
  if (context_.observer != nullptr) {
    const auto duration = std::chrono::steady_clock::now() - start_;
    context_.observer->OnStreamEnd(
        worker_.index(), code_,
        std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
  }
}

void ProcessCall::Pump() {
  while (!done_ && !finishing_ && !writing_) {
    switch (stream_->state()) {
      case Stream::State::kWriting:
        WriteNext();
        break;
      case Stream::State::kWaiting:
        return;
      case Stream::State::kFinished:
        // A half-close may turn out to be a reset, which is known once the call is done.
        if (!read_closed_ || !stream_->status().ok()) EndStream(request::StreamEnd::kHalfClosed);
        Finish(ToGrpc(stream_->status()));
        return;
      case Stream::State::kReading:
        if (have_message_) {
          Deliver();
        } else if (read_closed_) {
          stream_->OnHalfClose();
        } else {
          if (!reading_) StartRead();
          return;
        }
        break;
    }
  }
}

void ProcessCall::StartRead() {
  reading_ = true;
  io_.Read(&incoming_, static_cast<Completion*>(&read_));
}

void ProcessCall::Deliver() {
  have_message_ = false;
  const size_t size = incoming_.Length();
  if (size > context_.max_receive_bytes) {
    return FailRead("received message is " + std::to_string(size) + " bytes, want at most " +
                    std::to_string(context_.max_receive_bytes));
  }
  auto* message = worker_.Fresh<pb::ProcessingRequest>();
  const bool parsed = Parse(&incoming_, message);
  incoming_.Clear();
  if (!parsed) return FailRead("message is not a ProcessingRequest");
  stream_->OnMessage(*message);
}

void ProcessCall::WriteNext() {
  const bool last = stream_->next_is_last();
  auto* response = worker_.Fresh<pb::ProcessingResponse>();
  stream_->Next(response);
  const grpc::ByteBuffer bytes = Serialize(*response);
  if (!last) {
    writing_ = true;
    io_.Write(bytes, static_cast<Completion*>(&write_));
    // One message ahead, while the responses to the one before are written.
    if (!reading_ && !have_message_ && !read_closed_) StartRead();
    return;
  }
  EndStream(request::StreamEnd::kHalfClosed);
  finishing_ = true;
  io_.WriteAndFinish(bytes, grpc::WriteOptions(), grpc::Status::OK,
                     static_cast<Completion*>(&finish_));
}

void ProcessCall::Finish(const grpc::Status& status) {
  finishing_ = true;
  code_ = status.error_code();
  io_.Finish(status, static_cast<Completion*>(&finish_));
}

void ProcessCall::FailRead(std::string_view why) {
  EndStream(request::StreamEnd::kReceiveError);
  Finish({grpc::StatusCode::UNKNOWN, "cannot receive stream request: " + std::string(why)});
}

void ProcessCall::EndStream(request::StreamEnd how) {
  if (std::exchange(ended_, true)) return;
  stream_->End(how);
}

}  // namespace epp::extproc
