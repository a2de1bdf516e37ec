// An exchange for tests: forwards what it gets unless told otherwise, and writes down every call.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/request/exchange.h"

namespace epp::extproc::testing {

class FakeExchange;

// Makes fake exchanges. The hooks run on the workers' threads; set them before the first stream.
class FakeFactory : public request::ExchangeFactory {
 public:
  using Verdict = request::RequestVerdict;

  std::function<Verdict(FakeExchange&)> on_bodyless = Forward;
  std::function<std::optional<Verdict>(FakeExchange&)> on_headers;  // of a request with a body
  std::function<Verdict(FakeExchange&)> on_body = Forward;
  std::function<Verdict(FakeExchange&)> take_verdict = Forward;
  std::function<request::ResponseHeadersVerdict(FakeExchange&)> on_response_headers;
  std::function<request::ResponseBodyVerdict(FakeExchange&, std::string_view, bool)>
      on_response_body;
  uint64_t body_limit = 0;

  // Forwards the received body unchanged.
  static Verdict Forward(FakeExchange& exchange);
  static Verdict Immediate(int status, std::string body);

  std::unique_ptr<request::Exchange> NewExchange(uint32_t worker,
                                                 std::shared_ptr<request::Waker> waker) override;
  uint64_t max_body_bytes() const override { return body_limit; }

  // Calls of all exchanges in order, such as "request-body 12" or "end half-closed".
  std::vector<std::string> log() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }
  size_t Count(std::string_view entry) const {
    const std::lock_guard lock(mutex_);
    size_t n = 0;
    for (const std::string& line : log_) n += line == entry ? 1 : 0;
    return n;
  }
  void Log(std::string line) {
    const std::lock_guard lock(mutex_);
    log_.push_back(std::move(line));
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> log_;
};

class FakeExchange : public request::Exchange {
 public:
  FakeExchange(FakeFactory& factory, uint32_t worker, std::shared_ptr<request::Waker> waker)
      : factory_(factory), worker_(worker), waker_(std::move(waker)) {}

  // What came in last, for the hooks.
  std::multimap<std::string, std::string> headers;
  bool has_list = false;
  std::vector<std::string> list;      // of metadata test/list
  std::optional<std::string> string;  // of metadata test/phase
  request::Body body;
  bool end_of_stream = false;

  uint32_t worker() const { return worker_; }
  const std::shared_ptr<request::Waker>& waker() const { return waker_; }

  request::RequestVerdict OnRequestHeaders(std::span<const request::Header> in,
                                           const request::Metadata& metadata, bool end) override {
    factory_.Log(end ? "request-headers end" : "request-headers");
    Keep(in, metadata, end);
    if (end) return factory_.on_bodyless(*this);
    if (factory_.on_headers) {
      if (auto verdict = factory_.on_headers(*this)) return *std::move(verdict);
    }
    return {};
  }

  request::RequestVerdict OnRequestBody(request::Body in,
                                        const request::Metadata& metadata) override {
    factory_.Log("request-body " + std::to_string(in.size));
    for (size_t i = 0; i < request::Body::kPadding; ++i) {
      if (in.data[in.size + i] != 0) factory_.Log("padding is not zero");
    }
    body = in;
    Keep({}, metadata, true);
    return factory_.on_body(*this);
  }

  request::RequestVerdict TakeVerdict() override {
    factory_.Log("take-verdict");
    return factory_.take_verdict(*this);
  }

  request::ResponseHeadersVerdict OnResponseHeaders(std::span<const request::Header> in,
                                                    const request::Metadata& metadata,
                                                    bool end) override {
    factory_.Log(end ? "response-headers end" : "response-headers");
    Keep(in, metadata, end);
    if (factory_.on_response_headers) return factory_.on_response_headers(*this);
    return {};
  }

  request::ResponseBodyVerdict OnResponseBody(std::string_view chunk, bool end) override {
    factory_.Log("response-body " + std::to_string(chunk.size()) + (end ? " end" : ""));
    if (factory_.on_response_body) return factory_.on_response_body(*this, chunk, end);
    return {};
  }

  void OnStreamEnd(request::StreamEnd how) override {
    static constexpr const char* kNames[] = {"half-closed", "cancelled", "receive-error",
                                             "send-error", "deadline"};
    factory_.Log(std::string("end ") + kNames[static_cast<int>(how)]);
  }

 private:
  void Keep(std::span<const request::Header> in, const request::Metadata& metadata, bool end) {
    headers.clear();
    for (const request::Header& header : in) headers.emplace(header.name, header.value);
    std::vector<std::string_view> views;
    has_list = metadata.List("test", "list", &views);
    list.assign(views.begin(), views.end());
    const auto phase = metadata.String("test", "phase");
    string = phase.has_value() ? std::optional<std::string>(*phase) : std::nullopt;
    end_of_stream = end;
  }

  FakeFactory& factory_;
  const uint32_t worker_;
  std::shared_ptr<request::Waker> waker_;
};

inline FakeFactory::Verdict FakeFactory::Forward(FakeExchange& exchange) {
  Verdict verdict;
  verdict.kind = Verdict::Kind::kForward;
  verdict.headers.set.push_back({"x-gateway-destination-endpoint", "192.168.1.2:8000"});
  if (exchange.body.size > 0) verdict.body.push_back(exchange.body.view());
  return verdict;
}

inline FakeFactory::Verdict FakeFactory::Immediate(int status, std::string body) {
  Verdict verdict;
  verdict.kind = Verdict::Kind::kImmediate;
  verdict.immediate.http_status = status;
  verdict.immediate.body = std::move(body);
  return verdict;
}

inline std::unique_ptr<request::Exchange> FakeFactory::NewExchange(
    uint32_t worker, std::shared_ptr<request::Waker> waker) {
  return std::make_unique<FakeExchange>(*this, worker, std::move(waker));
}

}  // namespace epp::extproc::testing
