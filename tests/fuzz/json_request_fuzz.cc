// Fuzzes one JSON parser plugin, the one linked in: a request, then a response in chunks.
//
// Input: a byte that chooses among the parser's paths, a byte that chooses the size of response
// chunks, then the body, which serves as both.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "epp/testing.hpp"
#include "plugins/common/json_text.hpp"

namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

bool Within(epp_str part, std::string_view whole) {
  return part.data >= whole.data() && part.data + part.size <= whole.data() + whole.size();
}

// An error is short ASCII text, whatever the client sent.
void CheckError(const std::string& error) {
  Require(!error.empty() && error.size() < 400, "length of an error");
  Require(std::all_of(error.begin(), error.end(), [](char c) { return c >= 0x20 && c < 0x7f; }),
          "characters of an error");
}

void CheckParsed(const epp_parsed& p, std::string_view body) {
  uint64_t touched = 0;
  for (uint32_t i = 0; i < p.segment_count; ++i) {
    const epp_segment& s = p.segments[i];
    Require(s.bytes.size == 0 || Within(s.bytes, body), "a segment lies in the body");
    Require(s.prompt < p.prompt_count, "a segment's prompt exists");
    Require((s.flags & EPP_SEGMENT_ESCAPED) ||
                epp::View(s.bytes).find('\\') == std::string_view::npos ||
                s.kind == EPP_SEGMENT_JSON,
            "an escape is announced");
    touched += s.bytes.size;
  }
  Require(touched <= body.size(), "segments do not overlap");
  for (const epp_str text : {p.model, p.cache_salt}) {
    for (const char c : epp::View(text)) touched += static_cast<unsigned char>(c);
  }
  if (!(p.flags & EPP_PARSED_CAN_REWRITE)) return;
  epp::json::Cursor cursor(body);
  Require(cursor.Skip() && cursor.End(), "what is accepted is JSON");
  std::string rewritten(body);
  Require(p.model_offset + p.model_size <= body.size(), "the model lies in the body");
  const bool present = p.flags & EPP_PARSED_MODEL_PRESENT;
  const char* const insert = p.member_count ? "\"model\":\"t\"," : "\"model\":\"t\"";
  rewritten.replace(p.model_offset, p.model_size, present ? "\"t\"" : insert);
  epp::json::Cursor again(rewritten);
  Require(again.Skip() && again.End(), "a rewritten body is JSON");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const epp::test::Library library = epp::test::Library::Linked();
  static epp::test::Instance parser = library.Make(library.module().types[0]->name);
  if (size < 2) return 0;
  const auto& table = parser.Table<epp_parser>(EPP_PARSER_ID);
  const std::string_view body(reinterpret_cast<const char*>(data) + 2, size - 2);

  epp::test::Request request;
  request.Path(std::string("/v1/") + table.suffixes[data[0] % table.suffix_count]).Body(body);
  const auto parsed = parser.ParseRequest(request);
  if (parsed) {
    CheckParsed(*parsed, epp::View(request.Build(0)->body));
  } else {
    CheckError(parser.error());
  }

  // As a stream, and as one body.
  const size_t step = data[1] ? data[1] : size;
  for (const bool sse : {true, false}) {
    epp::test::Request exchange;
    for (size_t at = 0; at < body.size(); at += step) {
      epp::test::Event event;
      event.Bytes(body.substr(at, step));
      if (sse) event.Sse();
      if (at + step >= body.size()) event.Last();
      const auto usage = parser.ParseResponse(event, exchange);
      if (usage) {
        Require(usage->prompt_tokens >= -1 && usage->completion_tokens >= -1, "counts");
      } else {
        CheckError(parser.error());
      }
    }
  }
  return 0;
}
