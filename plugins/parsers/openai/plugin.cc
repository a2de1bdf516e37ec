// openai-parser: requests and responses of the OpenAI-compatible APIs.
//
// Segments come in the order of the prompt, not of the body: tools first, then messages, each
// opened by a ROLE segment (empty when the message has no role). The parts of a responses request
// are JSON segments with message 0 (instructions), 1 (tools) and 2 (input).
#include "epp/plugin.hpp"

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "plugins/common/request_json.hpp"
#include "plugins/common/usage.hpp"

namespace {

using epp::json::RawString;
using epp::json::RequestBody;
using epp::json::Segments;
using Value = RequestBody::Value;

// One API: how its paths end, where its limit on output tokens is, and the answer to a bad request.
struct Api {
  int32_t id;
  std::string_view suffix;
  std::array<std::string_view, 2> max_keys;
  const char* invalid;
};

constexpr std::array kApis{
    Api{EPP_API_CONVERSATIONS,
        "/conversations",
        {},
        "invalid conversations request: must have items field"},
    Api{EPP_API_RESPONSES,
        "/responses",
        {"max_output_tokens"},
        "invalid responses request: must have input field"},
    Api{EPP_API_CHAT,
        "/chat/completions",
        {"max_completion_tokens", "max_tokens"},
        "invalid chat completions request: must have valid messages field"},
    Api{EPP_API_COMPLETIONS,
        "/completions",
        {"max_tokens"},
        "invalid completions request: must have prompt field"},
    Api{EPP_API_EMBEDDINGS, "/embeddings", {}, "invalid embeddings request: must have input field"},
    Api{EPP_API_IMAGES,
        "/images/generations",
        {},
        "invalid images generations request: must have prompt field"},
};
constexpr const Api& kCompletions = kApis[3];

const Api& ApiOf(std::string_view path) {
  if (path.ends_with('/')) path.remove_suffix(1);
  std::string_view plain = path;
  constexpr std::string_view kRender = "/render";
  if (plain.ends_with(kRender)) plain.remove_suffix(kRender.size());
  for (const Api& api : kApis) {
    const bool renders = api.id == EPP_API_CHAT || api.id == EPP_API_COMPLETIONS;
    if ((renders ? plain : path).ends_with(api.suffix)) return api;
  }
  return kCompletions;
}

// Reads the members of one request that are its prompt, or are checked.
class Request {
 public:
  Request(const epp::Call& call, const Api& api, RequestBody& body)
      : api_(api), body_(body), tools_(call), prompt_(call) {}

  bool Member(std::string_view key, Value& v) {
    switch (api_.id) {
      case EPP_API_CHAT:
        return ChatMember(key, v);
      case EPP_API_RESPONSES:
        if (key == "instructions") return body_.Raw(v, parts_[0]);
        if (key == "tools") return body_.Raw(v, parts_[1]);
        if (key == "input") return body_.Raw(v, parts_[2]);
        return body_.Skip(v);
      case EPP_API_CONVERSATIONS:
        if (key == "items") return Items(v);
        if (key == "metadata") return body_.Container(v, "metadata", '{', ignored_);
        return body_.Skip(v);
      case EPP_API_EMBEDDINGS:
        return key == "input" ? Prompts(v, "input") : body_.Skip(v);
      case EPP_API_IMAGES:
        return ImagesMember(key, v);
      default:
        return key == "prompt" ? Prompts(v, "prompt") : body_.Skip(v);
    }
  }

  // Fills out, once all members are read. False when something required is missing.
  bool Finish(epp_parsed& out) {
    out.api = api_.id;
    out.prompt_count = prompt_count_;
    if (api_.id == EPP_API_RESPONSES) {
      for (uint32_t i = 0; i < parts_.size(); ++i) {
        const bool given = !parts_[i].empty() && parts_[i] != "null";
        if (given && !body_.AddJson(prompt_, parts_[i], i)) return false;
        if (i == 2) complete_ = given;
      }
    }
    return complete_ && body_.Finish({&tools_, &prompt_});
  }

 private:
  bool ChatMember(std::string_view key, Value& v) {
    if (key == "messages") {
      prompt_.Truncate(0);
      uint32_t count = 0;
      const bool ok = body_.Elements(v, "messages", [&](Value& e) { return Message(e, count++); });
      complete_ = count > 0;
      return ok;
    }
    if (key == "tools") {
      std::string_view text;
      tools_.Truncate(0);
      if (!body_.Container(v, "tools", '[', text)) return false;
      const bool none = text.empty() || epp::json::Cursor(text.substr(1)).Peek() == ']';
      return none || body_.AddJson(tools_, text);
    }
    if (key == "documents") return body_.Container(v, "documents", '[', ignored_);
    if (key == "chat_template") return body_.String(v, "chat_template", text_);
    if (key == "chat_template_kwargs") {
      return body_.Container(v, "chat_template_kwargs", '{', ignored_);
    }
    for (const char* flag :
         {"return_assistant_tokens_mask", "continue_final_message", "add_generation_prompt"}) {
      if (key == flag) return body_.Bool(v, flag);
    }
    return body_.Skip(v);
  }

