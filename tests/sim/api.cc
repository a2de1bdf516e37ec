#include "tests/sim/api.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"
#include "tests/sim/prompt.h"
#include "tests/sim/text.h"

namespace epp::sim {
namespace {

// Ordered, so that the text looks like vLLM's.
using Json = nlohmann::ordered_json;

constexpr size_t kMaxPrompts = 256;
constexpr uint32_t kMaxOutputTokens = 1u << 20;
constexpr uint32_t kMaxDimensions = 4096;

constexpr std::array<std::pair<std::string_view, ApiKind>, 6> kPaths = {{
    {"/v1/completions", ApiKind::kCompletions},
    {"/v1/chat/completions", ApiKind::kChat},
    {"/v1/messages", ApiKind::kMessages},
    {"/v1/responses", ApiKind::kResponses},
    {"/v1/embeddings", ApiKind::kEmbeddings},
    {"/inference/v1/generate", ApiKind::kGenerate},
}};

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The member, or null when it is absent, JSON's null, or `object` is none.
const Json* Find(const Json* object, const char* key) {
  if (object == nullptr || !object->is_object()) return nullptr;
  const auto it = object->find(key);
  return it == object->end() || it->is_null() ? nullptr : &*it;
}

bool Flag(const Json* object, const char* key) {
  const Json* member = Find(object, key);
  return member != nullptr && member->is_boolean() && member->get<bool>();
}

std::string Text(const Json* object, const char* key) {
  const Json* member = Find(object, key);
  return member != nullptr && member->is_string() ? member->get<std::string>() : std::string();
}

absl::Status ReadCount(const Json* object, const char* key, uint32_t limit,
                       std::optional<uint32_t>* out) {
  const Json* member = Find(object, key);
  if (member == nullptr) return absl::OkStatus();
  if (!member->is_number_unsigned() || member->get<uint64_t>() > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": got ", Dump(*member), ", want an integer in [0, ", limit, "]"));
  }
  *out = member->get<uint32_t>();
  return absl::OkStatus();
}

bool IsTokenList(const Json& json) {
  return json.is_array() && !json.empty() &&
         std::all_of(json.begin(), json.end(), [](const Json& token) {
           return token.is_number_unsigned() && token.get<uint64_t>() <= UINT32_MAX;
         });
}

std::string TokenBytes(const Json& tokens) {
  std::vector<uint32_t> ids;
  ids.reserve(tokens.size());
  for (const Json& token : tokens) ids.push_back(token.get<uint32_t>());
  return BytesOfTokens(ids);
}

// A prompt or input: text, token ids, or a list of either.
absl::Status ReadPrompts(const Json* value, const char* key, std::vector<std::string>* out) {
  const auto read_one = [out](const Json& one) {
    if (one.is_string() && !one.get_ref<const std::string&>().empty()) {
      out->push_back(one.get<std::string>());
    } else if (IsTokenList(one)) {
      out->push_back(TokenBytes(one));
    } else {
      return false;
    }
    return true;
  };
  if (value != nullptr) {
    if (read_one(*value)) return absl::OkStatus();
    if (value->is_array() && !value->empty() && value->size() <= kMaxPrompts &&
        std::all_of(value->begin(), value->end(), read_one)) {
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": missing or empty, want a text, token ids, or a list of at most ",
                   kMaxPrompts, " of either"));
}

// Text parts are joined; any other part counts as its JSON.
std::string ContentText(const Json* content) {
  if (content == nullptr) return {};
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) return Dump(*content);
  std::string text;
  for (const Json& part : *content) {
    const Json* inner = Find(&part, "text");
    text += inner != nullptr && inner->is_string() ? inner->get<std::string>() : Dump(part);
  }
  return text;
}

// A chat template. A later turn of a conversation begins with exactly the bytes of an earlier
// prompt followed by its answer, so that prefix reuse works as with a real one.
absl::Status ReadMessages(const Json* body, const char* key, std::vector<std::string>* out) {
  const Json* messages = Find(body, key);
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": missing or empty, want a list of messages"));
  }
  std::string prompt;
  if (const Json* tools = Find(body, "tools")) absl::StrAppend(&prompt, "<|tools|>", Dump(*tools));
  if (const Json* system = Find(body, "system")) {
    absl::StrAppend(&prompt, "<|system|>", ContentText(system));
  }
  for (const Json& message : *messages) {
    const std::string role = Text(&message, "role");
    if (role.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(key, ": every message needs a role"));
    }
    absl::StrAppend(&prompt, "<|", role, "|>", ContentText(Find(&message, "content")));
    if (const Json* calls = Find(&message, "tool_calls")) prompt += Dump(*calls);
  }
  prompt += "<|assistant|>";
  out->push_back(std::move(prompt));
  return absl::OkStatus();
}

