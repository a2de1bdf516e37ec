#include "host/request/http_exchange.h"

#include <utility>

#include "host/request/director.h"
#include "host/request/response.h"
#include "host/request/state.h"
#include "host/telemetry/worker.h"

namespace epp::request {
namespace {

class HttpExchange final : public Exchange {
 public:
  HttpExchange(const Services& services, WorkerState& worker, std::shared_ptr<Waker> waker)
      : state_(services, worker, std::move(waker)) {
    ++worker.active;
  }
  ~HttpExchange() override {
    // An idle worker must not pin what has been replaced: endpoints that left live as long as a
    // frame has them, instances as long as their generation.
    WorkerState& worker = state_.worker;
    if (--worker.active > 0) return;
    worker.frames.Release();
    worker.serving.Release();
  }

  RequestVerdict OnRequestHeaders(std::span<const Header> headers, const Metadata& metadata,
                                  bool end_of_stream) override {
    Receive(state_, headers);
    if (end_of_stream) return DirectBodyless(state_, metadata);
    return {};
  }

  RequestVerdict OnRequestBody(Body body, const Metadata& metadata) override {
    return Direct(state_, body, metadata);
  }

  void OnRequestSent() override { Sent(state_); }

  RequestVerdict TakeVerdict() override { return Resume(state_); }

  ResponseHeadersVerdict OnResponseHeaders(std::span<const Header> headers,
                                           const Metadata& metadata, bool end_of_stream) override {
    return ReceiveResponseHeaders(state_, headers, metadata, end_of_stream);
  }

  ResponseBodyVerdict OnResponseBody(std::string_view chunk, bool end_of_stream) override {
    return ReceiveResponseBody(state_, chunk, end_of_stream);
  }

  void OnStreamEnd(StreamEnd how) override { Complete(state_, how); }

 private:
  RequestState state_;
};

}  // namespace

HttpExchangeFactory::HttpExchangeFactory(const Services& services, uint32_t workers)
    : services_(services) {
  for (uint32_t w = 0; w < workers; ++w) {
    workers_.push_back(std::make_unique<WorkerState>(w, services_, services.random_seed + w));
  }
}

HttpExchangeFactory::~HttpExchangeFactory() = default;

std::unique_ptr<Exchange> HttpExchangeFactory::NewExchange(uint32_t worker,
                                                           std::shared_ptr<Waker> waker) {
  telemetry::BindThread(static_cast<int>(worker));
  return std::make_unique<HttpExchange>(services_, *workers_[worker], std::move(waker));
}

}  // namespace epp::request
