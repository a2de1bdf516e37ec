#include "tests/integration/wire.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "gtest/gtest.h"
#include "host/base/str_cat.h"
#include "host/extproc/ext_proc.grpc.pb.h"

namespace epp::integration {
namespace {

void FillHeaders(const Headers& from, pb::HttpHeaders* out) {
  for (const auto& [name, value] : from) {
    pb::HeaderValue* header = out->mutable_headers()->add_headers();
    header->set_key(name);
    header->set_raw_value(value);
  }
}

const pb::HeaderMutation& MutationOf(const pb::ProcessingResponse& response) {
  switch (response.response_case()) {
    case pb::ProcessingResponse::kRequestHeaders:
      return response.request_headers().response().header_mutation();
    case pb::ProcessingResponse::kResponseHeaders:
      return response.response_headers().response().header_mutation();
    default:
      return response.immediate_response().headers();
  }
}

const pb::StreamedBodyResponse& PieceOf(const pb::ProcessingResponse& response) {
  const pb::BodyResponse& body =
      response.has_request_body() ? response.request_body() : response.response_body();
  return body.response().body_mutation().streamed_response();
}

}  // namespace

WireServer::WireServer(Harness& harness) {
  extproc::ServerOptions options;
  options.address = "127.0.0.1";
  options.port = 0;
  options.workers = harness.workers();
  options.tls.secure = false;
  auto started = extproc::GrpcServer::Start(options, harness.factory());
  EXPECT_TRUE(started.ok()) << started.status();
  server_ = *std::move(started);
}

WireServer::~WireServer() = default;

bool WireServer::Idle() const {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (server_->open_streams() != 0) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

struct WireStream::Impl {
  std::unique_ptr<pb::ExternalProcessor::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<pb::ProcessingRequest, pb::ProcessingResponse>> stream;
  bool finished = false;
};

WireStream::WireStream(const WireServer& server) : impl_(std::make_unique<Impl>()) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  impl_->stub = pb::ExternalProcessor::NewStub(grpc::CreateCustomChannel(
      StrCat("127.0.0.1:", server.port()), grpc::InsecureChannelCredentials(), arguments));
  impl_->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  impl_->stream = impl_->stub->Process(&impl_->context);
}

WireStream::~WireStream() {
  if (impl_->finished) return;
  impl_->context.TryCancel();
  (void)Finish();
}

bool WireStream::Send(const pb::ProcessingRequest& message) {
  return impl_->stream->Write(message);
}

bool WireStream::RequestHeaders(const Headers& headers, bool end) {
  pb::ProcessingRequest message;
  message.mutable_request_headers()->set_end_of_stream(end);
  FillHeaders(headers, message.mutable_request_headers());
  return Send(message);
}

bool WireStream::RequestBody(std::string_view bytes, bool end) {
  pb::ProcessingRequest message;
  message.mutable_request_body()->set_body(std::string(bytes));
  message.mutable_request_body()->set_end_of_stream(end);
  return Send(message);
}

bool WireStream::ResponseHeaders(const Headers& headers, bool end) {
  pb::ProcessingRequest message;
  message.mutable_response_headers()->set_end_of_stream(end);
  FillHeaders(headers, message.mutable_response_headers());
  return Send(message);
}

bool WireStream::ResponseBody(std::string_view bytes, bool end) {
  pb::ProcessingRequest message;
  message.mutable_response_body()->set_body(std::string(bytes));
  message.mutable_response_body()->set_end_of_stream(end);
  return Send(message);
}

bool WireStream::ResponseTrailers() {
  pb::ProcessingRequest message;
  message.mutable_response_trailers();
  return Send(message);
}

pb::ProcessingResponse WireStream::Read() {
  pb::ProcessingResponse response;
  if (!impl_->stream->Read(&response)) response.Clear();
  return response;
}

void WireStream::HalfClose() { impl_->stream->WritesDone(); }
void WireStream::Cancel() { impl_->context.TryCancel(); }

std::string WireStream::Finish(int* rest) {
  impl_->finished = true;
  int count = 0;
  pb::ProcessingResponse response;
  while (impl_->stream->Read(&response)) ++count;
  if (rest) *rest = count;
  const grpc::Status status = impl_->stream->Finish();
  if (status.ok()) return "OK";
  return StrCat(static_cast<int>(status.error_code()), ": ", status.error_message());
}

std::string KindOf(const pb::ProcessingResponse& response) {
  switch (response.response_case()) {
    case pb::ProcessingResponse::kRequestHeaders:
      return "request_headers";
    case pb::ProcessingResponse::kResponseHeaders:
      return "response_headers";
    case pb::ProcessingResponse::kRequestBody:
      return PieceOf(response).end_of_stream() ? "request_body end" : "request_body";
    case pb::ProcessingResponse::kResponseBody:
      return PieceOf(response).end_of_stream() ? "response_body end" : "response_body";
    case pb::ProcessingResponse::kRequestTrailers:
      return "request_trailers";
    case pb::ProcessingResponse::kResponseTrailers:
      return "response_trailers";
    case pb::ProcessingResponse::kImmediateResponse:
      return "immediate_response";
    default:
      return "";
  }
}

std::vector<std::string> SetHeaders(const pb::ProcessingResponse& response) {
  std::vector<std::string> lines;
  for (const pb::HeaderValueOption& option : MutationOf(response).set_headers()) {
    lines.push_back(StrCat(option.header().key(), ": ", option.header().raw_value()));
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

std::string BytesOf(const pb::ProcessingResponse& response) { return PieceOf(response).body(); }

std::string DestinationOf(const pb::ProcessingResponse& response) {
  for (const pb::HeaderValueOption& option : MutationOf(response).set_headers()) {
    if (option.header().key() == "x-gateway-destination-endpoint") {
      return option.header().raw_value();
    }
  }
  return ImmediateOf(response);
}

std::string ImmediateOf(const pb::ProcessingResponse& response) {
  if (!response.has_immediate_response()) return KindOf(response);
  return StrCat(static_cast<int>(response.immediate_response().status().code()), " ",
                response.immediate_response().body());
}

}  // namespace epp::integration
