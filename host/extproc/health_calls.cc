#include "host/extproc/health_calls.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>

#include <string>

#include "host/extproc/health.h"

namespace epp::extproc {
namespace {

namespace health = ::grpc::health::v1;
using Response = health::HealthCheckResponse;

bool IsKnown(const std::string& service) { return service.empty() || service == kExtProcService; }

// A call with one request and one answer.
class UnaryCall : public Call, public Completion {
 public:
  UnaryCall(ExtProcHealthService& service, Worker& worker) : service_(service), worker_(worker) {
    worker_.Add(this);
  }
  ~UnaryCall() override { worker_.Remove(this); }

  void Complete(bool ok) override {
    if (!answered_ && ok) {
      answered_ = true;
      Answer();
    } else {
      delete this;
    }
  }
  void Cancel() override {
    if (answered_) context_.TryCancel();
  }

 protected:
  virtual void Answer() = 0;
  Completion* tag() { return this; }

  ExtProcHealthService& service_;
  Worker& worker_;
  grpc::ServerContext context_;

 private:
  bool answered_ = false;
};

class CheckCall final : public UnaryCall {
 public:
  CheckCall(ExtProcHealthService& service, Worker& worker) : UnaryCall(service, worker) {
    service.RequestCheck(&context_, &request_, &writer_, worker.queue(), worker.queue(), tag());
  }

 private:
  void Answer() override {
    new CheckCall(service_, worker_);
    if (!IsKnown(request_.service())) {
      writer_.FinishWithError({grpc::StatusCode::NOT_FOUND, "unknown service"}, tag());
      return;
    }
    Response response;
    response.set_status(Response::SERVING);
    writer_.Finish(response, grpc::Status::OK, tag());
  }

  health::HealthCheckRequest request_;
  grpc::ServerAsyncResponseWriter<Response> writer_{&context_};
};

class ListCall final : public UnaryCall {
 public:
  ListCall(ExtProcHealthService& service, Worker& worker) : UnaryCall(service, worker) {
    service.RequestList(&context_, &request_, &writer_, worker.queue(), worker.queue(), tag());
  }

 private:
  void Answer() override {
    new ListCall(service_, worker_);
    health::HealthListResponse response;
    (*response.mutable_statuses())[""].set_status(Response::SERVING);
    (*response.mutable_statuses())[std::string(kExtProcService)].set_status(Response::SERVING);
    writer_.Finish(response, grpc::Status::OK, tag());
  }

  health::HealthListRequest request_;
  grpc::ServerAsyncResponseWriter<health::HealthListResponse> writer_{&context_};
};

// Sends the status once, and again when the server drains; stays open in between.
class WatchCall final : public Call {
 public:
  WatchCall(ExtProcHealthService& service, Worker& worker) : service_(service), worker_(worker) {
    worker_.Add(this);
    context_.AsyncNotifyWhenDone(static_cast<Completion*>(&done_tag_));
    service.RequestWatch(&context_, &request_, &writer_, worker.queue(), worker.queue(),
                         static_cast<Completion*>(&accept_tag_));
  }

  void Cancel() override {
    if (accepted_ && !done_) context_.TryCancel();
  }
  void OnDrain() override {
    draining_ = true;
    Advance();
  }

 private:
  struct Tag final : Completion {
    Tag(WatchCall* call, void (WatchCall::*method)(bool)) : call(call), method(method) {}
    void Complete(bool ok) override { (call->*method)(ok); }
    WatchCall* call;
    void (WatchCall::*method)(bool);
  };

  ~WatchCall() override { worker_.Remove(this); }

  void OnAccept(bool ok) {
    if (!ok) {
      delete this;
      return;
    }
    new WatchCall(service_, worker_);
    accepted_ = true;
    Response response;
    response.set_status(IsKnown(request_.service()) ? Response::SERVING
                                                    : Response::SERVICE_UNKNOWN);
    pending_ = true;
    writer_.Write(response, static_cast<Completion*>(&write_tag_));
  }
  void OnWrite(bool) {
    pending_ = false;
    Advance();
  }
  void OnDone(bool) {
    done_ = true;
    Advance();
  }

  void Advance() {
    if (!accepted_ || pending_) return;
    if (done_) {
      delete this;
      return;
    }
    if (!draining_ || finishing_) return;
    finishing_ = true;
    pending_ = true;
    Response response;
    response.set_status(Response::NOT_SERVING);
    writer_.WriteAndFinish(response, grpc::WriteOptions(), grpc::Status::OK,
                           static_cast<Completion*>(&write_tag_));
  }

  ExtProcHealthService& service_;
  Worker& worker_;
  grpc::ServerContext context_;
  health::HealthCheckRequest request_;
  grpc::ServerAsyncWriter<Response> writer_{&context_};
  Tag accept_tag_{this, &WatchCall::OnAccept};
  Tag write_tag_{this, &WatchCall::OnWrite};
  Tag done_tag_{this, &WatchCall::OnDone};
  bool accepted_ = false;
  bool pending_ = false;  // a write
  bool draining_ = false;
  bool finishing_ = false;
  bool done_ = false;
};

}  // namespace

void ServeHealth(ExtProcHealthService& service, Worker& worker) {
  new CheckCall(service, worker);
  new ListCall(service, worker);
  new WatchCall(service, worker);
}

}  // namespace epp::extproc
