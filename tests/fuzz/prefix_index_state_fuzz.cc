// Fuzzes the loader of the prefix index with saved state of an unknown build.
//
// Input: the version (a byte), then the bytes. What is taken must be usable, and come out again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "epp/testing.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const epp::test::Library library = epp::test::Library::Linked();
  static const epp::test::Pool pool(4);
  if (size < 1) return 0;
  epp::test::Instance producer = library.Make("approx-prefix-cache-producer");
  producer.Upserted(pool);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (!producer.LoadState(data[0], bytes).ok()) return 0;
  epp::test::Request request;
  request.TargetModel("m").Tokens(std::vector<uint32_t>(640, 7));
  producer.Produce(pool, request);
  producer.PreRequest(epp::test::Profiles{"p"}.Ok("p", {1}).Primary("p"), pool, request);
  epp::test::Instance next = library.Make("approx-prefix-cache-producer");
  next.Upserted(pool);
  if (!epp::test::MoveState(producer, next).ok()) std::abort();
  for (size_t i = 0; i < pool.size(); ++i) producer.Removed(pool.endpoint(i));
  return 0;
}
