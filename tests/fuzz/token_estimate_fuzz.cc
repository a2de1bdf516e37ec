// Fuzzes the token producer with segments that no parser has checked.
//
// Input: a byte for the API, then records of kind, flags, length (a byte each) and bytes.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "epp/testing.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const epp::test::Library library = epp::test::Library::Linked();
  static epp::test::Instance producer = library.Make("token-producer");
  static const epp::test::Pool pool(1);
  if (size < 1) return 0;
  epp::test::Request request;
  request.Api(data[0] % (EPP_API_GENERATE + 1));
  uint32_t prompt = 0;
  for (size_t at = 1; at + 3 <= size;) {
    const size_t length = std::min<size_t>(data[at + 2], size - at - 3);
    const std::string_view bytes(reinterpret_cast<const char*>(data) + at + 3, length);
    prompt += data[at + 1] >> 7;
    request.Segment(data[at] % (EPP_SEGMENT_VIDEO + 1), bytes, data[at + 1] & 7, prompt,
                    data[at + 1] >> 3 & 3);
    at += 3 + length;
  }
  const auto out = producer.Produce(pool, request);
  const auto* tokens =
      static_cast<const epp_tokenized_prompt*>(out.value(epp::attr::kTokenizedPrompt).opaque());
  if (tokens == nullptr) return 0;
  uint64_t sum = 0;
  for (uint64_t i = 0; i < tokens->offsets[tokens->prompt_count]; ++i) sum += tokens->tokens[i];
  for (uint32_t i = 0; i < tokens->media_count; ++i) {
    for (const char c : epp::View(tokens->media[i].hash)) sum += static_cast<unsigned char>(c);
  }
  return sum == 1 ? -1 : 0;
}
