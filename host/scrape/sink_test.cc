#include "host/scrape/sink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace epp::scrape {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Extractor WithTypes(std::vector<int32_t> types) {
  Extractor e;
  for (size_t i = 0; i < types.size(); ++i) {
    e.attributes.push_back(static_cast<pool::AttributeId>(100 + i));
  }
  e.types = std::move(types);
  return e;
}

TEST(Sink, CollectsByType) {
  const Extractor e =
      WithTypes({EPP_T_I64, EPP_T_F64, EPP_T_BOOL, EPP_T_SYMBOL, EPP_T_SYMBOL_LIST});
  Sink sink;
  const epp_sink* out = sink.For(e);
  const uint32_t symbols[] = {7, 8};
  out->set_i64(out->ctx, 0, -1);
  out->set_f64(out->ctx, 1, 0.5);
  out->set_i64(out->ctx, 2, 1);
  out->set_symbol(out->ctx, 3, 9);
  out->set_symbols(out->ctx, 4, symbols, 2);
  out->clear(out->ctx, 0);
  ASSERT_EQ(sink.values().size(), 6u);
  EXPECT_EQ(sink.values()[0].id, 100u);
  EXPECT_EQ(sink.values()[0].i64, -1);
  EXPECT_EQ(sink.values()[1].f64, 0.5);
  EXPECT_EQ(sink.values()[3].i64, 9);
  EXPECT_THAT(sink.values()[4].symbols, ElementsAre(7, 8));
  EXPECT_FALSE(sink.values()[5].present);
  EXPECT_EQ(sink.refused(), 0u);

  sink.Clear();
  out->set_symbols(out->ctx, 4, nullptr, 0);
  ASSERT_EQ(sink.values().size(), 1u);
  EXPECT_THAT(sink.values()[0].symbols, IsEmpty()) << "no trace of the former page";
  EXPECT_TRUE(sink.values()[0].present);
}

TEST(Sink, RefusesWhatIsNotDeclared) {
  const Extractor e = WithTypes({EPP_T_I64});
  Sink sink;
  const epp_sink* out = sink.For(e);
  out->set_i64(out->ctx, 1, 1);
  out->set_f64(out->ctx, 0, 1);
  out->set_symbol(out->ctx, 0, 1);
  out->set_symbols(out->ctx, 0, nullptr, 0);
  out->clear(out->ctx, 4'000'000'000);
  EXPECT_THAT(sink.values(), IsEmpty());
  EXPECT_EQ(sink.refused(), 5u);
  sink.For(e);
  EXPECT_EQ(sink.refused(), 0u);
}

TEST(Sink, ListsAreBounded) {
  const Extractor e = WithTypes({EPP_T_SYMBOL_LIST});
  Sink sink;
  const epp_sink* out = sink.For(e);
  const std::vector<uint32_t> many(Sink::kMaxSymbols + 1, 1);
  out->set_symbols(out->ctx, 0, many.data(), static_cast<uint32_t>(many.size()));
  EXPECT_EQ(sink.values()[0].symbols.size(), Sink::kMaxSymbols);
}

}  // namespace
}  // namespace epp::scrape
