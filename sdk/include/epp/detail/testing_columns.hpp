// How epp/testing.hpp turns values into the columns of a call, and columns back into values.
#pragma once

#include "epp/detail/testing_request.hpp"

namespace epp::test {

// n zeroed values in an allocation of exactly that size, so that sanitizers see its ends.
template <class T>
std::unique_ptr<T[]> Exact(size_t n) {
  return std::make_unique<T[]>(n);
}

// One column and the memory behind it.
class ColumnBuffer {
 public:
  // Cells that were not given (cells shorter than n) have no value.
  ColumnBuffer(const epp_attr_spec& spec, size_t n, const std::function<Cell(size_t)>& cell,
               Host& host)
      : spec_(spec), n_(n) {
    std::vector<Cell> cells;
    for (size_t i = 0; i < n; ++i) cells.push_back(cell(i));
    switch (spec.type) {
      case EPP_T_I64:
        Fill<int64_t>(cells, [&](const Cell& c) { return Number(c).i64(); });
        break;
      case EPP_T_F64:
        Fill<double>(cells, [&](const Cell& c) { return Number(c).f64(); });
        break;
      case EPP_T_BOOL:
        Fill<uint8_t>(cells, [&](const Cell& c) { return Number(c).i64() != 0; });
        break;
      case EPP_T_SYMBOL:
        Fill<uint32_t>(cells, [&](const Cell& c) {
          return c.is_text() ? host.Symbol(c.text()) : static_cast<uint32_t>(Number(c).i64());
        });
        break;
      case EPP_T_SYMBOL_LIST:
        FillLists(cells, host);
        break;
      case EPP_T_OPAQUE:
        Fill<const void*>(cells, [](const Cell& c) { return c.opaque(); });
        break;
      default:
        Misuse("attribute \"" + std::string(spec.key) + "\" has an unknown type");
    }
    const bool all = std::all_of(cells.begin(), cells.end(), [](const Cell& c) { return c.has(); });
    if (all) return;
    validity_ = Exact<uint64_t>((n + 63) / 64);
    for (size_t i = 0; i < n; ++i) {
      validity_[i / 64] |= uint64_t{cells[i].has()} << (i % 64);
    }
    raw_.validity = validity_.get();
  }
  epp_column raw() const { return raw_; }

 private:
  const Cell& Number(const Cell& c) const {
    if (c.has() && !c.is_number()) {
      Misuse("attribute \"" + std::string(spec_.key) + "\" was not given the type it has");
    }
    return c;
  }
  template <class T, class F>
  void Fill(const std::vector<Cell>& cells, F&& get) {
    auto values = std::shared_ptr<T[]>(new T[n_]());
    for (size_t i = 0; i < n_; ++i) values[i] = get(cells[i]);
    raw_.values = values.get();
    values_ = std::move(values);
  }
  void FillLists(const std::vector<Cell>& cells, Host& host) {
    std::vector<uint32_t> items;
    offsets_ = Exact<uint32_t>(n_ + 1);
    for (size_t i = 0; i < n_; ++i) {
      for (const std::string& text : cells[i].texts()) items.push_back(host.Symbol(text));
      offsets_[i + 1] = static_cast<uint32_t>(items.size());
    }
    auto values = std::shared_ptr<uint32_t[]>(new uint32_t[items.size()]());
    std::copy(items.begin(), items.end(), values.get());
    raw_.values = values.get();
    raw_.offsets = offsets_.get();
    values_ = std::move(values);
  }

  epp_attr_spec spec_;
  size_t n_;
  std::shared_ptr<void> values_;
  std::unique_ptr<uint64_t[]> validity_;
  std::unique_ptr<uint32_t[]> offsets_;
  epp_column raw_{};
};

// A consumed attribute and who produces it, as the instance's parameters say.
struct Consumed {
  const epp_attr_spec* spec;
  std::string producer;

