// What a chat request costs: parsing it, estimating its tokens, and reading a streamed chunk.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "epp/testing.hpp"

namespace {

// A request's arena without the checks of the test arena: one block, used again for every request.
class Arena {
 public:
  static void* Alloc(void* self, uint64_t size, uint64_t align) noexcept {
    Arena& a = *static_cast<Arena*>(self);
    a.used_ = (a.used_ + align - 1) / align * align;
    if (a.used_ + size > kBytes) return nullptr;
    void* const p = a.block_.get() + a.used_;
    a.used_ += size;
    return p;
  }
  void Reset() { used_ = 0; }

 private:
  static constexpr uint64_t kBytes = 64 << 20;
  std::unique_ptr<char[]> block_ = std::make_unique<char[]>(kBytes);
  uint64_t used_ = 0;
};

// A conversation of about that many bytes; one line feed or quote in `every` characters.
std::string Chat(size_t bytes, size_t every) {
  std::string body = R"({"model":"m","stream":true,"max_tokens":100,"messages":[)";
  for (int i = 0; body.size() < bytes; ++i) {
    body += i ? R"(,{"role":"user","content":")" : R"({"role":"system","content":")";
    for (size_t n = 0; n < 2048; n += every) {
      body += std::string(every - 2, static_cast<char>('a' + i % 26));
      body += n % 3 ? "\\n" : "\\\"";
    }
    body += "\"}";
  }
  return body + "]}";
}

struct Fixture {
  explicit Fixture(const std::string& text)
      : padded(text + std::string(64, '\0')),
        parsers(EPP_PLUGIN_DIRECTORY "/openai-parser.so"),
        producers(EPP_PLUGIN_DIRECTORY "/token-producer.so"),
        parser(parsers.Make("openai-parser", {}, &host)),
        producer(producers.Make("token-producer", {}, &host)) {
    request.struct_size = sizeof(request);
    request.path = epp::Str("/v1/chat/completions");
    request.body = {padded.data(), text.size()};
    request.parsed = &parsed;
    call.struct_size = sizeof(call);
    call.request = &request;
    call.state = &state;
    call.arena = &arena;
    call.alloc = &Arena::Alloc;
    call.keep = &Arena::Alloc;
    err.struct_size = sizeof(err);
  }
  void Parse() {
    arena.Reset();
    parsed = {};
    parsed.struct_size = sizeof(parsed);
    parsed.max_output_tokens = -1;
    const auto& table = parser.Table<epp_parser>(EPP_PARSER_ID);
    if (table.parse_request(parser.Self(), &call, &request, &parsed, &err) != EPP_OK) abort();
  }
  void Estimate() {
    const void* value = nullptr;
    uint64_t validity = 1;
    epp_out_column column{&value, &validity, nullptr};
    const epp_outputs outputs{sizeof(outputs), 0, nullptr, &column};
    const epp_candidates in{sizeof(in), 0, 0, 0, nullptr, nullptr, nullptr, nullptr, 0};
    const auto& table = producer.Table<epp_producer>(EPP_PRODUCER_ID);
    if (table.produce(producer.Self(), &call, &in, &outputs, &err) != EPP_OK) abort();
    benchmark::DoNotOptimize(value);
  }

  std::string padded;
  epp::test::Host host;
  epp::test::Library parsers, producers;
  epp::test::Instance parser, producer;
  Arena arena;
  epp_parsed parsed{};
  epp_request request{};
  epp_call call{};
  epp_error err{};
  void* state = nullptr;
};

void BM_Parse(benchmark::State& state) {
  Fixture f(Chat(static_cast<size_t>(state.range(0)), static_cast<size_t>(state.range(1))));
  for (auto _ : state) f.Parse();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * f.request.body.size));
}
void BM_ParseAndEstimate(benchmark::State& state) {
  Fixture f(Chat(static_cast<size_t>(state.range(0)), static_cast<size_t>(state.range(1))));
  for (auto _ : state) {
    f.Parse();
    f.Estimate();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * f.request.body.size));
}
#define EPP_SIZES ->Args({1 << 10, 64})->Args({400 << 10, 1024})->Args({400 << 10, 64})
BENCHMARK(BM_Parse) EPP_SIZES->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_ParseAndEstimate) EPP_SIZES->Unit(benchmark::kMicrosecond);

void BM_Chunk(benchmark::State& state) {
  Fixture f("{}");
  std::string chunk =
      R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",)"
      R"("choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}])";
  if (state.range(0) == 1) chunk += R"(,"usage":null)";
  if (state.range(0) == 2) {
    chunk += R"(,"usage":{"prompt_tokens":5,"completion_tokens":10,"total_tokens":15})";
  }
  chunk += "}\n\n";
  epp_response_event event{};
  event.struct_size = sizeof(event);
  event.flags = EPP_CHUNK_SSE;
  event.bytes = epp::Str(chunk);
  const auto& table = f.parser.Table<epp_parser>(EPP_PARSER_ID);
  for (auto _ : state) {
    epp_usage usage{sizeof(epp_usage), 0, -1, -1, -1, -1};
    table.parse_response(f.parser.Self(), &f.call, &event, &usage, &f.err);
    benchmark::DoNotOptimize(usage);
  }
}
BENCHMARK(BM_Chunk)->ArgName("usage")->Arg(0)->Arg(1)->Arg(2);

}  // namespace

BENCHMARK_MAIN();
