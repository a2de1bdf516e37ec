// anthropic-parser: requests and responses of the Anthropic Messages API.
//
// Segments come in the order of the prompt: tools, system texts, then messages, each opened by a
// ROLE segment (empty when the message has no role). A tool use gives its id and name as TEXT and
// its input as JSON; a tool result gives its texts and images.
#include "epp/plugin.hpp"

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "plugins/common/request_json.hpp"
#include "plugins/common/sse.hpp"
#include "plugins/common/usage.hpp"

namespace {

using epp::json::Cursor;
using epp::json::RawString;
using epp::json::RequestBody;
using epp::json::Segments;
using Value = RequestBody::Value;

// Reads the members of one request that are its prompt, or are checked.
class Request {
 public:
  Request(const epp::Call& call, RequestBody& body)
      : body_(body), tools_(call), system_(call), messages_(call) {}

  bool Member(std::string_view key, Value& v) {
    if (key == "messages") {
      messages_.Truncate(0);
      count_ = 0;
      return body_.Elements(v, "messages", [&](Value& e) { return Message(e, count_++); });
    }
    if (key == "system") {
      system_.Truncate(0);
      return Content(v, system_, 0, "system", kSystem);
    }
    return key == "tools" ? Tools(v) : body_.Skip(v);
  }

  bool Finish(epp_parsed& out) {
    out.api = EPP_API_MESSAGES;
    out.prompt_count = 1;
    return body_.Finish({&tools_, &system_, &messages_});
  }

  uint32_t messages() const { return count_; }

 private:
  // Where content stands decides which of its blocks belong to the prompt.
  enum Place { kSystem, kMessage, kResult };

  bool Message(Value& v, uint32_t message) {
    const size_t at = messages_.size();
    if (!body_.Add(messages_, EPP_SEGMENT_ROLE, {}, message, 0, 0, true)) return false;
    RawString role;
    const bool ok = body_.Members(v, "messages[]", [&](std::string_view key, Value& member) {
      if (key == "role") return body_.String(member, "messages[].role", role);
      if (key != "content") return body_.Skip(member);
      messages_.Truncate(at + 1);
      return Content(member, messages_, message, "messages[].content", kMessage);
    });
    messages_[at].bytes = {role.bytes.data(), role.bytes.size()};
    messages_[at].flags = role.escaped ? EPP_SEGMENT_ESCAPED : 0;
    return ok;
  }

  bool Content(Value& v, Segments& to, uint32_t message, const char* field, Place place) {
    if (RequestBody::First(v) == '"') {
      RawString text;
      return body_.Quoted(v, text) && body_.Add(to, EPP_SEGMENT_TEXT, text, message);
    }
    return body_.Elements(v, field, [&](Value& e) { return Block(e, to, message, place); });
  }

  // A block's members may come in any order, so what it adds is decided when all are read.
  bool Block(Value& v, Segments& to, uint32_t message, Place place) {
    RawString type, text, id, name, thinking, data, url, ignored;
    std::string_view input;
    const size_t before = to.size();
    const bool ok = body_.Members(v, "content[]", [&](std::string_view key, Value& member) {
      if (key == "type") return body_.String(member, "content[].type", type);
      if (key == "text") return body_.String(member, "content[].text", text);
      if (key == "id") return body_.String(member, "content[].id", id);
      if (key == "name") return body_.String(member, "content[].name", name);
      if (key == "thinking") return body_.String(member, "content[].thinking", thinking);
      if (key == "tool_use_id") return body_.String(member, "content[].tool_use_id", ignored);
      if (key == "input") return body_.Raw(member, input);
      if (key == "content") {
        to.Truncate(before);
        // Results do not nest in this API; what a result within a result says is only checked.
        if (place == kResult) return body_.Skip(member);
        return Content(member, to, message, "content[].content", kResult);
      }
      if (key == "source") {
        return body_.Members(member, "source", [&](std::string_view k, Value& m) {
          if (k == "data") return body_.String(m, "source.data", data);
          if (k == "url") return body_.String(m, "source.url", url);
          if (k == "type") return body_.String(m, "source.type", ignored);
          if (k == "media_type") return body_.String(m, "source.media_type", ignored);
          return body_.Skip(m);
        });
      }
      return body_.Skip(member);
    });
    if (!ok || (place == kMessage && Equals(type, "tool_result"))) return ok;
    to.Truncate(before);
    if (Equals(type, "text")) return body_.Add(to, EPP_SEGMENT_TEXT, text, message);
    if (place != kSystem && Equals(type, "image")) {
      return data.bytes.empty()
                 ? body_.Add(to, EPP_SEGMENT_IMAGE, url, message)
                 : body_.Add(to, EPP_SEGMENT_IMAGE, data, message, EPP_SEGMENT_BASE64);
    }
    if (place != kMessage) return true;
    if (Equals(type, "thinking")) return body_.Add(to, EPP_SEGMENT_TEXT, thinking, message);
    if (Equals(type, "tool_use")) {
      return body_.Add(to, EPP_SEGMENT_TEXT, id, message) &&
             body_.Add(to, EPP_SEGMENT_TEXT, name, message) && body_.AddJson(to, input, message);
    }
    return true;
  }

