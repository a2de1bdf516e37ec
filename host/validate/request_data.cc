// The requests of world.h.
#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "host/base/str_cat.h"
#include "host/validate/check_host.h"
#include "host/validate/world.h"

namespace epp::validate {
namespace {

struct Piece {
  int32_t kind;
  uint32_t message;
  size_t at;
  size_t size;
};

constexpr std::string_view kWords[] = {"the ",  "quick ", "brown ", "fox ", "jumps ",
                                       "over ", "lazy ",  "dogs ",  "and ", "sleeps "};

std::string Prose(Random& random, size_t words) {
  std::string out;
  for (size_t i = 0; i < words; ++i) out += kWords[random.Below(std::size(kWords))];
  return out;
}

}  // namespace

epp_str RequestData::Keep(Memory& memory, const char* what, std::string_view text) {
  auto* const bytes = memory.Array<char>(what, text.size());
  std::memcpy(bytes, text.data(), text.size());
  return {text.empty() ? nullptr : bytes, text.size()};
}

RequestData::RequestData(uint64_t seed, uint64_t number, Memory& memory)
    : kind_(static_cast<RequestKind>(number % kRequestKinds)),
      with_body_(memory.Struct<epp_request>("epp_request")),
      without_body_(memory.Struct<epp_request>("epp_request")),
      tokens_(memory.Struct<epp_tokenized_prompt>("epp_tokenized_prompt")) {
  // Requests of one conversation share a prefix, so that caches have something to find.
  Random random(Random::Mix(seed, 100 + number / (2 * kRequestKinds)));
  epp_request& r = *with_body_;
  r.number = number + 1;
  r.request_id = Keep(memory, "request_id", StrCat("check-", number));
  const bool chat = kind_ == RequestKind::kChat || kind_ == RequestKind::kLongChat;
  r.path = Keep(memory, "path", chat ? "/v1/chat/completions" : "/v1/completions");
  r.fairness_id = Keep(memory, "fairness_id", "tenant-a");
  r.objective = Keep(memory, "objective", number % 3 == 0 ? "" : "interactive");
  r.priority = static_cast<int32_t>(random.Below(5)) - 2;
  r.received_ns = CheckHost::NowNs();
  static constexpr std::pair<std::string_view, std::string_view> kHeaders[] = {
      {":method", "POST"},
      {"content-type", "application/json"},
      {"user-agent", "epp-plugin-check"},
      {"x-session-token", "ZGVmYXVsdC9wb2QtMQ=="},
  };
  auto* const headers = memory.Array<epp_header>("headers", std::size(kHeaders));
  for (size_t i = 0; i < std::size(kHeaders); ++i) {
    headers[i] = {Keep(memory, "a header's name", kHeaders[i].first),
                  Keep(memory, "a header's value", kHeaders[i].second)};
  }
  r.headers = headers;
  r.header_count = std::size(kHeaders);
  if (kind_ == RequestKind::kBodyless) {
    r.flags = EPP_REQUEST_BODYLESS;
  } else {
    r.model = Keep(memory, "model", random.Below(2) == 0 ? "base" : "lora-a");
    r.target_model = r.model;
    Parsed(random, memory);
  }
  Tokens(random, memory);
  const uint32_t size = without_body_->struct_size;
  std::memcpy(static_cast<void*>(without_body_), with_body_, sizeof(epp_request));
  without_body_->struct_size = size;
  without_body_->body = {};
  without_body_->parsed = nullptr;
}

void RequestData::Parsed(Random& random, Memory& memory) {
  std::string body = StrCat("{\"model\":\"", View(with_body_->model), "\"");
  std::vector<Piece> pieces;
  const auto piece = [&](int32_t kind, uint32_t message, std::string_view text) {
    body += '"';
    pieces.push_back({kind, message, body.size(), text.size()});
    StrAppend(&body, text, "\"");
  };
  if (kind_ == RequestKind::kCompletion || kind_ == RequestKind::kUnparsed) {
    body += ",\"prompt\":";
    piece(EPP_SEGMENT_TEXT, 0, Prose(random, 40));
  } else {
    const size_t messages = kind_ == RequestKind::kLongChat ? 12 : 3;
    body += ",\"messages\":[";
    for (uint32_t m = 0; m < messages; ++m) {
      body += m == 0 ? "{\"role\":" : ",{\"role\":";
      piece(EPP_SEGMENT_ROLE, m, m == 0 ? "system" : m % 2 == 1 ? "user" : "assistant");
      body += ",\"content\":";
      piece(EPP_SEGMENT_TEXT, m, Prose(random, kind_ == RequestKind::kLongChat ? 300 : 20));
      body += '}';
    }
    body += ']';
  }
  body += ",\"max_tokens\":64,\"stream\":true}";

  // 64 readable zero bytes follow the body.
  auto* const bytes = memory.Array<char>("the body with its padding", body.size() + 64);
  std::memcpy(bytes, body.data(), body.size());
  with_body_->body = {bytes, body.size()};
  with_body_->body_size = body.size();
  if (kind_ == RequestKind::kUnparsed) return;

  auto* const segments = memory.Array<epp_segment>("segments", pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    segments[i] = {pieces[i].kind, 0, 0, pieces[i].message, {bytes + pieces[i].at, pieces[i].size}};
  }
  auto* const parsed = memory.Struct<epp_parsed>("epp_parsed");
  parsed->api = kind_ == RequestKind::kCompletion ? EPP_API_COMPLETIONS : EPP_API_CHAT;
  parsed->flags = EPP_PARSED_STREAM | EPP_PARSED_CAN_REWRITE | EPP_PARSED_MODEL_PRESENT;
  parsed->prompt_count = 1;
  parsed->segment_count = static_cast<uint32_t>(pieces.size());
  parsed->segments = segments;
  parsed->model = with_body_->model;
  parsed->max_output_tokens = 64;
  parsed->model_offset = body.find(':') + 1;
  parsed->model_size = with_body_->model.size + 2;
  parsed->member_count = 4;
  with_body_->parsed = parsed;
}

void RequestData::Tokens(Random& random, Memory& memory) {
  const size_t n = kind_ == RequestKind::kBodyless ? 0 : 64 + random.Below(2000);
  auto* const tokens = memory.Array<uint32_t>("tokens", n);
  for (size_t i = 0; i < n; ++i) tokens[i] = static_cast<uint32_t>(random.Below(32000));
  auto* const offsets = memory.Array<uint64_t>("offsets of prompts", 2);
  offsets[1] = n;
  tokens_->prompt_count = 1;
  tokens_->tokens = tokens;
  tokens_->offsets = offsets;
}

}  // namespace epp::validate