absl::Status ReadTokenIds(const Json* body, std::vector<std::string>* out) {
  const Json* tokens = Find(body, "token_ids");
  if (tokens == nullptr || !IsTokenList(*tokens)) {
    return absl::InvalidArgumentError("token_ids: missing, want a non-empty list of token ids");
  }
  out->push_back(TokenBytes(*tokens));
  return absl::OkStatus();
}

absl::Status ReadPrompts(const Json& body, ApiRequest* request) {
  switch (request->kind) {
    case ApiKind::kCompletions:
      return ReadPrompts(Find(&body, "prompt"), "prompt", &request->prompts);
    case ApiKind::kEmbeddings:
      return ReadPrompts(Find(&body, "input"), "input", &request->prompts);
    case ApiKind::kChat:
    case ApiKind::kMessages:
      return ReadMessages(&body, "messages", &request->prompts);
    case ApiKind::kResponses: {
      const Json* input = Find(&body, "input");
      if (input == nullptr || !input->is_string()) {
        return ReadMessages(&body, "input", &request->prompts);
      }
      request->prompts.push_back(
          absl::StrCat("<|user|>", input->get<std::string>(), "<|assistant|>"));
      return absl::OkStatus();
    }
    case ApiKind::kGenerate:
      return ReadTokenIds(&body, &request->prompts);
  }
  return absl::InternalError("unknown endpoint");
}

// Images, sounds and films of a chat, by content.
void ReadMedia(const Json& body, ApiRequest* request) {
  const Json* messages = Find(&body, "messages");
  if (messages == nullptr || !messages->is_array()) return;
  for (const Json& message : *messages) {
    const Json* content = Find(&message, "content");
    if (content == nullptr || !content->is_array()) continue;
    for (const Json& part : *content) {
      const std::string type = Text(&part, "type");
      if (type != "image_url" && type != "audio_url" && type != "video_url" &&
          type != "input_audio") {
        continue;
      }
      const std::string url = Text(Find(&part, type.c_str()), "url");
      std::string hash = absl::StrCat(absl::Hex(HashText(url.empty() ? Dump(part) : url)));
      if (std::find(request->media.begin(), request->media.end(), hash) == request->media.end()) {
        request->media.push_back(std::move(hash));
      }
    }
  }
}

uint64_t Sum(const ApiAnswer& answer, uint32_t ApiChoice::*field) {
  uint64_t sum = 0;
  for (const ApiChoice& choice : answer.choices) sum += choice.*field;
  return sum;
}

Json Usage(const ApiAnswer& answer) {
  const uint64_t prompt = Sum(answer, &ApiChoice::prompt_tokens);
  const uint64_t output = Sum(answer, &ApiChoice::output_tokens);
  return {{"prompt_tokens", prompt},
          {"total_tokens", prompt + output},
          {"completion_tokens", output},
          {"prompt_tokens_details", {{"cached_tokens", Sum(answer, &ApiChoice::cached_tokens)}}}};
}