  bool Tools(Value& v) {
    tools_.Truncate(0);
    std::string_view text;
    if (RequestBody::First(v) != '[') return body_.Container(v, "tools", '[', text);
    if (!body_.Span(v, text)) return false;
    Cursor cursor(text);
    bool any = false;
    const auto typed = [&](const char* field, const char* want, std::string_view starts) {
      if (starts.find(cursor.Peek()) == std::string_view::npos) {
        body_.Wrong(field, want, cursor.at());
      }
      return cursor.Skip();
    };
    const auto member = [&](const RawString& key) {
      if (Equals(key, "name")) return typed("tools[].name", "a string", "\"n");
      if (Equals(key, "description")) return typed("tools[].description", "a string", "\"n");
      if (Equals(key, "strict")) return typed("tools[].strict", "a bool", "tfn");
      if (Equals(key, "defer_loading")) return typed("tools[].defer_loading", "a bool", "tfn");
      return cursor.Skip();
    };
    const bool ok = cursor.Array([&] {
      any = true;
      return cursor.Peek() == '{' ? cursor.Object(member) : typed("tools[]", "an object", "n");
    });
    if (!ok || !cursor.End()) return body_.Refuse(cursor.reason(), cursor.at());
    return !any || body_.AddJson(tools_, text);
  }

