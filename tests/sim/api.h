// The inference endpoints' JSON: requests in, answers and event streams out, as vLLM writes them.
//
// Parsing is strict about what the simulator uses and ignores the rest. No I/O, no state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace epp::sim {

enum class ApiKind : uint8_t {
  kCompletions,  // POST /v1/completions
  kChat,         // POST /v1/chat/completions
  kMessages,     // POST /v1/messages (Anthropic)
  kResponses,    // POST /v1/responses
  kEmbeddings,   // POST /v1/embeddings
  kGenerate,     // POST /inference/v1/generate (tokens in, tokens out)
};

// The endpoint at `path`, a trailing slash allowed.
[[nodiscard]] std::optional<ApiKind> ApiKindOfPath(std::string_view path);

struct ApiRequest {
  ApiKind kind = ApiKind::kCompletions;
  std::string model;                 // empty when the client named none
  std::vector<std::string> prompts;  // at least one; four bytes a token, see prompt.h
  bool stream = false;
  bool include_usage = false;          // stream_options.include_usage
  std::optional<uint32_t> max_tokens;  // max_completion_tokens wins over max_tokens
  uint32_t min_tokens = 0;
  bool ignore_eos = false;
  uint32_t dimensions = 8;  // of embeddings
  std::string cache_salt;
  std::string request_id;       // of /inference/v1/generate
  bool remote_decode = false;   // kv_transfer_params: another server will decode
  bool remote_prefill = false;  // kv_transfer_params: another server has computed the prompt
  // For transfer.h; JSON, empty when absent or null.
  std::string kv_params;
  std::string ec_params;
  std::string bootstrap;           // {"bootstrap_host": ..., }, those that are there
  std::vector<std::string> media;  // a hash for each image, sound and film of a chat
  std::optional<double> cache_hit_threshold;
  std::string rank_header;  // x-data-parallel-rank; not of the body
};

// Errors: InvalidArgument with a message for the client.
[[nodiscard]] absl::StatusOr<ApiRequest> ParseApiRequest(ApiKind kind, std::string_view body);

struct ApiChoice {
  uint32_t prompt_tokens = 0;
  uint32_t cached_tokens = 0;
  uint32_t output_tokens = 0;  // so far
  bool reached_limit = false;  // finish reason "length" rather than "stop"
  std::string text;            // of all output tokens, also those that are not generated yet
};

// What an answer to `request` says; one choice per prompt.
struct ApiAnswer {
  ApiRequest request;
  std::string id;      // carries the server's name
  std::string server;  // system_fingerprint
  std::string model;
  int64_t created_s = 0;
  std::vector<ApiChoice> choices;
  std::string kv_params;  // kv_transfer_params of the answer, JSON; empty for what ApiRequest says
  std::string ec_params;  // ec_transfer_params; empty for none
  bool hands_over = false;  // with an engine that takes part in transfers: nothing is made up
  bool declined = false;    // for cache_hit_threshold; without a token
};

// The whole answer as one JSON text. Also for streaming kinds.
[[nodiscard]] std::string PlainBody(const ApiAnswer& answer);

// The token ids of the prompts, as the render endpoint of a kind answers: completions or chat.
[[nodiscard]] std::string RenderBody(const ApiRequest& request);

// Server-sent events, each call some complete events ("data: ...\n\n"), in this order: start once,
// then per token and per finished choice, end once.
[[nodiscard]] std::string StreamStart(const ApiAnswer& answer);
[[nodiscard]] std::string StreamToken(const ApiAnswer& answer, size_t choice);
[[nodiscard]] std::string StreamFinish(const ApiAnswer& answer, size_t choice);
[[nodiscard]] std::string StreamEnd(const ApiAnswer& answer);

// An error in the shape of the endpoint's family; `kind` absent is OpenAI's.
[[nodiscard]] std::string ErrorBody(std::optional<ApiKind> kind, int status,
                                    std::string_view message);

struct ModelEntry {
  std::string id;
  std::string parent;  // the base model of an adapter, else empty
};
[[nodiscard]] std::string ModelsBody(const std::vector<ModelEntry>& models, int64_t created_s,
                                     uint64_t max_model_tokens);

}  // namespace epp::sim
