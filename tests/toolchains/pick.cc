// Plays the proxy for one decision a line: pick PORT COUNT
//
// Sends COUNT requests, one after the other, and prints "DESTINATION REQUEST_ID" for each; an
// immediate response prints its status instead of a destination.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "grpcpp/grpcpp.h"
#include "host/extproc/ext_proc.grpc.pb.h"

namespace {

namespace pb = envoy::service::ext_proc::v3;

std::string Pick(pb::ExternalProcessor::Stub& stub, const std::string& request_id) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  const auto stream = stub.Process(&context);
  pb::ProcessingRequest head;
  const auto add = [&](const char* name, const std::string& value) {
    auto* header = head.mutable_request_headers()->mutable_headers()->add_headers();
    header->set_key(name);
    header->set_raw_value(value);
  };
  add(":method", "POST");
  add(":path", "/v1/completions");
  add("x-request-id", request_id);
  pb::ProcessingRequest body;
  body.mutable_request_body()->set_body(R"({"model":"demo","prompt":"hello"})");
  body.mutable_request_body()->set_end_of_stream(true);
  stream->Write(head);
  stream->Write(body);
  std::string picked;
  pb::ProcessingResponse response;
  while (picked.empty() && stream->Read(&response)) {
    if (response.has_immediate_response()) {
      picked = std::to_string(response.immediate_response().status().code());
    }
    for (const auto& option :
         response.request_headers().response().header_mutation().set_headers()) {
      if (option.header().key() == "x-gateway-destination-endpoint") {
        picked = option.header().raw_value();
      }
    }
  }
  stream->WritesDone();
  while (stream->Read(&response)) continue;
  const grpc::Status status = stream->Finish();
  return status.ok() ? picked : status.error_message();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: pick PORT COUNT\n", stderr);
    return 2;
  }
  const auto stub = pb::ExternalProcessor::NewStub(
      grpc::CreateChannel(std::string("127.0.0.1:") + argv[1], grpc::InsecureChannelCredentials()));
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    const std::string id =
        "pick-" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count());
    std::printf("%s %s\n", Pick(*stub, id).c_str(), id.c_str());
  }
  return 0;
}