Json MessagesUsage(const ApiAnswer& answer) {
  return {{"input_tokens", Sum(answer, &ApiChoice::prompt_tokens)},
          {"output_tokens", Sum(answer, &ApiChoice::output_tokens)},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", Sum(answer, &ApiChoice::cached_tokens)}};
}

std::string GeneratedText(const ApiChoice& choice) {
  return choice.text.substr(0, size_t{choice.output_tokens} * kBytesPerToken);
}

std::string LastToken(const ApiChoice& choice) {
  const size_t begin = size_t{choice.output_tokens - 1} * kBytesPerToken;
  return begin < choice.text.size() ? choice.text.substr(begin, kBytesPerToken) : std::string();
}

// The ids that BytesOfTokens would turn into the text.
Json TokenIds(std::string_view text) {
  Json ids = Json::array();
  for (; text.size() >= kBytesPerToken; text.remove_prefix(kBytesPerToken)) {
    uint32_t id = 0;
    for (uint32_t i = 0; i < kBytesPerToken; ++i) {
      id |= uint32_t{static_cast<uint8_t>(text[i])} << (8 * i);
    }
    ids.push_back(id);
  }
  return ids;
}

const char* FinishReason(const ApiAnswer& answer, const ApiChoice& choice) {
  if (answer.declined) return "cache_threshold";
  if (answer.request.remote_decode && !answer.hands_over) return "remote_decode";
  return choice.reached_limit ? "length" : "stop";
}

const char* StopReason(const ApiChoice& choice) {
  return choice.reached_limit ? "max_tokens" : "end_turn";
}

Json KvTransferParams(const ApiAnswer& answer) {
  if (answer.hands_over) return answer.kv_params.empty() ? Json() : Json::parse(answer.kv_params);
  if (!answer.request.remote_decode) return nullptr;
  return {{"do_remote_decode", false},
          {"do_remote_prefill", true},
          {"remote_block_ids", Json::array({"0"})},
          {"remote_engine_id", answer.server},
          {"remote_host", "127.0.0.1"},
          {"remote_port", 5600},
          {"tp_size", 1}};
}

Json Envelope(const ApiAnswer& answer, const char* object) {
  return {{"id", answer.id},
          {"object", object},
          {"created", answer.created_s},
          {"model", answer.model},
          {"system_fingerprint", answer.server}};
}

Json PlainChoice(const ApiAnswer& answer, size_t index) {
  const ApiChoice& choice = answer.choices[index];
  Json json = {{"index", index}};
  const std::string text = GeneratedText(choice);
  if (answer.request.kind == ApiKind::kChat) {
    json["message"] = {{"role", "assistant"}, {"content", text}};
  } else if (answer.request.kind == ApiKind::kGenerate) {
    json["token_ids"] = TokenIds(text);
  } else {
    json["text"] = text;
  }
  json["logprobs"] = nullptr;
  json["finish_reason"] = FinishReason(answer, choice);
  return json;
}

Json MessagesPlain(const ApiAnswer& answer) {
  const ApiChoice& choice = answer.choices.front();
  Json content = {{"type", "text"}, {"text", GeneratedText(choice)}};
  return {{"id", answer.id},          {"type", "message"},
          {"role", "assistant"},      {"content", Json::array({std::move(content)})},
          {"model", answer.model},    {"stop_reason", StopReason(choice)},
          {"stop_sequence", nullptr}, {"usage", MessagesUsage(answer)}};
}

Json ResponsesPart(std::string text) {
  return {{"type", "output_text"}, {"text", std::move(text)}, {"annotations", Json::array()}};
}

Json ResponsesItem(const ApiAnswer& answer, std::string text) {
  return {{"type", "message"},
          {"id", absl::StrCat("msg_", answer.id)},
          {"role", "assistant"},
          {"status", "completed"},
          {"content", Json::array({ResponsesPart(std::move(text))})}};
}

// The answer of /v1/responses; while it is `in_progress` it has no output yet.
Json ResponsesPlain(const ApiAnswer& answer, bool in_progress) {
  const ApiChoice& choice = answer.choices.front();
  const char* const status = in_progress            ? "in_progress"
                             : choice.reached_limit ? "incomplete"
                                                    : "completed";
  Json body = {{"id", answer.id},         {"object", "response"},  {"created_at", answer.created_s},
               {"status", status},        {"model", answer.model}, {"incomplete_details", nullptr},
               {"output", Json::array()}, {"usage", nullptr}};
  if (in_progress) return body;
  if (choice.reached_limit) body["incomplete_details"] = {{"reason", "max_output_tokens"}};
  body["output"].push_back(ResponsesItem(answer, GeneratedText(choice)));
  const uint64_t prompt = choice.prompt_tokens;
  const uint64_t output = choice.output_tokens;
  body["usage"] = {{"input_tokens", prompt},
                   {"input_tokens_details", {{"cached_tokens", choice.cached_tokens}}},
                   {"output_tokens", output},
                   {"output_tokens_details", {{"reasoning_tokens", 0}}},
                   {"total_tokens", prompt + output}};
  return body;
}

Json EmbeddingsPlain(const ApiAnswer& answer) {
  Json data = Json::array();
  for (size_t i = 0; i < answer.choices.size(); ++i) {
    Json vector = Json::array();
    const double seed = static_cast<double>(HashText(answer.request.prompts[i]) >> 40);
    for (uint32_t d = 0; d < answer.request.dimensions; ++d) vector.push_back(std::sin(seed + d));
    data.push_back({{"index", i}, {"object", "embedding"}, {"embedding", std::move(vector)}});
  }
  Json usage = Usage(answer);
  return {{"id", answer.id},       {"object", "list"},        {"created", answer.created_s},
          {"model", answer.model}, {"data", std::move(data)}, {"usage", std::move(usage)}};
}

std::string Data(const Json& json) { return absl::StrCat("data: ", Dump(json), "\n\n"); }

std::string Event(const char* name, Json json) {
  return absl::StrCat("event: ", name, "\n", Data(json));
}

// An event of a stream of /v1/responses.
std::string ResponsesEvent(const char* type, uint64_t number, Json more) {
  Json json = {{"type", type}, {"sequence_number", number}};
  json.update(more);
  return Event(type, std::move(json));
}

std::string ResponsesStart(const ApiAnswer& answer) {
  const Json response = {{"response", ResponsesPlain(answer, true)}};
  Json item = ResponsesItem(answer, "");
  item["status"] = "in_progress";
  const std::string id = item["id"];
  item["content"] = Json::array();
  return ResponsesEvent("response.created", 0, response) +
         ResponsesEvent("response.in_progress", 1, response) +
         ResponsesEvent("response.output_item.added", 2,
                        {{"output_index", 0}, {"item", std::move(item)}}) +
         ResponsesEvent("response.content_part.added", 3,
                        {{"item_id", id},
                         {"output_index", 0},
                         {"content_index", 0},
                         {"part", ResponsesPart("")}});
}

std::string ResponsesToken(const ApiAnswer& answer, const std::string& text) {
  return ResponsesEvent("response.output_text.delta",
                        uint64_t{3} + answer.choices.front().output_tokens,
                        {{"item_id", absl::StrCat("msg_", answer.id)},
                         {"output_index", 0},
                         {"content_index", 0},
                         {"delta", text}});
}

std::string ResponsesFinish(const ApiAnswer& answer) {
  const std::string text = GeneratedText(answer.choices.front());
  const Json where = {
      {"item_id", absl::StrCat("msg_", answer.id)}, {"output_index", 0}, {"content_index", 0}};
  const uint64_t number = uint64_t{4} + answer.choices.front().output_tokens;
  Json done = where;
  done["text"] = text;
  Json part = where;
  part["part"] = ResponsesPart(text);
  const char* const last =
      answer.choices.front().reached_limit ? "response.incomplete" : "response.completed";
  return ResponsesEvent("response.output_text.done", number, std::move(done)) +
         ResponsesEvent("response.content_part.done", number + 1, std::move(part)) +
         ResponsesEvent("response.output_item.done", number + 2,
                        {{"output_index", 0}, {"item", ResponsesItem(answer, text)}}) +
         ResponsesEvent(last, number + 3, {{"response", ResponsesPlain(answer, false)}});
}

std::string ChunkWith(const ApiAnswer& answer, Json choices) {
  Json chunk;
  if (answer.request.kind == ApiKind::kGenerate) {
    chunk = {{"request_id", answer.id}};
  } else {
    chunk = Envelope(answer, answer.request.kind == ApiKind::kChat ? "chat.completion.chunk"
                                                                   : "text_completion");
  }
  const bool last = choices.empty();
  chunk["choices"] = std::move(choices);
  if (last) chunk["usage"] = Usage(answer);
  return Data(chunk);
}

Json DeltaChoice(const ApiAnswer& answer, size_t index, std::string_view text, Json finish_reason) {
  Json json = {{"index", index}};
  if (answer.request.kind == ApiKind::kChat) {
    json["delta"] = text.empty() ? Json::object() : Json{{"content", text}};
  } else if (answer.request.kind == ApiKind::kGenerate) {
    json["token_ids"] = TokenIds(text);
  } else {
    json["text"] = text;
  }
  json["logprobs"] = nullptr;
  json["finish_reason"] = std::move(finish_reason);
  return json;
}

}  // namespace

