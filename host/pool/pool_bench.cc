// What a publish costs: 15 columns, all changed.
#include <benchmark/benchmark.h>

#include "absl/strings/str_cat.h"
#include "host/pool/pool.h"

namespace epp::pool {
namespace {

void BM_Publish(benchmark::State& state) {
  auto attributes = std::make_shared<AttributeRegistry>();
  FakeClock clock;
  Pool pool(attributes, std::make_shared<Interner>(), &clock, {});
  const auto n = static_cast<int>(state.range(0));
  std::vector<AttributeValue> values(15);
  for (int i = 0; i < 15; ++i) {
    const int32_t type = i < 6 ? EPP_T_I64 : i < 12 ? EPP_T_F64 : EPP_T_SYMBOL_LIST;
    values[i].id = *attributes->Register(absl::StrCat("a", i), "bench", type);
    values[i].i64 = i;
    values[i].symbols = {1, 2, 3};
  }
  for (int i = 0; i < n; ++i) {
    Endpoint::Fields f;
    f.name_space = "ns";
    f.name = absl::StrCat("endpoint-", i);
    f.address = "10.0.0.1";
    f.port = 8000;
    pool.Upsert(std::move(f));
  }
  pool.Publish();
  for (const epp_endpoint* e : pool.current()->endpoints()) pool.Update(e->id, values, true);
  const uint64_t id = pool.current()->endpoints()[0]->id;
  for (auto _ : state) {
    pool.Update(id, values, true);
    pool.Publish();
  }
}
BENCHMARK(BM_Publish)->Arg(100)->Arg(1000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace epp::pool
