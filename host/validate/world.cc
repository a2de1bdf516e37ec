#include "host/validate/world.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>

#include "host/base/str_cat.h"
#include "host/validate/check_host.h"

namespace epp::validate {
namespace {

constexpr std::string_view kModels[] = {"base",      "lora-a", "lora-b", "lora-c",
                                        "llama-70b", "qwen",   "mixtral"};
constexpr std::string_view kLabelValues[] = {"a", "b", "decode", "prefill", "both"};

struct Cell {
  bool has = true;
  uint64_t bits = 0;  // of an i64, a bool, a symbol
  double f64 = 0;
  uint32_t symbols[4] = {};
  uint32_t symbol_count = 0;
};

uint32_t Symbol(Random& random) {
  return CheckHost::Symbols().Intern(kModels[random.Below(std::size(kModels))]);
}

Cell Usual(const epp_attr_spec& spec, Random& random) {
  Cell cell;
  switch (spec.type) {
    case EPP_T_I64:
      cell.bits = random.Below(4) == 0 ? 0 : random.Below(200);
      break;
    case EPP_T_F64:
      cell.f64 = random.Unit();
      break;
    case EPP_T_BOOL:
      cell.bits = random.Below(2);
      break;
    case EPP_T_SYMBOL:
      cell.bits = Symbol(random);
      break;
    case EPP_T_SYMBOL_LIST:
      cell.symbol_count = static_cast<uint32_t>(random.Below(5));
      for (uint32_t i = 0; i < cell.symbol_count; ++i) cell.symbols[i] = Symbol(random);
      break;
    default:
      break;
  }
  return cell;
}

Cell Extreme(const epp_attr_spec& spec, Random& random) {
  Cell cell = Usual(spec, random);
  static constexpr int64_t kInts[] = {INT64_MIN, INT64_MAX, -1, 0, INT64_MAX - 1, INT64_MIN + 1};
  static constexpr double kInf = std::numeric_limits<double>::infinity();
  static constexpr double kDoubles[] = {
      std::numeric_limits<double>::quiet_NaN(),  kInf, -kInf, -1, 1e300, -1e300,
      std::numeric_limits<double>::denorm_min(), -0.0};
  cell.bits = static_cast<uint64_t>(kInts[random.Below(std::size(kInts))]);
  if (spec.type == EPP_T_BOOL) cell.bits = random.Below(2);
  if (spec.type == EPP_T_SYMBOL) cell.bits = random.Below(2) == 0 ? 0 : UINT32_MAX;
  if (spec.type == EPP_T_SYMBOL_LIST && cell.symbol_count > 0) cell.symbols[0] = UINT32_MAX;
  cell.f64 = kDoubles[random.Below(std::size(kDoubles))];
  return cell;
}

size_t ItemBytes(int32_t type) {
  switch (type) {
    case EPP_T_BOOL:
      return 1;
    case EPP_T_SYMBOL:
    case EPP_T_SYMBOL_LIST:
      return 4;
    default:
      return 8;
  }
}

bool IsTokens(const epp_attr_spec& spec) {
  return spec.type == EPP_T_OPAQUE && spec.schema != nullptr &&
         std::string_view(spec.schema) == EPP_TOKENIZED_PROMPT_SCHEMA;
}

}  // namespace

uint64_t Random::Next() {  // splitmix64
  uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
uint64_t Random::Mix(uint64_t a, uint64_t b) { return Random(a ^ (b * 0x9e3779b97f4a7c15)).Next(); }
uint64_t Random::Hash(std::string_view text) {  // FNV-1a
  uint64_t h = 0xcbf29ce484222325;
  for (const unsigned char c : text) h = (h ^ c) * 0x100000001b3;
  return h;
}

World::World(uint64_t seed, size_t endpoints, std::span<const std::string> labels,
             const Layout& layout)
    : seed_(seed), memory_(layout) {
  Random random(Random::Mix(seed, 1));
  const auto text = [&](std::string s) { return Str(texts_.emplace_back(std::move(s))); };
  for (size_t i = 0; i < endpoints; ++i) {
    auto* const e = memory_.Struct<epp_endpoint>("epp_endpoint");
    const bool v6 = i % 7 == 3;
    const std::string address =
        v6 ? StrCat("fd00::", i + 1)
           : StrCat("10.", i / 65536 % 256, ".", i / 256 % 256, ".", i % 256);
    e->slot = static_cast<uint32_t>(i);
    e->id = 1000 + i;
    e->name = text(StrCat("default/pod-", i));
    e->address = text(address);
    e->port = 8000;
    e->host_port = text(v6 ? StrCat("[", address, "]:8000") : StrCat(address, ":8000"));
    std::vector<std::pair<std::string, std::string>> own;
    if (i % 2 == 0) {
      for (const std::string& key : labels) {
        own.emplace_back(key, kLabelValues[random.Below(std::size(kLabelValues))]);
      }
    }
    own.emplace_back("zone", StrCat("z", random.Below(3)));
    std::sort(own.begin(), own.end());
    own.erase(std::unique(own.begin(), own.end(),
                          [](const auto& a, const auto& b) { return a.first == b.first; }),
              own.end());
    auto* const views = memory_.Array<epp_label>("labels", own.size());
    for (size_t k = 0; k < own.size(); ++k) views[k] = {text(own[k].first), text(own[k].second)};
    e->labels = views;
    e->label_count = static_cast<uint32_t>(own.size());
    endpoints_.push_back(e);
  }
}

epp_column World::Column(const epp_attr_spec& spec, std::span<const uint32_t> rows, Values values,
                         const epp_tokenized_prompt* tokens, Memory& memory) const {
  const bool optional = (spec.flags & EPP_ATTR_OPTIONAL) != 0;
  if (values == Values::kNoOptional && optional) return {};
  // What an opaque attribute of another schema would hold is not known here.
  const bool unknown = spec.type == EPP_T_OPAQUE && !(IsTokens(spec) && tokens != nullptr);
  if (unknown && optional) return {};
  const uint64_t key = Random::Mix(seed_, Random::Hash(spec.key));
  const size_t n = rows.size();

  std::vector<Cell> cells(n);
  size_t items = 0;
  bool all = true;
  for (size_t i = 0; i < n; ++i) {
    Random random(Random::Mix(key, rows[i]));
    Cell& cell = cells[i];
    cell = values == Values::kExtreme ? Extreme(spec, random) : Usual(spec, random);
    const bool may_lack = values == Values::kUsual || values == Values::kExtreme;
    if ((may_lack && random.Below(10) == 0) || values == Values::kNone || unknown) {
      cell = Cell();
      cell.has = false;
    }
    items += cell.symbol_count;
    all = all && cell.has;
  }

  epp_column out{};
  if (spec.type == EPP_T_SYMBOL_LIST) {
    auto* const symbols = memory.Array<uint32_t>("the items of a list column", items);
    auto* const offsets = memory.Array<uint32_t>("offsets of a list column", n + 1);
    uint32_t at = 0;
    for (size_t i = 0; i < n; ++i) {
      for (uint32_t k = 0; k < cells[i].symbol_count; ++k) symbols[at++] = cells[i].symbols[k];
      offsets[i + 1] = at;
    }
    out.values = symbols;
    out.offsets = offsets;
  } else {
    const size_t bytes = ItemBytes(spec.type);
    auto* const to = static_cast<char*>(memory.Bytes("the values of a column", bytes, n, bytes));
    for (size_t i = 0; i < n; ++i) {
      const void* opaque = cells[i].has ? tokens : nullptr;
      const void* const from = spec.type == EPP_T_F64      ? static_cast<const void*>(&cells[i].f64)
                               : spec.type == EPP_T_OPAQUE ? static_cast<const void*>(&opaque)
                                                           : &cells[i].bits;
      std::memcpy(to + i * bytes, from, bytes);
    }
    out.values = to;
  }
  if (all) return out;
  auto* const words = memory.Array<uint64_t>("the validity of a column", (n + 63) / 64);
  for (size_t i = 0; i < n; ++i) words[i / 64] |= uint64_t{cells[i].has} << (i % 64);
  out.validity = words;
  return out;
}

}  // namespace epp::validate