std::optional<ApiKind> ApiKindOfPath(std::string_view path) {
  if (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  for (const auto& [known, kind] : kPaths) {
    if (path == known) return kind;
  }
  return std::nullopt;
}

absl::StatusOr<ApiRequest> ParseApiRequest(ApiKind kind, std::string_view text) {
  const Json body = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!body.is_object()) {
    return absl::InvalidArgumentError(body.is_discarded() ? "body: not valid JSON"
                                                          : "body: want a JSON object");
  }
  ApiRequest request;
  request.kind = kind;
  request.model = Text(&body, "model");
  request.stream = Flag(&body, "stream");
  request.include_usage = Flag(Find(&body, "stream_options"), "include_usage");
  request.cache_salt = Text(&body, "cache_salt");
  request.request_id = Text(&body, "request_id");
  if (absl::Status status = ReadPrompts(body, &request); !status.ok()) return status;

  const Json* sampling = kind == ApiKind::kGenerate ? Find(&body, "sampling_params") : &body;
  request.ignore_eos = Flag(sampling, "ignore_eos");
  std::optional<uint32_t> min_tokens, dimensions;
  for (const absl::Status& status :
       {ReadCount(sampling, "max_tokens", kMaxOutputTokens, &request.max_tokens),
        ReadCount(sampling, "max_completion_tokens", kMaxOutputTokens, &request.max_tokens),
        ReadCount(kind == ApiKind::kResponses ? sampling : nullptr, "max_output_tokens",
                  kMaxOutputTokens, &request.max_tokens),
        ReadCount(sampling, "min_tokens", kMaxOutputTokens, &min_tokens),
        ReadCount(&body, "dimensions", kMaxDimensions, &dimensions)}) {
    if (!status.ok()) return status;
  }
  request.min_tokens = min_tokens.value_or(0);
  request.dimensions = dimensions.value_or(request.dimensions);
  if (request.max_tokens == 0u) {
    return absl::InvalidArgumentError("max_tokens: got 0, want at least 1");
  }

  const Json* transfer = Find(&body, "kv_transfer_params");
  if (transfer == nullptr) {
    transfer = Find(Find(sampling, "extra_args"), "kv_transfer_params");
  }
  if (transfer != nullptr) request.kv_params = Dump(*transfer);
  if (const Json* ec = Find(&body, "ec_transfer_params")) request.ec_params = Dump(*ec);
  Json bootstrap = Json::object();
  for (const char* key : {"bootstrap_host", "bootstrap_port", "bootstrap_room"}) {
    if (const Json* member = Find(&body, key)) bootstrap[key] = *member;
  }
  if (!bootstrap.empty()) request.bootstrap = Dump(bootstrap);
  if (kind == ApiKind::kChat) ReadMedia(body, &request);
  if (const Json* threshold = Find(&body, "cache_hit_threshold")) {
    if (!threshold->is_number() ||
        !(threshold->get<double>() >= 0 && threshold->get<double>() <= 1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("cache_hit_threshold: got ", Dump(*threshold), ", want a number in [0, 1]"));
    }
    request.cache_hit_threshold = threshold->get<double>();
  }
  request.remote_decode = Flag(transfer, "do_remote_decode");
  request.remote_prefill = Flag(transfer, "do_remote_prefill");
  if (request.remote_decode && request.stream) {
    return absl::InvalidArgumentError("do_remote_decode: not possible with stream");
  }
  return request;
}