  // In a map by full name or key: the value under the full name, else the one under the key.
  template <class Map>
  auto FindIn(const Map& all) const {
    const auto it = producer.empty() ? all.end() : all.find(spec->key + ("/" + producer));
    return it == all.end() ? all.find(spec->key) : it;
  }
};

// Everything that a [worker] function gets, for one call.
class BoundCall {
 public:
  BoundCall(const std::vector<Consumed>& consumes, const Selection& in, Request& request,
            Host& host, const void* instance, bool with_body) {
    const size_t n = in.rows().size();
    endpoints_ = Exact<const epp_endpoint*>(n);
    slots_ = Exact<uint32_t>(n);
    rows_ = Exact<uint32_t>(n);
    for (size_t i = 0; i < n; ++i) {
      endpoints_[i] = &in.pool().endpoint(in.rows()[i]);
      slots_[i] = endpoints_[i]->slot;
      rows_[i] = static_cast<uint32_t>(in.rows()[i]);
    }
    for (const Consumed& c : consumes) {
      if (c.spec->scope == EPP_SCOPE_ENDPOINT) {
        columns_.push_back(EndpointColumn(c, in, host));
      } else {
        request_columns_.push_back(RequestColumn(c, request, host));
      }
    }
    candidates_ = {sizeof(epp_candidates),
                   static_cast<uint32_t>(n),
                   static_cast<uint32_t>(columns_.size()),
                   0,
                   columns_.data(),
                   endpoints_.get(),
                   slots_.get(),
                   rows_.get(),
                   1};
    call_ = {};
    call_.struct_size = sizeof(call_);
    call_.worker = request.worker();
    call_.now_ns = host.mono_ns();
    call_.deadline_ns = request.deadline_ns();
    call_.request = request.Build(call_.now_ns, with_body);
    call_.request_columns = request_columns_.data();
    call_.state = request.state(instance);
    call_.arena = &request.arena();
    call_.alloc = &Arena::Alloc;
    call_.keep = &Arena::Alloc;
  }
  BoundCall(const BoundCall&) = delete;
  BoundCall& operator=(const BoundCall&) = delete;
  const epp_call* call() const { return &call_; }
  const epp_candidates* candidates() const { return &candidates_; }

 private:
  epp_column EndpointColumn(const Consumed& consumed, const Selection& in, Host& host) {
    const epp_attr_spec& spec = *consumed.spec;
    const auto& all = in.pool().columns();
    const auto it = consumed.FindIn(all);
    const std::string_view key = spec.key;
    const bool label = key.starts_with("label/");
    const bool provided = label || key == attr::kMetricsAge.key;
    if (it == all.end() && !provided && (spec.flags & EPP_ATTR_OPTIONAL)) return {};
    const auto cell = [&](size_t i) -> Cell {
      const size_t row = in.rows()[i];
      if (it != all.end()) return row < it->second.size() ? it->second[row] : Cell();
      if (label) {
        bool present = false;
        const std::string_view value = Label(in.pool().endpoint(row), key.substr(6), &present);
        return present ? Cell(value) : Cell();
      }
      return provided ? Cell(0) : Cell();
    };
    return buffers_.emplace_back(spec, in.rows().size(), cell, host).raw();
  }
  epp_column RequestColumn(const Consumed& consumed, const Request& request, Host& host) {
    const epp_attr_spec& spec = *consumed.spec;
    const auto& all = request.attributes();
    const auto it = consumed.FindIn(all);
    if (it == all.end() && (spec.flags & EPP_ATTR_OPTIONAL)) return {};
    const auto cell = [&](size_t) { return it == all.end() ? Cell() : it->second; };
    return buffers_.emplace_back(spec, 1, cell, host).raw();
  }

  std::deque<ColumnBuffer> buffers_;
  std::vector<epp_column> columns_, request_columns_;
  std::unique_ptr<const epp_endpoint*[]> endpoints_;
  std::unique_ptr<uint32_t[]> slots_, rows_;
  epp_candidates candidates_{};
  epp_call call_{};
};

// What a producer writes to.
class OutputColumns {
 public:
  // `valid`: whether all have a value at entry.
  OutputColumns(const std::vector<const epp_attr_spec*>& produces, size_t n, bool valid = true)
      : produces_(produces), n_(n), valid_(valid) {
    for (const epp_attr_spec* spec : produces) {
      const bool endpoint = spec->scope == EPP_SCOPE_ENDPOINT;
      (endpoint ? columns_ : request_columns_).push_back(Writable(*spec, endpoint ? n : 1));
    }
    raw_ = {sizeof(epp_outputs), 0, columns_.data(), request_columns_.data()};
  }
  OutputColumns(const OutputColumns&) = delete;
  OutputColumns& operator=(const OutputColumns&) = delete;
  const epp_outputs* raw() const { return &raw_; }

  void Read(const Host& host, std::map<std::string, std::vector<Cell>>& columns,
            std::map<std::string, Cell>& request) const {
    size_t endpoint = 0, single = 0;
    for (const epp_attr_spec* spec : produces_) {
      if (spec->scope == EPP_SCOPE_ENDPOINT) {
        const epp_out_column& c = columns_[endpoint++];
        std::vector<Cell>& cells = columns[spec->key];
        for (size_t i = 0; i < n_; ++i) cells.push_back(Value(*spec, c, i, host));
      } else {
        request[spec->key] = Value(*spec, request_columns_[single++], 0, host);
      }
    }
  }