  RequestBody& body_;
  Segments tools_;
  Segments system_;
  Segments messages_;
  uint32_t count_ = 0;  // messages
};

// The counts that matter in one usage object; -1 when absent.
struct Counts {
  int64_t input = -1;
  int64_t output = -1;
  int64_t cached = -1;
};

bool ReadCounts(Cursor& in, Counts& out) {
  bool is_object = false;
  if (!epp::usage::IsObjectElseSkip(in, is_object)) return false;
  return !is_object || in.Object([&](const RawString& key) {
    int64_t* const to = Equals(key, "input_tokens")              ? &out.input
                        : Equals(key, "output_tokens")           ? &out.output
                        : Equals(key, "cache_read_input_tokens") ? &out.cached
                                                                 : nullptr;
    const char c = in.Peek();
    if (to == nullptr || !(c == '-' || epp::json::IsDigit(c))) return in.Skip();
    return epp::usage::LooseCount(in, *to);
  });
}

// Adds what one object said. The total is the sum of what this chunk has.
void Merge(const Counts& from, epp_usage& out) {
  if (from.input >= 0) out.prompt_tokens = from.input;
  if (from.output >= 0) out.completion_tokens = from.output;
  if (from.cached >= 0) out.cached_tokens = from.cached;
  if (out.prompt_tokens >= 0 || out.completion_tokens >= 0) {
    out.total_tokens =
        std::max<int64_t>(out.prompt_tokens, 0) + std::max<int64_t>(out.completion_tokens, 0);
  }
}

// One event's payload. Returns true when it is of a type that carries counts.
bool ReadEvent(std::string_view payload, epp_usage& out) {
  if (!epp::usage::MayHaveUsage(payload)) return false;
  Cursor in(payload);
  RawString type;
  Counts outer, inner;
  const bool ok = in.Object([&](const RawString& key) {
    if (Equals(key, "type") && in.Peek() == '"') return in.String(type);
    if (Equals(key, "usage")) return ReadCounts(in, outer);
    if (!Equals(key, "message")) return in.Skip();
    bool is_object = false;
    if (!epp::usage::IsObjectElseSkip(in, is_object)) return false;
    return !is_object || in.Object([&](const RawString& k) {
      return Equals(k, "usage") ? ReadCounts(in, inner) : in.Skip();
    });
  });
  if (!ok || !in.AtEnd()) return false;
  if (Equals(type, "message_start")) {
    Merge({inner.input, -1, inner.cached}, out);
    return true;
  }
  if (!Equals(type, "message_delta")) return false;
  Merge({-1, outer.output, -1}, out);
  return true;
}

epp::Status ReadBody(std::string_view body, epp_usage& out) {
  if (!epp::usage::MayHaveUsage(body)) return {};
  Cursor in(body);
  Counts counts;
  const bool ok = in.Object([&](const RawString& key) {
    return Equals(key, "usage") ? ReadCounts(in, counts) : in.Skip();
  });
  if (!ok || !in.End()) return epp::usage::Malformed(in, body);
  Merge(counts, out);
  return {};
}

class AnthropicParser {
 public:
  static constexpr const char* kName = "anthropic-parser";
  static constexpr const char* kDoc = "Understands the Anthropic Messages API.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr std::array kSuffixes{"messages", "messages/count_tokens"};
  static constexpr std::array kProtocols{"kubernetes.io/h2c", "http"};

  static epp::Result<AnthropicParser> Create(const epp::Context& ctx) {
    return AnthropicParser(ctx.host().workers());
  }

  // Thread-safe: each worker has its own parser.
  epp::Status ParseRequest(const epp::Call& call, const epp_request& request,
                           epp_parsed& out) const {
    std::string_view path = epp::View(request.path);
    if (path.ends_with('/')) path.remove_suffix(1);
    if (path.ends_with("/messages/count_tokens")) {
      out.flags = EPP_PARSED_SKIP_RESPONSE;
      return {};
    }
    if (!path.ends_with("/messages")) {
      return epp::Status::Invalid("unsupported API endpoint: " +
                                  epp::json::Printable(epp::View(request.path)));
    }
    constexpr std::array<std::string_view, 1> kMaxKeys{"max_tokens"};
    RequestBody body(call, request, out);
    Request parts(call, body);
    const auto member = [&](std::string_view key, Value& v) { return parts.Member(key, v); };
    if (!body.Read(*pool_, kMaxKeys, member) || !parts.Finish(out)) {
      return epp::Status::Invalid("error unmarshaling request body: " + body.fault());
    }
    if (!body.wrong().empty()) {
      return epp::Status::Invalid("error parsing messages request: " + body.wrong());
    }
    if (parts.messages() == 0) {
      return epp::Status::Invalid("invalid messages request: must have at least one message");
    }
    return {};
  }

  epp::Status ParseResponse(const epp::Call& call, const epp_response_event& event,
                            epp_usage& out) const {
    const std::string_view bytes = epp::View(event.bytes);
    if (!(event.flags & EPP_CHUNK_SSE)) return ReadBody(bytes, out);
    epp::sse::EachData(
        call, bytes, event.flags & EPP_CHUNK_LAST, [](std::string_view) {},
        [&](std::string_view payload) { return ReadEvent(payload, out); });
    return {};
  }

 private:
  explicit AnthropicParser(uint32_t workers)
      : pool_(std::make_unique<epp::json::ParserPool>(workers)) {}
  std::unique_ptr<epp::json::ParserPool> pool_;
};

}  // namespace

EPP_LIBRARY("anthropic-parser", "0.1.0", AnthropicParser)
