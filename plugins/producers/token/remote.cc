#include "plugins/producers/token/remote.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "plugins/common/json_text.hpp"
#include "plugins/producers/token/render.h"

namespace token_producer {
namespace {

using epp::json::Cursor;
using epp::json::Equals;
using epp::json::RawString;

constexpr uint64_t kMaxAnswerBytes = uint64_t{256} << 20;
constexpr size_t kQuotedBytes = 1024;
constexpr int kWarmUps = 24;
constexpr uint64_t kWarmUpEveryNs = 5'000'000'000;

constexpr const char* kCompletions = "/v1/completions/render";
constexpr const char* kChat = "/v1/chat/completions/render";

epp::Status Unreadable(const Rendering& rendering, std::string_view why) {
  return {EPP_UNAVAILABLE, "the render endpoint's answer " + std::string(why) + ": " +
                               rendering.body.substr(0, kQuotedBytes)};
}

}  // namespace

Remote::Remote(epp::Host host, Settings settings)
    : host_(host),
      http_(host),
      timers_(host),
      settings_(std::move(settings)),
      quoted_model_(Quoted(settings_.model)) {}

void Remote::WarmUp(int attempt) const {
  const std::string body = "{\"model\":" + quoted_model_ + ",\"prompt\":\"warm up\"}";
  const auto again = [self = shared_from_this(), attempt](std::string_view why) {
    if (attempt == kWarmUps) {
      self->host_.Log(EPP_LOG_WARN, "the render endpoint does not answer: " + std::string(why));
      return;
    }
    (void)self->timers_.At(self->host_.mono_ns() + kWarmUpEveryNs,
                           [self, attempt] { self->WarmUp(attempt + 1); });
  };
  const std::string url = settings_.url + kCompletions;
  epp_header json{epp::Str("content-type"), epp::Str("application/json")};
  epp_http_request request{};
  request.struct_size = sizeof(request);
  request.method = epp::Str("POST");
  request.url = epp::Str(url);
  request.headers = &json;
  request.header_count = 1;
  request.body = epp::Str(body);
  request.timeout_ns = settings_.timeout_ns;
  const epp::Status sent =
      http_.Send(request, [self = shared_from_this(), again](const epp_http_response& response) {
        if (response.status == EPP_OK && response.http_status / 100 == 2) {
          self->host_.Log(EPP_LOG_DEBUG, "the render endpoint is warm");
        } else {
          again(response.status == EPP_OK ? "HTTP " + std::to_string(response.http_status)
                                          : std::string(epp::View(response.error)));
        }
      });
  if (!sent.ok()) again(sent.message());
}

epp::Status Remote::Start(const epp_request& request, epp::Completion done,
                          std::shared_ptr<Rendering>& rendering) const {
  const epp_parsed& parsed = *request.parsed;
  const std::string_view body = epp::View(request.body);
  std::string sent;
  uint64_t timeout = settings_.timeout_ns;
  auto made = std::make_shared<Rendering>();
  made->list = parsed.api == EPP_API_COMPLETIONS;
  if (parsed.api == EPP_API_COMPLETIONS || parsed.api == EPP_API_CHAT) {
    if (parsed.model_offset == 0) {
      return epp::Status::Invalid("the parser does not say where the model is");
    }
    sent = WithModel(body, parsed, quoted_model_);
  } else if (parsed.api == EPP_API_MESSAGES) {
    if (epp::Status status = ChatFromMessages(body, quoted_model_, sent); !status.ok()) {
      return status;
    }
  } else {
    return epp::Status::Invalid("requests of this kind cannot be rendered");
  }
  if (!made->list && HasListContent(body)) timeout = settings_.media_timeout_ns;
  epp::Status status = Send(made->list ? kCompletions : kChat, sent, timeout, done, made);
  if (status.ok()) rendering = std::move(made);
  return status;
}

epp::Status Remote::Send(const char* path, std::string_view body, uint64_t timeout_ns,
                         epp::Completion done, std::shared_ptr<Rendering> rendering) const {
  const std::string url = settings_.url + path;
  epp_header json{epp::Str("content-type"), epp::Str("application/json")};
  epp_http_request request{};
  request.struct_size = sizeof(request);
  request.method = epp::Str("POST");
  request.url = epp::Str(url);
  request.headers = &json;
  request.header_count = 1;
  request.body = epp::Str(body);
  request.timeout_ns = timeout_ns;
  request.max_body_bytes = kMaxAnswerBytes;
  return http_.Send(request,
                    [rendering = std::move(rendering), done](const epp_http_response& response) {
                      rendering->status = response.status;
                      rendering->http_status = response.http_status;
                      rendering->body = epp::View(response.body);
                      rendering->error = epp::View(response.error);
                      done();
                    });
}

epp::Status Remote::Read(const Rendering& rendering, const epp::Call& call,
                         epp_tokenized_prompt& out, std::string_view& features) {
  if (rendering.status != EPP_OK) {
    return {rendering.status, "the render endpoint does not answer: " + rendering.error};
  }
  if (rendering.http_status / 100 != 2) {
    return Unreadable(rendering, "is HTTP " + std::to_string(rendering.http_status));
  }
  const std::string_view text = rendering.body;
  const auto most = static_cast<size_t>(std::count(text.begin(), text.end(), ',')) + 1;
  auto* const ids = static_cast<uint32_t*>(
      call.raw().alloc(call.raw().arena, most * sizeof(uint32_t), alignof(uint32_t)));
  if (ids == nullptr) return {EPP_RESOURCE_EXHAUSTED, "more tokens than there is memory for"};
  std::vector<uint64_t> ends;
  size_t count = 0;
  Cursor in(text);
  const auto prompt = [&] {
    const size_t begin = count;
    const bool ok = in.Object([&](const RawString& key) {
      if (Equals(key, "features")) return in.Value(features);
      if (!Equals(key, "token_ids") || in.Peek() != '[') return in.Skip();
      count = begin;
      return in.Array([&] {
        std::string_view number;
        return count < most && in.Number(number) && epp::json::ToTokenId(number, ids[count++]);
      });
    });
    ends.push_back(count);
    return ok;
  };
  const bool ok = (rendering.list ? in.Array(prompt) : prompt()) && in.End();
  if (!ok) return Unreadable(rendering, "is not as vLLM writes it");
  auto* const offsets = call.Alloc<uint64_t>(ends.size() + 1);
  if (offsets == nullptr) return {EPP_RESOURCE_EXHAUSTED, "more prompts than there is memory for"};
  std::copy(ends.begin(), ends.end(), offsets + 1);
  out.prompt_count = static_cast<uint32_t>(ends.size());
  out.tokens = ids;
  out.offsets = offsets;
  if (features.empty() || features[0] != '{' || rendering.list) features = {};
  return {};
}

}  // namespace token_producer