  bool Message(Value& v, uint32_t message) {
    // The role opens the message, wherever the client wrote it.
    const size_t at = prompt_.size();
    if (!body_.Add(prompt_, EPP_SEGMENT_ROLE, {}, message, 0, 0, true)) return false;
    RawString role;
    const bool ok = body_.Members(v, "messages[]", [&](std::string_view key, Value& member) {
      if (key == "role") return body_.String(member, "messages[].role", role);
      if (key == "content") {
        prompt_.Truncate(at + 1);
        return Content(member, message);
      }
      if (key == "tool_calls") {
        return body_.Container(member, "messages[].tool_calls", '[', ignored_);
      }
      return body_.Skip(member);
    });
    prompt_[at].bytes = {role.bytes.data(), role.bytes.size()};
    prompt_[at].flags = role.escaped ? EPP_SEGMENT_ESCAPED : 0;
    return ok;
  }

  bool Content(Value& v, uint32_t message) {
    if (RequestBody::First(v) == '"') {
      RawString text;
      return body_.Quoted(v, text) && body_.Add(prompt_, EPP_SEGMENT_TEXT, text, message);
    }
    return body_.Elements(v, "messages[].content", [&](Value& e) { return Block(e, message); });
  }

  bool Block(Value& v, uint32_t message) {
    RawString type, text, image, data, format, video;
    const auto one = [&](Value& object, const char* field, std::string_view name,
                         const char* name_field, RawString& out) {
      return body_.Members(object, field, [&](std::string_view key, Value& member) {
        return key == name ? body_.String(member, name_field, out) : body_.Skip(member);
      });
    };
    const bool ok = body_.Members(v, "content[]", [&](std::string_view key, Value& member) {
      if (key == "type") return body_.String(member, "content[].type", type);
      if (key == "text") return body_.String(member, "content[].text", text);
      if (key == "image_url") return one(member, "image_url", "url", "image_url.url", image);
      if (key == "video_url") return one(member, "video_url", "url", "video_url.url", video);
      if (key == "input_audio") {
        return body_.Members(member, "input_audio", [&](std::string_view k, Value& m) {
          if (k == "data") return body_.String(m, "input_audio.data", data);
          if (k == "format") return body_.String(m, "input_audio.format", format);
          return body_.Skip(m);
        });
      }
      return body_.Skip(member);
    });
    if (!ok) return false;
    if (Equals(type, "text")) return body_.Add(prompt_, EPP_SEGMENT_TEXT, text, message);
    if (Equals(type, "image_url")) return Media(EPP_SEGMENT_IMAGE, image, message);
    if (Equals(type, "video_url")) return Media(EPP_SEGMENT_VIDEO, video, message);
    if (Equals(type, "input_audio")) {
      return body_.Add(prompt_, EPP_SEGMENT_AUDIO, data, message, EPP_SEGMENT_BASE64, 0, true) &&
             body_.Add(prompt_, EPP_SEGMENT_TEXT, format, message, EPP_SEGMENT_FORMAT, 0, true);
    }
    return true;
  }

  bool Media(int32_t kind, const RawString& url, uint32_t message) {
    return body_.Add(prompt_, kind, url, message, 0, 0, true);
  }

  // A string, several strings, or token ids. The input of embeddings stays one JSON value.
  bool Prompts(Value& v, const char* field) {
    prompt_.Truncate(0);
    complete_ = false;
    prompt_count_ = 1;
    std::string_view text;
    if (!body_.Span(v, text)) return false;
    if (text.front() != '[') {
      if (!body_.Check(text)) return false;
      if (text.front() != '"') return Unfit(text, field);
      RawString s;
      epp::json::Cursor(text).String(s);
      complete_ = !s.bytes.empty();
      return api_.id == EPP_API_EMBEDDINGS ? body_.AddJson(prompt_, text)
                                           : body_.Add(prompt_, EPP_SEGMENT_TEXT, s, 0);
    }
    return Array(text, field);
  }

  bool Array(std::string_view text, const char* field) {
    epp::json::Cursor cursor(text);
    uint32_t count = 0;
    bool strings = false, numbers = false, fit = true;
    const bool ok = cursor.Array([&] {
      const char c = cursor.Peek();
      if (c == '"') {
        RawString s;
        strings = true;
        return cursor.String(s) && (api_.id == EPP_API_EMBEDDINGS || Text(cursor, s, count++));
      }
      std::string_view number;
      uint32_t id;
      if (c != '-' && !epp::json::IsDigit(c)) return fit = false, cursor.Skip();
      numbers = true;
      if (!cursor.Number(number)) return false;
      fit = fit && epp::json::ToTokenId(number, id);
      return true;
    });
    if (!ok || !cursor.End()) return body_.Refuse(cursor.reason(), cursor.at());
    if (!fit || (strings && numbers)) return Unfit(text, field);
    complete_ = strings || numbers;
    if (!complete_) return true;
    prompt_count_ = std::max(count, 1u);
    if (numbers) return body_.Add(prompt_, EPP_SEGMENT_TOKEN_IDS, {text, false}, 0);
    return api_.id != EPP_API_EMBEDDINGS || body_.AddJson(prompt_, text);
  }