 private:
  static size_t ItemSize(int32_t type) {
    switch (type) {
      case EPP_T_BOOL:
        return 1;
      case EPP_T_SYMBOL:
        return 4;
      default:
        return 8;
    }
  }
  epp_out_column Writable(const epp_attr_spec& spec, size_t n) {
    const auto& validity = validities_.emplace_back(Exact<uint64_t>((n + 63) / 64));
    for (size_t i = 0; i < n && valid_; ++i) validity[i / 64] |= uint64_t{1} << (i % 64);
    if (spec.type == EPP_T_SYMBOL_LIST) return {nullptr, validity.get(), nullptr};
    const auto& values = values_.emplace_back(Exact<std::byte>(n * ItemSize(spec.type)));
    return {values.get(), validity.get(), nullptr};
  }
  static Cell Value(const epp_attr_spec& spec, const epp_out_column& c, size_t i,
                    const Host& host) {
    if (!(c.validity[i / 64] >> (i % 64) & 1)) return {};
    switch (spec.type) {
      case EPP_T_I64:
        return static_cast<const int64_t*>(c.values)[i];
      case EPP_T_F64:
        return static_cast<const double*>(c.values)[i];
      case EPP_T_BOOL:
        return static_cast<const uint8_t*>(c.values)[i];
      case EPP_T_SYMBOL:
        return host.Text(static_cast<const uint32_t*>(c.values)[i]);
      case EPP_T_OPAQUE:
        return static_cast<const void* const*>(c.values)[i];
      default:
        break;
    }
    Cell::Texts texts;
    if (c.offsets == nullptr) return texts;
    for (uint32_t k = c.offsets[i]; k < c.offsets[i + 1]; ++k) {
      texts.emplace_back(host.Text(static_cast<const uint32_t*>(c.values)[k]));
    }
    return texts;
  }

  std::vector<const epp_attr_spec*> produces_;
  size_t n_;
  bool valid_;
  std::deque<std::unique_ptr<std::byte[]>> values_;
  std::deque<std::unique_ptr<uint64_t[]>> validities_;
  std::vector<epp_out_column> columns_, request_columns_;
  epp_outputs raw_{};
};

// What a scraper writes to. Checks indices and types, as the host does.
class SinkRecord {
 public:
  SinkRecord(const std::vector<const epp_attr_spec*>& produces, Host& host)
      : produces_(produces), host_(host) {
    raw_ = {};
    raw_.struct_size = sizeof(raw_);
    raw_.ctx = this;
    raw_.set_i64 = [](void* c, uint32_t attr, int64_t v) noexcept {
      Self(c).Put(attr, v, {EPP_T_I64, EPP_T_BOOL});
    };
    raw_.set_f64 = [](void* c, uint32_t attr, double v) noexcept {
      Self(c).Put(attr, v, {EPP_T_F64, EPP_T_F64});
    };
    raw_.set_symbol = [](void* c, uint32_t attr, uint32_t v) noexcept {
      Self(c).Put(attr, Self(c).host_.Text(v), {EPP_T_SYMBOL, EPP_T_SYMBOL});
    };
    raw_.set_symbols = [](void* c, uint32_t attr, const uint32_t* v, uint32_t n) noexcept {
      Cell::Texts texts;
      for (uint32_t i = 0; i < n; ++i) texts.emplace_back(Self(c).host_.Text(v[i]));
      Self(c).Put(attr, std::move(texts), {EPP_T_SYMBOL_LIST, EPP_T_SYMBOL_LIST});
    };
    raw_.clear = [](void* c, uint32_t attr) noexcept {
      if (attr < Self(c).produces_.size()) {
        Self(c).Put(attr, Cell(), {Self(c).produces_[attr]->type, 0});
      } else {
        Self(c).broken_ = true;
      }
    };
  }
  SinkRecord(const SinkRecord&) = delete;
  SinkRecord& operator=(const SinkRecord&) = delete;
  const epp_sink* raw() const { return &raw_; }
  const std::map<std::string, Cell>& values() const {
    if (broken_) Misuse("the scraper wrote an attribute that it does not produce, or a wrong type");
    return values_;
  }

 private:
  static SinkRecord& Self(void* ctx) { return *static_cast<SinkRecord*>(ctx); }
  void Put(uint32_t attr, Cell value, std::pair<int32_t, int32_t> types) {
    if (attr >= produces_.size() ||
        (produces_[attr]->type != types.first && produces_[attr]->type != types.second)) {
      broken_ = true;
      return;
    }
    values_[produces_[attr]->key] = std::move(value);
  }

  std::vector<const epp_attr_spec*> produces_;
  Host& host_;
  std::map<std::string, Cell> values_;
  bool broken_ = false;
  epp_sink raw_{};
};

}  // namespace epp::test
