// vllmhttp-parser: vLLM's token-in interface, /inference/v1/generate.
//
// Segments: the token ids, then, when the request has multimodal features, the whole "features"
// object as JSON.
#include "epp/plugin.hpp"

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "plugins/common/request_json.hpp"
#include "plugins/common/usage.hpp"

namespace {

using epp::json::Cursor;
using epp::json::RawString;
using epp::json::RequestBody;
using epp::json::Segments;
using Value = RequestBody::Value;

bool StartsNumber(char c) { return c == '-' || epp::json::IsDigit(c); }

// Reads the members of one request.
class Request {
 public:
  Request(const epp::Call& call, RequestBody& body) : body_(body), segments_(call) {}

  bool Member(std::string_view key, Value& v) {
    if (key == "token_ids") return TokenIds(v);
    if (key == "features") return Features(v);
    if (key != "sampling_params") return body_.Skip(v);
    limit_ = RequestBody::kNoLimit;
    return body_.Members(v, "sampling_params", [&](std::string_view k, Value& m) {
      return k == "max_tokens" ? body_.ReadLimit(m, limit_) : body_.Skip(m);
    });
  }

  bool Finish(epp_parsed& out) {
    out.api = EPP_API_GENERATE;
    out.prompt_count = 1;
    out.max_output_tokens = limit_;
    return body_.Add(segments_, EPP_SEGMENT_TOKEN_IDS, {tokens_, false}, 0) &&
           body_.AddJson(segments_, features_) && body_.Finish({&segments_});
  }

  bool has_tokens() const { return !tokens_.empty(); }
  const std::string& bad_token() const { return bad_token_; }

 private:
  bool TokenIds(Value& v) {
    tokens_ = {};
    bad_token_.clear();
    std::string_view text;
    if (RequestBody::First(v) != '[') return body_.Container(v, "token_ids", '[', text);
    if (!body_.Span(v, text)) return false;
    Cursor cursor(text);
    uint64_t index = 0;
    const bool ok = cursor.Array([&] {
      std::string_view number;
      uint32_t id = 0;
      if (!StartsNumber(cursor.Peek())) {
        Bad(index++, {});
        return cursor.Skip();
      }
      if (!cursor.Number(number)) return false;
      if (!epp::json::ToTokenId(number, id)) Bad(index, number);
      ++index;
      return true;
    });
    if (!ok || !cursor.End()) return body_.Refuse(cursor.reason(), cursor.at());
    if (index > 0) tokens_ = text;
    return true;
  }

  void Bad(uint64_t index, std::string_view number) {
    if (!bad_token_.empty()) return;
    char value[32] = "that is no number";
    if (!number.empty()) std::snprintf(value, sizeof(value), "%g", epp::json::ToDouble(number));
    bad_token_ = "token_ids[" + std::to_string(index) + "]: invalid value " + value;
  }

  // {"mm_hashes": {modality: [string]}, "mm_placeholders": {modality: [{"offset", "length"}]}}
  bool Features(Value& v) {
    features_ = {};
    std::string_view text;
    if (RequestBody::First(v) != '{') return body_.Container(v, "features", '{', text);
    if (!body_.Span(v, text)) return false;
    Cursor in(text);
    const auto wrong = [&](const char* field, const char* want) {
      if (in.Peek() != 'n') body_.Wrong(field, want, in.at());
      return in.Skip();
    };
    // An object of arrays, one a modality.
    const auto each = [&](const char* field, auto&& element) {
      if (in.Peek() != '{') return wrong(field, "an object");
      return in.Object([&](const RawString&) {
        return in.Peek() == '[' ? in.Array(element) : wrong(field, "arrays");
      });
    };
    const auto hash = [&] {
      return in.Peek() == '"' ? in.Skip() : wrong("features.mm_hashes", "strings");
    };
    constexpr const char* kRanges = "features.mm_placeholders";
    const auto bound = [&](const RawString& key) {
      if (!Equals(key, "offset") && !Equals(key, "length")) return in.Skip();
      if (!StartsNumber(in.Peek())) return wrong(kRanges, "integers");
      std::string_view number;
      int64_t value = 0;
      if (!in.Number(number)) return false;
      if (!epp::json::ToInt(number, value)) body_.Wrong(kRanges, "integers", number.data());
      return true;
    };
    const auto range = [&] {
      return in.Peek() == '{' ? in.Object(bound) : wrong(kRanges, "objects");
    };
    const bool ok = in.Object([&](const RawString& key) {
      if (Equals(key, "mm_hashes")) return each("features.mm_hashes", hash);
      if (Equals(key, "mm_placeholders")) return each(kRanges, range);
      return in.Skip();
    });
    if (!ok || !in.End()) return body_.Refuse(in.reason(), in.at());
    features_ = text;
    return true;
  }

  RequestBody& body_;
  Segments segments_;
  std::string_view tokens_;
  std::string_view features_;
  std::string bad_token_;
  int64_t limit_ = RequestBody::kNoLimit;
};

class VllmHttpParser {
 public:
  static constexpr const char* kName = "vllmhttp-parser";
  static constexpr const char* kDoc = "Understands vLLM's /inference/v1/generate.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr std::array kSuffixes{"inference/v1/generate"};
  static constexpr std::array kProtocols{"kubernetes.io/h2c", "http"};

  static epp::Result<VllmHttpParser> Create(const epp::Context& ctx) {
    return VllmHttpParser(ctx.host().workers());
  }

  // Thread-safe: each worker has its own parser.
  epp::Status ParseRequest(const epp::Call& call, const epp_request& request,
                           epp_parsed& out) const {
    std::string_view path = epp::View(request.path);
    if (path.ends_with('/')) path.remove_suffix(1);
    if (!path.ends_with("inference/v1/generate")) {
      return epp::Status::Invalid("unsupported path: " +
                                  epp::json::Printable(epp::View(request.path)));
    }
    RequestBody body(call, request, out);
    Request parts(call, body);
    const auto member = [&](std::string_view key, Value& v) { return parts.Member(key, v); };
    if (!body.Read(*pool_, {}, member)) {
      return epp::Status::Invalid("error unmarshaling request body: " + body.fault());
    }
    constexpr const char* kInvalid = "invalid generate request: ";
    if (!parts.bad_token().empty()) return epp::Status::Invalid(kInvalid + parts.bad_token());
    if (!body.wrong().empty()) return epp::Status::Invalid(kInvalid + body.wrong());
    if (!parts.has_tokens()) {
      return epp::Status::Invalid(std::string(kInvalid) + "must have non-empty token_ids field");
    }
    if (!parts.Finish(out)) return epp::Status::Invalid(kInvalid + body.fault());
    return {};
  }

  epp::Status ParseResponse(const epp::Call& call, const epp_response_event& event,
                            epp_usage& out) const {
    return epp::usage::ReadOpenAi(call, event, out);
  }

 private:
  explicit VllmHttpParser(uint32_t workers)
      : pool_(std::make_unique<epp::json::ParserPool>(workers)) {}
  std::unique_ptr<epp::json::ParserPool> pool_;
};

}  // namespace

EPP_LIBRARY("vllmhttp-parser", "0.1.0", VllmHttpParser)
