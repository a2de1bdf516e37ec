#include "host/scrape/sink.h"

#include <algorithm>

namespace epp::scrape {

template <class Fits>
pool::AttributeValue* Sink::Next(void* ctx, uint32_t attr, Fits fits) {
  Sink& sink = *static_cast<Sink*>(ctx);
  if (attr >= sink.extractor_->attributes.size() || !fits(sink.extractor_->types[attr])) {
    ++sink.refused_;
    return nullptr;
  }
  if (sink.count_ == sink.values_.size()) sink.values_.emplace_back();
  pool::AttributeValue& value = sink.values_[sink.count_++];
  value.id = sink.extractor_->attributes[attr];
  value.present = true;
  value.symbols.clear();  // keeps its memory
  return &value;
}

Sink::Sink() {
  table_.struct_size = sizeof(table_);
  table_.ctx = this;
  table_.set_i64 = [](void* ctx, uint32_t attr, int64_t v) noexcept {
    auto* value =
        Next(ctx, attr, [](int32_t type) { return type == EPP_T_I64 || type == EPP_T_BOOL; });
    if (value != nullptr) value->i64 = v;
  };
  table_.set_f64 = [](void* ctx, uint32_t attr, double v) noexcept {
    auto* value = Next(ctx, attr, [](int32_t type) { return type == EPP_T_F64; });
    if (value != nullptr) value->f64 = v;
  };
  table_.set_symbol = [](void* ctx, uint32_t attr, uint32_t symbol) noexcept {
    auto* value = Next(ctx, attr, [](int32_t type) { return type == EPP_T_SYMBOL; });
    if (value != nullptr) value->i64 = symbol;
  };
  table_.set_symbols = [](void* ctx, uint32_t attr, const uint32_t* symbols,
                          uint32_t count) noexcept {
    auto* value = Next(ctx, attr, [](int32_t type) { return type == EPP_T_SYMBOL_LIST; });
    if (value == nullptr || count == 0) return;
    value->symbols.assign(symbols, symbols + std::min(count, kMaxSymbols));
  };
  table_.clear = [](void* ctx, uint32_t attr) noexcept {
    auto* value = Next(ctx, attr, [](int32_t) { return true; });
    if (value != nullptr) value->present = false;
  };
}

const epp_sink* Sink::For(const Extractor& extractor) {
  extractor_ = &extractor;
  refused_ = 0;
  return &table_;
}

}  // namespace epp::scrape