std::string RenderBody(const ApiRequest& request) {
  if (request.kind == ApiKind::kChat) {
    return Dump(Json{{"token_ids", TokenIds(request.prompts.front())}, {"features", nullptr}});
  }
  Json list = Json::array();
  for (const std::string& prompt : request.prompts) {
    list.push_back(Json{{"token_ids", TokenIds(prompt)}});
  }
  return Dump(list);
}

std::string PlainBody(const ApiAnswer& answer) {
  const ApiKind kind = answer.request.kind;
  if (kind == ApiKind::kMessages) return Dump(MessagesPlain(answer));
  if (kind == ApiKind::kResponses) return Dump(ResponsesPlain(answer, false));
  if (kind == ApiKind::kEmbeddings) return Dump(EmbeddingsPlain(answer));
  Json body =
      kind == ApiKind::kGenerate
          ? Json{{"request_id", answer.id}, {"system_fingerprint", answer.server}}
          : Envelope(answer, kind == ApiKind::kChat ? "chat.completion" : "text_completion");
  Json choices = Json::array();
  for (size_t i = 0; i < answer.choices.size(); ++i) choices.push_back(PlainChoice(answer, i));
  body["choices"] = std::move(choices);
  body["usage"] = Usage(answer);
  body["prompt_logprobs"] = nullptr;
  body["kv_transfer_params"] = KvTransferParams(answer);
  if (!answer.ec_params.empty()) body["ec_transfer_params"] = Json::parse(answer.ec_params);
  return Dump(body);
}

