// Parsers: good bodies, odd ones, and ones that are cut off. See drive.h.
#include <array>
#include <cstring>
#include <utility>

#include "host/base/str_cat.h"
#include "host/validate/case_numbers.h"
#include "host/validate/drive.h"

namespace epp::validate {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kBodies{{
    {"/v1/chat/completions",
     R"({"model":"base","messages":[{"role":"user","content":[{"type":"text","text":"a\nb"},)"
     R"({"type":"image_url","image_url":{"url":"data:image/png;base64,aGk="}}]}],)"
     R"("tools":[{"type":"function","function":{"name":"f"}}],"stream":true,"max_tokens":5})"},
    {"/v1/completions", R"({"model":"base","prompt":["one","two"],"max_tokens":5})"},
    {"/v1/completions", R"({"prompt":[[1,2,3],[4]],"model":"a\"b"})"},
    {"/v1/responses", R"({"model":"m","instructions":"be brief","input":"hello"})"},
    {"/v1/embeddings", R"({"model":"m","input":["x","y"]})"},
    {"/v1/messages", R"({"model":"m","system":"s","messages":[{"role":"user","content":"hi"}]})"},
    {"/v1/chat/completions", R"({"messages":{"role":7},"model":[],"max_tokens":-1e400})"},
    {"/v1/chat/completions", "{}"},
    {"/", "\xff\xfe not json \x01"},
    {"/v1/completions", ""},
}};

constexpr std::array<std::string_view, 5> kAnswers{
    R"({"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}})",
    "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n",
    "data: {\"usage\":{\"prompt_tokens\":99999999999999999999}}\n\n",
    "\xff{\"usage\":",
    "",
};

bool Within(epp_str part, epp_str whole) {
  return part.size == 0 ||
         (part.data >= whole.data && part.data + part.size <= whole.data + whole.size);
}

}  // namespace

void Driver::ParseRequests(RequestRun& run) {
  if (Get<epp_parser>(EPP_PARSER_ID) == nullptr) return;
  const epp_request& own = *run.data.request();
  ParseOne(run, View(own.body), View(own.path));
  if (run.number != 0) return;  // once is enough of these
  for (const auto& [path, body] : kBodies) {
    ParseOne(run, body, path);
    ParseOne(run, body.substr(0, body.size() / 2), path);
  }
}

void Driver::ParseOne(RequestRun& run, std::string_view body, std::string_view path) {
  const auto* const table = Get<epp_parser>(EPP_PARSER_ID);
  Frame frame(instance_, world_, scenario_, run);
  Memory& memory = frame.memory();
  // 64 readable zero bytes follow the body, and nothing else.
  auto* const bytes = memory.Array<char>("the body with its padding", body.size() + 64);
  if (!body.empty()) std::memcpy(bytes, body.data(), body.size());
  auto* const request = memory.Struct<epp_request>("epp_request");
  const uint32_t size = request->struct_size;
  std::memcpy(static_cast<void*>(request), run.data.request(), sizeof(epp_request));
  request->struct_size = size;
  request->path = Str(path);
  request->body = {bytes, body.size()};
  request->body_size = body.size();
  request->parsed = nullptr;
  auto* const parsed = memory.Struct<epp_parsed>("epp_parsed");
  parsed->max_output_tokens = -1;

  const epp_status status = Run("parse_request", frame, table->parse_request, frame.call(),
                                static_cast<const epp_request*>(request), parsed);
  const auto breach = [&](const std::string& what) { Breach(AnswerCase(), "parse_request", what); };
  if (std::string_view(bytes, body.size()) != body ||
      std::string_view(bytes + body.size(), 64) != std::string_view(std::string(64, '\0'))) {
    breach("changed the body");
  }
  if (status != EPP_OK) {
    transcript_.Add("parse_request", status);
    return;
  }
  const epp_str whole = request->body;
  const auto reachable = [&](epp_str part) {
    return Within(part, whole) || run.arena.Holds(part.data, part.size);
  };
  std::string record = StrCat(parsed->api, " ", parsed->flags, " ", parsed->prompt_count, " ",
                              parsed->max_output_tokens, " ", parsed->member_count, "\n");
  if (!reachable(parsed->model) && View(parsed->model) != View(request->model)) {
    breach("model leads neither into the body nor into memory of the call");
  } else if (!reachable(parsed->cache_salt)) {
    breach("cache_salt leads neither into the body nor into memory of the call");
  } else if (parsed->model_offset > whole.size ||
             parsed->model_size > whole.size - parsed->model_offset) {
    breach(StrCat("the model's range ends at byte ", parsed->model_offset + parsed->model_size,
                  " of ", whole.size));
  } else {
    StrAppend(&record, View(parsed->model), "\n");
    for (uint32_t i = 0; i < parsed->segment_count; ++i) {
      const epp_segment& segment = parsed->segments[i];
      if (!reachable(segment.bytes)) {
        breach(StrCat("segments[", i, "] leads neither into the body nor into memory of the call"));
        break;
      }
      if (segment.kind < EPP_SEGMENT_TEXT || segment.kind > EPP_SEGMENT_VIDEO) {
        breach(StrCat("segments[", i, "] is of kind ", segment.kind, ", want 1 to 7"));
      }
      if (segment.prompt >= parsed->prompt_count) {
        breach(StrCat("segments[", i, "] belongs to prompt ", segment.prompt, " of ",
                      parsed->prompt_count));
      }
      StrAppend(&record, segment.kind, " ", View(segment.bytes), "\n");
    }
  }
  transcript_.Add("parse_request", status, std::move(record));
}

void Driver::ParseResponses(RequestRun& run) {
  const auto* const table = Get<epp_parser>(EPP_PARSER_ID);
  if (table == nullptr || run.number >= 2) return;
  for (const std::string_view answer : kAnswers) {
    Frame frame(instance_, world_, scenario_, run, Frame::Part::kResponse);
    Memory& memory = frame.memory();
    auto* const bytes = memory.Array<char>("the response's bytes", answer.size());
    if (!answer.empty()) std::memcpy(bytes, answer.data(), answer.size());
    auto* const event = memory.Struct<epp_response_event>("epp_response_event");
    event->flags = EPP_CHUNK_FIRST | EPP_CHUNK_LAST;
    if (answer.starts_with("data:")) event->flags |= EPP_CHUNK_SSE;
    event->end = EPP_END_NATURAL;
    event->http_status = 200;
    event->bytes = {bytes, answer.size()};
    auto* const usage = memory.Struct<epp_usage>("epp_usage");
    usage->prompt_tokens = usage->completion_tokens = -1;
    usage->total_tokens = usage->cached_tokens = -1;
    const epp_status status = Run("parse_response", frame, table->parse_response, frame.call(),
                                  static_cast<const epp_response_event*>(event), usage);
    if (status == EPP_OK && (usage->prompt_tokens < -1 || usage->completion_tokens < -1 ||
                             usage->total_tokens < -1 || usage->cached_tokens < -1)) {
      Breach(AnswerCase(), "parse_response", "a count of tokens is less than -1");
    }
    transcript_.Add(
        "parse_response", status,
        StrCat(usage->events, " ", usage->prompt_tokens, " ", usage->completion_tokens));
  }
}

}  // namespace epp::validate
