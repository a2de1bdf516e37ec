// Encodes texts with a tokenizer.json, to compare with another tokenizer and to measure.
//
//   tokenize FILE             lines of JSON strings in, lines of JSON arrays of ids out
//   tokenize FILE --time T    T is a text file; encodes it for about two seconds of CPU time
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "plugins/producers/token/tokenizer/fields.h"
#include "plugins/producers/token/tokenizer/tokenizer.h"

namespace {

// CPU time of this process, which other load changes less than it does the time of day.
double Now() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

std::string Contents(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

int Fail(const epp::Status& status) {
  std::fprintf(stderr, "tokenize: %s\n", std::string(status.message()).c_str());
  return 1;
}

int Measure(const token_producer::Tokenizer& tokenizer, const std::string& text) {
  token_producer::Tokenizer::Memory memory;
  std::vector<uint32_t> ids;
  const auto once = [&](size_t piece) {
    size_t count = 0;
    for (size_t at = 0; at < text.size(); at += piece) {
      ids.clear();
      const epp::Status s =
          tokenizer.Encode(std::string_view(text).substr(at, piece), true, memory, ids);
      if (!s.ok()) std::exit(Fail(s));
      count += ids.size();
    }
    return count;
  };
  double begin = Now();
  const size_t count = once(text.size());
  const double cold = (Now() - begin);
  size_t rounds = 0;
  for (begin = Now(); (Now() - begin) < 2; ++rounds) once(text.size());
  const double warm = (Now() - begin) / static_cast<double>(rounds);
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  std::printf("%zu bytes, %zu ids, first %.1f MB/s, then %.1f MB/s\n", text.size(), count,
              megabytes / cold, megabytes / warm);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 4) {
    std::fprintf(stderr, "usage: tokenize FILE [--time TEXT]\n");
    return 2;
  }
  const std::string json = Contents(argv[1]);
  token_producer::Tokenizer tokenizer;
  const double begin = Now();
  if (epp::Status s = token_producer::Tokenizer::Load(json, tokenizer); !s.ok()) return Fail(s);
  std::fprintf(stderr, "loaded %zu bytes in %.0f ms\n", json.size(), (Now() - begin) * 1e3);
  if (argc == 4) return Measure(tokenizer, Contents(argv[3]));
  token_producer::Tokenizer::Memory memory;
  std::vector<uint32_t> ids;
  std::string text, out;
  for (std::string line; std::getline(std::cin, line);) {
    if (!token_producer::Fields::ReadString(line, text)) {
      return Fail(epp::Status::Invalid("a line is not a JSON string"));
    }
    ids.clear();
    if (epp::Status s = tokenizer.Encode(text, true, memory, ids); !s.ok()) return Fail(s);
    out = "[";
    for (const uint32_t id : ids) out.append(out.size() > 1 ? "," : "").append(std::to_string(id));
    std::puts(out.append("]").c_str());
  }
  return 0;
}
