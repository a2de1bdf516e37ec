// The ext-proc server over a Harness, and a proxy's side of its streams.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/extproc/ext_proc.pb.h"
#include "host/extproc/grpc_server.h"
#include "tests/integration/harness.h"

namespace epp::integration {

namespace pb = ::envoy::service::ext_proc::v3;

class WireServer {
 public:
  explicit WireServer(Harness& harness);
  ~WireServer();
  uint16_t port() const { return server_->port(); }
  // Waits until no stream is open.
  bool Idle() const;

 private:
  std::unique_ptr<extproc::GrpcServer> server_;
};

// One stream. Cancelled on destruction unless finished. Threads: one.
class WireStream {
 public:
  explicit WireStream(const WireServer& server);
  ~WireStream();

  bool Send(const pb::ProcessingRequest& message);
  bool RequestHeaders(const Headers& headers, bool end = false);
  // `metadata`: a namespace whose struct has `phase`.
  bool RequestBody(std::string_view bytes, bool end);
  bool ResponseHeaders(const Headers& headers, bool end = false);
  bool ResponseBody(std::string_view bytes, bool end);
  bool ResponseTrailers();
  // The next response; an empty one when the stream ended.
  pb::ProcessingResponse Read();
  void HalfClose();
  void Cancel();
  // "OK", or "CODE: message". Reads what is left; the number of those responses goes to `rest`.
  std::string Finish(int* rest = nullptr);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// ---- Looking at responses

// "request_headers", "response_body end" ..., "" for an empty one.
std::string KindOf(const pb::ProcessingResponse& response);
// "name: value" of every header that the response sets, sorted.
std::vector<std::string> SetHeaders(const pb::ProcessingResponse& response);
std::string BytesOf(const pb::ProcessingResponse& response);
std::string DestinationOf(const pb::ProcessingResponse& response);
// "400 inference error: ...", or the kind of what is no immediate response.
std::string ImmediateOf(const pb::ProcessingResponse& response);

}  // namespace epp::integration
