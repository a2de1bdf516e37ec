#include "host/serve/observers.h"

#include <array>

namespace epp::serve {
namespace {

// As gRPC names its codes in Go, which dashboards know.
constexpr std::array kCodeNames = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

}  // namespace

void ScrapeCounters::PollFailed(const std::string& source) {
  metrics_->poll_errors.now.With({source}).Add();
  metrics_->poll_errors.old.With({source}).Add();
}

void ScrapeCounters::ExtractFailed(const std::string& source, const std::string& extractor) {
  metrics_->extract_errors.now.With({source, extractor}).Add();
  metrics_->extract_errors.old.With({source, extractor}).Add();
}

void GoneEndpoints::EndpointRemoved(const pool::Endpoint& endpoint) {
  metrics_->EndpointGone(endpoint.fields().name, endpoint.fields().name_space);
}

void StreamCounters::OnStreamStart(uint32_t) { metrics_->streams_inflight.Add(1); }

void StreamCounters::OnStreamEnd(uint32_t, int grpc_code, int64_t duration_ns) {
  metrics_->streams_inflight.Add(-1);
  metrics_->stream_seconds.Observe(static_cast<double>(duration_ns) * 1e-9);
  const size_t code = static_cast<size_t>(grpc_code);
  metrics_->streams_total.With({kCodeNames[code < kCodeNames.size() ? code : 2]}).Add();
}

}  // namespace epp::serve
