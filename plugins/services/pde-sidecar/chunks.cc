#include "chunks.h"

#include <algorithm>

namespace sidecar {
namespace {

int64_t Count(std::optional<std::string_view> usage, std::string_view key) {
  const auto value = usage ? Lookup(*usage, key) : std::nullopt;
  return value ? std::max<int64_t>(IntegerOf(*value).value_or(0), 0) : 0;
}

}  // namespace

Chunks::Chunks(const Splice& body, uint32_t chunk_tokens) : body_(body), chunk_(chunk_tokens) {
  for (const std::string_view key : {"max_completion_tokens", "max_tokens"}) {
    const auto value = body.Get(key);
    const int64_t limit = value ? IntegerOf(*value).value_or(0) : 0;
    if (limit > 0) {
      limit_ = limit;
      break;
    }
  }
  streams_ = body.Get("stream").value_or("") == "true";
  for (const std::string_view message : ElementsOf(body.Get("messages").value_or("[]"))) {
    if (!grown_.empty()) grown_ += ',';
    grown_ += message;
  }
}

std::string Chunks::Next() {
  const int64_t budget =
      limit_ > 0 ? std::min<int64_t>(chunk_, limit_ - completion_tokens_) : chunk_;
  Splice next = body_;
  next.Set("max_tokens", std::to_string(budget));
  next.Set("max_completion_tokens", std::to_string(budget));
  next.Set("stream", "false");
  next.Remove("stream_options");
  if (!first_) {
    next.Set("messages", "[" + grown_ + "]");
    next.Remove("kv_transfer_params");
    next.Set("continue_final_message", "true");
    next.Set("add_generation_prompt", "false");
  }
  return next.Render();
}

bool Chunks::Take(std::string_view answer) {
  const auto choices = Lookup(answer, "choices");
  const auto all = choices ? ElementsOf(*choices) : std::vector<std::string_view>();
  if (all.empty()) return false;
  const auto message = Lookup(all.front(), "message");
  const auto content = message ? Lookup(*message, "content") : std::nullopt;
  piece_ = content ? StringOf(*content).value_or("") : "";
  finish_ = Lookup(all.front(), "finish_reason").value_or("null");
  const auto usage = Lookup(answer, "usage");
  const int64_t tokens = Count(usage, "completion_tokens");
  if (first_) prompt_tokens_ = Count(usage, "prompt_tokens");
  first_ = false;
  completion_tokens_ += tokens;
  text_ += piece_;
  last_ = answer;
  if (!grown_.empty()) grown_ += ',';
  grown_ += R"({"role":"assistant","content":)" + JsonString(piece_) + "}";
  const bool cut = finish_ == "null" || finish_ == "\"\"" || finish_ == "\"length\"";
  done_ = !cut || (limit_ > 0 && completion_tokens_ >= limit_) || (tokens == 0 && piece_.empty());
  return true;
}

std::string Chunks::Event() const {
  Splice event = *Splice::Parse(last_);
  event.Set("choices", R"([{"index":0,"finish_reason":)" + (done_ ? finish_ : "null") +
                           R"(,"delta":{"role":"assistant","content":)" + JsonString(piece_) +
                           "}}]");
  event.Set("object", "\"chat.completion.chunk\"");
  event.Remove("usage");
  return "data: " + event.Render() + "\n\n";
}

std::string Chunks::LastEvents() const {
  return R"(data: {"choices":[],"usage":)" + Usage() + "}\n\ndata: [DONE]\n\n";
}

std::string Chunks::Answer() const {
  Splice answer = *Splice::Parse(last_);
  const std::string choice(ElementsOf(*answer.Get("choices")).front());
  Splice first = *Splice::Parse(choice);
  const std::string old(first.Get("message").value_or("{}"));
  const std::string empty = "{}";
  std::optional<Splice> message = Splice::Parse(old);
  if (!message) message = Splice::Parse(empty);
  message->Set("content", JsonString(text_));
  first.Set("message", message->Render());
  answer.Set("choices", "[" + first.Render() + "]");
  answer.Set("usage", Usage());
  return answer.Render();
}

std::string Chunks::Usage() const {
  return R"({"prompt_tokens":)" + std::to_string(prompt_tokens_) + R"(,"completion_tokens":)" +
         std::to_string(completion_tokens_) + R"(,"total_tokens":)" +
         std::to_string(prompt_tokens_ + completion_tokens_) + "}";
}

}  // namespace sidecar