  bool Text(epp::json::Cursor& cursor, const RawString& s, uint32_t prompt) {
    return body_.Add(prompt_, EPP_SEGMENT_TEXT, s, 0, 0, prompt, true) ||
           cursor.Fault("too many prompts");
  }

  bool Unfit(std::string_view text, const char* field) {
    body_.Wrong(field, "a string, strings, or token ids", text.data());
    return true;
  }

  bool Items(Value& v) {
    prompt_.Truncate(0);
    complete_ = false;
    if (RequestBody::First(v) != '[') return body_.Container(v, "items", '[', ignored_);
    std::string_view text;
    if (!body_.Span(v, text)) return false;
    epp::json::Cursor cursor(text);
    const auto member = [&](const RawString& key) {
      const char* const field = Equals(key, "type")   ? "items[].type"
                                : Equals(key, "role") ? "items[].role"
                                                      : nullptr;
      const char c = cursor.Peek();
      if (field && c != '"' && c != 'n') body_.Wrong(field, "a string", cursor.at());
      return cursor.Skip();
    };
    const bool ok = cursor.Array([&] {
      complete_ = true;
      if (cursor.Peek() == '{') return cursor.Object(member);
      if (cursor.Peek() != 'n') body_.Wrong("items[]", "an object", cursor.at());
      return cursor.Skip();
    });
    if (!ok || !cursor.End()) return body_.Refuse(cursor.reason(), cursor.at());
    return body_.AddJson(prompt_, text);
  }

  bool ImagesMember(std::string_view key, Value& v) {
    if (key == "n") return body_.Integer(v, "n");
    if (key == "num_inference_steps") return body_.Integer(v, "num_inference_steps");
    if (key == "size") return body_.String(v, "size", text_);
    if (key != "prompt") return body_.Skip(v);
    RawString text;
    prompt_.Truncate(0);
    if (!body_.String(v, "prompt", text)) return false;
    complete_ = !text.bytes.empty();
    return body_.Add(prompt_, EPP_SEGMENT_TEXT, text, 0);
  }

  const Api& api_;
  RequestBody& body_;
  Segments tools_;
  Segments prompt_;
  std::array<std::string_view, 3> parts_;  // of a responses request
  uint32_t prompt_count_ = 1;
  bool complete_ = false;  // what the API requires is there
  std::string_view ignored_;
  RawString text_;
};

class OpenAiParser {
 public:
  static constexpr const char* kName = "openai-parser";
  static constexpr const char* kDoc =
      "Understands the OpenAI APIs: completions, chat, responses, conversations, embeddings, "
      "images.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr std::array kSuffixes{"chat/completions",   "completions",
                                        "embeddings",         "responses",
                                        "conversations",      "chat/completions/render",
                                        "completions/render", "images/generations"};
  static constexpr std::array kProtocols{"kubernetes.io/h2c", "http"};

  static epp::Result<OpenAiParser> Create(const epp::Context& ctx) {
    return OpenAiParser(ctx.host().workers());
  }

  // Thread-safe: each worker has its own parser.
  epp::Status ParseRequest(const epp::Call& call, const epp_request& request,
                           epp_parsed& out) const {
    const Api& api = ApiOf(epp::View(request.path));
    RequestBody body(call, request, out);
    Request parts(call, api, body);
    const auto member = [&](std::string_view key, Value& v) { return parts.Member(key, v); };
    const auto key_count =
        api.max_keys.size() - std::count(api.max_keys.begin(), api.max_keys.end(), "");
    const bool read = body.Read(*pool_, std::span(api.max_keys).first(key_count), member);
    const bool complete = read && parts.Finish(out);
    if (!body.fault().empty()) {
      return epp::Status::Invalid("error unmarshaling request bodyMap: " + body.fault());
    }
    if (complete && body.wrong().empty()) return {};
    std::string message = api.invalid;
    if (!body.wrong().empty()) message += " (" + body.wrong() + ")";
    return epp::Status::Invalid(std::move(message));
  }

  epp::Status ParseResponse(const epp::Call& call, const epp_response_event& event,
                            epp_usage& out) const {
    return epp::usage::ReadOpenAi(call, event, out);
  }

 private:
  explicit OpenAiParser(uint32_t workers)
      : pool_(std::make_unique<epp::json::ParserPool>(workers)) {}
  std::unique_ptr<epp::json::ParserPool> pool_;
};

}  // namespace

EPP_LIBRARY("openai-parser", "0.1.0", OpenAiParser)