std::string StreamStart(const ApiAnswer& answer) {
  if (answer.request.kind == ApiKind::kResponses) return ResponsesStart(answer);
  if (answer.request.kind == ApiKind::kMessages) {
    Json message = MessagesPlain(answer);
    message["content"] = Json::array();
    message["stop_reason"] = nullptr;
    return Event("message_start", {{"type", "message_start"}, {"message", std::move(message)}}) +
           Event("content_block_start", {{"type", "content_block_start"},
                                         {"index", 0},
                                         {"content_block", {{"type", "text"}, {"text", ""}}}});
  }
  if (answer.request.kind != ApiKind::kChat) return {};
  Json choices = Json::array();
  for (size_t i = 0; i < answer.choices.size(); ++i) {
    choices.push_back({{"index", i},
                       {"delta", {{"role", "assistant"}, {"content", ""}}},
                       {"logprobs", nullptr},
                       {"finish_reason", nullptr}});
  }
  return ChunkWith(answer, std::move(choices));
}

std::string StreamToken(const ApiAnswer& answer, size_t choice) {
  const std::string text = LastToken(answer.choices[choice]);
  if (answer.request.kind == ApiKind::kResponses) return ResponsesToken(answer, text);
  if (answer.request.kind == ApiKind::kMessages) {
    return Event("content_block_delta", {{"type", "content_block_delta"},
                                         {"index", 0},
                                         {"delta", {{"type", "text_delta"}, {"text", text}}}});
  }
  return ChunkWith(answer, Json::array({DeltaChoice(answer, choice, text, nullptr)}));
}

std::string StreamFinish(const ApiAnswer& answer, size_t choice) {
  if (answer.request.kind == ApiKind::kResponses) return ResponsesFinish(answer);
  const ApiChoice& finished = answer.choices[choice];
  if (answer.request.kind == ApiKind::kMessages) {
    return Event("content_block_stop", {{"type", "content_block_stop"}, {"index", 0}}) +
           Event("message_delta",
                 {{"type", "message_delta"},
                  {"delta", {{"stop_reason", StopReason(finished)}, {"stop_sequence", nullptr}}},
                  {"usage", {{"output_tokens", finished.output_tokens}}}});
  }
  return ChunkWith(answer,
                   Json::array({DeltaChoice(answer, choice, {}, FinishReason(answer, finished))}));
}

std::string StreamEnd(const ApiAnswer& answer) {
  if (answer.request.kind == ApiKind::kResponses) return {};
  if (answer.request.kind == ApiKind::kMessages) {
    return Event("message_stop", {{"type", "message_stop"}});
  }
  return (answer.request.include_usage ? ChunkWith(answer, Json::array()) : std::string()) +
         "data: [DONE]\n\n";
}

std::string ErrorBody(std::optional<ApiKind> kind, int status, std::string_view message) {
  if (kind == ApiKind::kMessages) {
    const char* type = status == 404   ? "not_found_error"
                       : status < 500  ? "invalid_request_error"
                       : status == 529 ? "overloaded_error"
                                       : "api_error";
    return Dump({{"type", "error"}, {"error", {{"type", type}, {"message", message}}}});
  }
  const char* type = status == 404   ? "NotFoundError"
                     : status == 503 ? "ServiceUnavailableError"
                     : status < 500  ? "BadRequestError"
                                     : "InternalServerError";
  return Dump(
      {{"error", {{"message", message}, {"type", type}, {"param", nullptr}, {"code", status}}}});
}

std::string ModelsBody(const std::vector<ModelEntry>& models, int64_t created_s,
                       uint64_t max_model_tokens) {
  Json data = Json::array();
  for (const ModelEntry& model : models) {
    data.push_back({{"id", model.id},
                    {"object", "model"},
                    {"created", created_s},
                    {"owned_by", "vllm"},
                    {"root", model.id},
                    {"parent", model.parent.empty() ? Json(nullptr) : Json(model.parent)},
                    {"max_model_len", max_model_tokens}});
  }
  return Dump({{"object", "list"}, {"data", std::move(data)}});
}

}  // namespace epp::sim
