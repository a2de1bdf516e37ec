#include "host/validate/edits.h"

#include <algorithm>

#include "host/base/str_cat.h"
#include "host/validate/case_numbers.h"
#include "host/validate/check_host.h"

namespace epp::validate {

void Output::Used(const char* what) {
  if (!open_) Breach(kThreadTags, StrCat(what, " was called after it had returned"));
}
void Output::Breach(int number, std::string_view text) {
  findings_.Breach(number, StrCat(function_, " of ", of_, ": ", text));
}

// ---- Editor -------------------------------------------------------------------------------------

struct EditOutput::Table {
  static EditOutput& Self(void* ctx, const char* what) {
    auto& self = *static_cast<EditOutput*>(ctx);
    self.Used(what);
    return self;
  }
  static void SetHeader(void* ctx, epp_str name, epp_str value) noexcept {
    Self(ctx, "set_header").Header("set_header", name, value);
  }
  static void RemoveHeader(void* ctx, epp_str name) noexcept {
    Self(ctx, "remove_header").Header("remove_header", name, {});
  }
  static void Number(void* ctx, epp_str name_space, epp_str key, double value) noexcept {
    Self(ctx, "set_metadata_number").Metadata(name_space, key, StrCat(value));
  }
  static void Text(void* ctx, epp_str name_space, epp_str key, epp_str value) noexcept {
    Self(ctx, "set_metadata_text").Metadata(name_space, key, std::string(View(value)));
  }
};

EditOutput::EditOutput(Findings& findings, std::string function, std::string of, May may,
                       Memory& memory)
    : Output(findings, std::move(function), std::move(of)),
      may_(may),
      table_(memory.Struct<epp_editor>("epp_editor")) {
  table_->ctx = this;
  table_->set_header = &Table::SetHeader;
  table_->remove_header = &Table::RemoveHeader;
  table_->set_metadata_number = &Table::Number;
  table_->set_metadata_text = &Table::Text;
}

void EditOutput::Header(const char* what, epp_str name, epp_str value) {
  if (may_ == May::kMetadataOnly) {
    Breach(kThreadTags, StrCat(what, " was called, but headers cannot be changed any more"));
  }
  const std::string_view text = View(name);
  if (text.empty() || std::any_of(text.begin(), text.end(),
                                  [](char c) { return c <= ' ' || (c >= 'A' && c <= 'Z'); })) {
    Breach(kProduced, StrCat(what, ": \"", Shown(text), "\" is no lower-case name of a header"));
  }
  StrAppend(&record_, what, " ", text, "=", View(value), "\n");
}

void EditOutput::Metadata(epp_str name_space, epp_str key, std::string value) {
  StrAppend(&record_, View(name_space), "/", View(key), "=", value, "\n");
}

// ---- Sink ---------------------------------------------------------------------------------------

struct SinkOutput::Table {
  static SinkOutput& Self(void* ctx, const char* what) {
    auto& self = *static_cast<SinkOutput*>(ctx);
    self.Used(what);
    return self;
  }
  static void SetI64(void* ctx, uint32_t attr, int64_t value) noexcept {
    Self(ctx, "set_i64").Put("set_i64", attr, EPP_T_I64, EPP_T_BOOL, StrCat(value));
  }
  static void SetF64(void* ctx, uint32_t attr, double value) noexcept {
    Self(ctx, "set_f64").Put("set_f64", attr, EPP_T_F64, EPP_T_F64, StrCat(value));
  }
  static void SetSymbol(void* ctx, uint32_t attr, uint32_t symbol) noexcept {
    SinkOutput& self = Self(ctx, "set_symbol");
    self.Known("set_symbol", symbol);
    self.Put("set_symbol", attr, EPP_T_SYMBOL, EPP_T_SYMBOL, StrCat(symbol));
  }
  static void SetSymbols(void* ctx, uint32_t attr, const uint32_t* symbols,
                         uint32_t count) noexcept {
    SinkOutput& self = Self(ctx, "set_symbols");
    std::string all;
    for (uint32_t i = 0; i < count; ++i) {
      self.Known("set_symbols", symbols[i]);
      StrAppend(&all, symbols[i], ",");
    }
    self.Put("set_symbols", attr, EPP_T_SYMBOL_LIST, EPP_T_SYMBOL_LIST, std::move(all));
  }
  static void Clear(void* ctx, uint32_t attr) noexcept {
    SinkOutput& self = Self(ctx, "clear");
    const int32_t own = attr < self.produces_.size() ? self.produces_[attr]->type : 0;
    self.Put("clear", attr, own, own, "none");
  }
};

SinkOutput::SinkOutput(Findings& findings, std::string of,
                       const std::vector<const epp_attr_spec*>& produces, Memory& memory)
    : Output(findings, "scrape", std::move(of)),
      produces_(produces),
      table_(memory.Struct<epp_sink>("epp_sink")) {
  table_->ctx = this;
  table_->set_i64 = &Table::SetI64;
  table_->set_f64 = &Table::SetF64;
  table_->set_symbol = &Table::SetSymbol;
  table_->set_symbols = &Table::SetSymbols;
  table_->clear = &Table::Clear;
}

void SinkOutput::Known(const char* what, uint32_t symbol) {
  if (symbol != 0 && CheckHost::Symbols().Text(symbol).empty()) {
    Breach(kProduced, StrCat(what, ": symbol ", symbol, " was never interned"));
  }
}

void SinkOutput::Put(const char* what, uint32_t attr, int32_t type, int32_t or_type,
                     std::string value) {
  if (attr >= produces_.size()) {
    Breach(kProduced, StrCat(what, " wrote attribute ", attr, ", but ", produces_.size(),
                             " are declared in produces"));
    return;
  }
  if (produces_[attr]->type != type && produces_[attr]->type != or_type) {
    Breach(kProduced, StrCat(what, " does not fit the declared type of \"", produces_[attr]->key,
                             "\", ", produces_[attr]->type));
  }
  StrAppend(&record_, produces_[attr]->key, "=", value, "\n");
}

// ---- Writer -------------------------------------------------------------------------------------

struct TextOutput::Table {
  static void Write(void* ctx, epp_str text) noexcept {
    auto& self = *static_cast<TextOutput*>(ctx);
    self.Used("write");
    self.record_ += View(text);
  }
};

TextOutput::TextOutput(Findings& findings, std::string function, std::string of, Memory& memory)
    : Output(findings, std::move(function), std::move(of)),
      table_(memory.Struct<epp_writer>("epp_writer")) {
  table_->ctx = this;
  table_->write = &Table::Write;
}

}  // namespace epp::validate
