#include "plugins/producers/token/tokenizer/bpe.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "plugins/common/json_text.hpp"
#include "plugins/producers/token/tokenizer/fields.h"
#include "plugins/producers/token/tokenizer/unicode.h"

namespace token_producer {
namespace {

using epp::json::Cursor;
using epp::json::RawString;

constexpr size_t kMaxTokens = size_t{1} << 22;
constexpr size_t kMaxMerges = size_t{1} << 23;
constexpr size_t kKnownEntries = size_t{1} << 14;
constexpr size_t kShortSymbols = 40;      // up to here looking at all pairs again is the fastest
constexpr size_t kCutBytes = 32;          // shorter words are not worth cutting
constexpr size_t kKeepSymbols = 1 << 18;  // memory of longer words is given back

// The character that stands for a byte in byte-level vocabularies.
uint32_t CharacterOfByte(unsigned byte) {
  if ((byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE) return byte;
  if (byte <= 0x20) return 0x100 + byte;
  return byte == 0xAD ? 0x143 : 0x121 + byte - 0x7F;
}

// The byte that a character stands for, or -1.
int ByteOfCharacter(uint32_t c) {
  if (c >= 0x100 && c <= 0x120) return static_cast<int>(c - 0x100);
  if (c >= 0x121 && c <= 0x142) return static_cast<int>(c - 0x121 + 0x7F);
  if (c == 0x143) return 0xAD;
  return c < 256 && CharacterOfByte(c) == c ? static_cast<int>(c) : -1;
}

// Of a vocabulary's entry; false when some character stands for no byte.
bool ToBytes(std::string_view text, std::string& out) {
  out.clear();
  const char* p = text.data();
  for (const char* const end = p + text.size(); p < end;) {
    const int byte = ByteOfCharacter(unicode::Take(p));
    if (byte < 0) return false;
    out += static_cast<char>(byte);
  }
  return true;
}

std::string FallbackName(unsigned byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

}  // namespace

// ---- TextIds ----

void TextIds::Reserve(size_t texts, size_t bytes) {
  bytes_.reserve(bytes);
  slots_.assign(std::bit_ceil(std::max<size_t>(texts * 2, 16)), Slot());
}

size_t TextIds::Place(std::string_view text) const {
  const size_t mask = slots_.size() - 1;
  size_t i = XXH3_64bits(text.data(), text.size()) & mask;
  while (slots_[i].id != kNone &&
         std::string_view(bytes_.data() + slots_[i].begin, slots_[i].size) != text) {
    i = (i + 1) & mask;
  }
  return i;
}

void TextIds::Put(std::string_view text, uint32_t id) {
  if (size_ * 2 >= slots_.size()) {
    const std::vector<Slot> old = std::move(slots_);
    slots_.assign(std::max<size_t>(old.size() * 2, 16), Slot());
    for (const Slot& s : old) {
      if (s.id != kNone) slots_[Place({bytes_.data() + s.begin, s.size})] = s;
    }
  }
  Slot& slot = slots_[Place(text)];
  if (slot.id == kNone) {
    slot.begin = static_cast<uint32_t>(bytes_.size());
    slot.size = static_cast<uint32_t>(text.size());
    bytes_ += text;
    ++size_;
  }
  slot.id = id;
}

uint32_t TextIds::Find(std::string_view text) const {
  return slots_.empty() ? kNone : slots_[Place(text)].id;
}

// ---- loading ----

epp::Status Bpe::Load(std::string_view json, bool byte_level, Bpe& out, TextIds& vocabulary) {
  out = Bpe();
  out.byte_level_ = byte_level;
  Fields f;
  if (epp::Status s = Fields::Read(json, "model", f); !s.ok()) return s;
  std::string type, unk, prefix, suffix;
  f.Get("type", type);
  f.Get("unk_token", unk);
  f.Get("continuing_subword_prefix", prefix);
  f.Get("end_of_word_suffix", suffix);
  f.Get("fuse_unk", out.fuse_unk_);
  f.Get("byte_fallback", out.byte_fallback_);
  f.Get("ignore_merges", out.ignore_merges_);
  if (!f.status().ok()) return f.TakeStatus();
  // Old files do not say.
  const bool bpe = type == "BPE" || (type.empty() && !f.Raw("merges").empty());
  if (!bpe) return f.Wrong("type", "BPE");
  if (!prefix.empty()) return f.Wrong("continuing_subword_prefix", "nothing");
  if (!suffix.empty()) return f.Wrong("end_of_word_suffix", "nothing");
  const std::string_view dropout = f.Raw("dropout");
  if (!dropout.empty() && epp::json::ToDouble(dropout) != 0) return f.Wrong("dropout", "nothing");
  if (f.Raw("vocab").empty() || f.Raw("vocab")[0] != '{') {
    return f.Wrong("vocab", "an object of texts and ids");
  }

  Cursor in(f.Raw("vocab"));
  vocabulary = TextIds();
  vocabulary.Reserve(f.Raw("vocab").size() / 20, f.Raw("vocab").size() / 2);
  std::string text;
  const bool ok = in.Object([&](const RawString& key) {
    std::string_view number;
    uint32_t id = 0;
    if (!in.Number(number)) return false;
    if (!epp::json::ToTokenId(number, id) || id == kNone) return in.Fault("want an id");
    if (vocabulary.size() >= kMaxTokens) return in.Fault("more than 4194304 tokens");
    if (key.escaped) {
      text = epp::json::Unescaped(key.bytes);
      vocabulary.Put(text, id);
    } else {
      vocabulary.Put(key.bytes, id);
    }
    return true;
  });
  if (!ok) {
    return epp::Status::Invalid("model.vocab: " + std::string(in.reason()) + " behind entry " +
                                std::to_string(vocabulary.size()));
  }
  if (!unk.empty()) {
    out.unk_ = vocabulary.Find(unk);
    if (out.unk_ == kNone) return f.Wrong("unk_token", "a token of the vocabulary");
  }
  out.IndexCharacters(vocabulary);
  return out.LoadMerges(f.Raw("merges"), vocabulary);
}

void Bpe::IndexCharacters(const TextIds& vocabulary) {
  std::string name;
  for (unsigned b = 0; b < 256; ++b) {
    if (byte_level_) {
      name.clear();
      unicode::Append(CharacterOfByte(b), name);
    } else {
      name = FallbackName(b);
    }
    bytes_[b] = vocabulary.Find(name);
  }
  ascii_.fill(kNone);
  if (!byte_level_) {
    vocabulary.ForEach([&](std::string_view text, uint32_t id) {
      if (text.empty() || text.size() != unicode::Length(text[0])) return;
      const char* p = text.data();
      const uint32_t code = unicode::Take(p);
      if (code < 128) {
        ascii_[code] = id;
      } else {
        characters_.emplace_back(code, id);
      }
    });
    std::sort(characters_.begin(), characters_.end());
  }
  if (!ignore_merges_) return;
  vocabulary.ForEach([&](std::string_view text, uint32_t id) {
    if (!byte_level_) {
      words_.Put(text, id);
    } else if (ToBytes(text, name)) {
      words_.Put(name, id);
    }
  });
}

epp::Status Bpe::LoadMerges(std::string_view json, const TextIds& vocabulary) {
  Cursor in(json);
  epp::Status status;
  size_t merges = 1;
  if (!json.empty()) {
    Cursor counting(json);
    (void)counting.Array([&] { return ++merges < kMaxMerges && counting.Skip(); });
  }
  const size_t slots = std::bit_ceil(std::max<size_t>(merges + merges / 2, 4));
  merges_.assign(slots, Merge{kNoPair, 0, 0});
  shift_ = 64 - std::countr_zero(slots);
  if (json.empty()) return {};
  size_t rank = 0;
  std::string pair[2], both;
  const bool ok = in.Array([&] {
    if (rank >= kMaxMerges) return in.Fault("more than 8388608 merges");
    std::string_view left, right;
    RawString text;
    if (in.Peek() == '[') {
      size_t i = 0;
      const bool two = in.Array([&] {
        if (i == 2 || !in.String(text)) return in.Fault("want two texts");
        if (text.escaped) {
          pair[i] = epp::json::Unescaped(text.bytes);
          text.bytes = pair[i];
        }
        (i++ == 0 ? left : right) = text.bytes;
        return true;
      });
      if (!two) return false;
      if (i != 2) return in.Fault("want two texts");
    } else {
      if (!in.String(text)) return false;
      if (text.escaped) {
        pair[0] = epp::json::Unescaped(text.bytes);
        text.bytes = pair[0];
      }
      const size_t space = text.bytes.find(' ');
      if (space == text.bytes.npos || text.bytes.find(' ', space + 1) != text.bytes.npos) {
        return in.Fault("want two texts with a space between them");
      }
      left = text.bytes.substr(0, space);
      right = text.bytes.substr(space + 1);
    }
    status = AddMerge(rank, left, right, vocabulary, both);
    return status.ok() && ++rank != 0;
  });
  if (!status.ok()) return status;
  if (ok && in.End()) return {};
  return epp::Status::Invalid("model.merges[" + std::to_string(rank) + "]: " + in.reason());
}

epp::Status Bpe::AddMerge(size_t rank, std::string_view left, std::string_view right,
                          const TextIds& vocabulary, std::string& both) {
  both.assign(left).append(right);
  const uint32_t a = vocabulary.Find(left);
  const uint32_t b = vocabulary.Find(right);
  const uint32_t id = vocabulary.Find(both);
  if (a == kNone || b == kNone || id == kNone) {
    const std::string_view missing = a == kNone ? left : b == kNone ? right : both;
    return epp::Status::Invalid("model.merges[" + std::to_string(rank) + "]: \"" +
                                std::string(missing.substr(0, 64)) + "\" is not in the vocabulary");
  }
  const uint64_t key = Pair(a, b);
  const size_t mask = merges_.size() - 1;
  size_t i = (key * 0x9E3779B97F4A7C15u) >> shift_;
  while (merges_[i].pair != kNoPair && merges_[i].pair != key) i = (i + 1) & mask;
  merges_[i] = {key, static_cast<uint32_t>(rank), id};
  return {};
}

void Bpe::CutAt(std::string_view mark, const TextIds& vocabulary) {
  const uint32_t mark_id = vocabulary.Find(mark);
  if (byte_level_ || ignore_merges_ || mark_id == kNone) return;
  // Which texts the ids are, to see the characters at the seams of merges.
  uint32_t most = 0;
  vocabulary.ForEach([&](std::string_view, uint32_t id) { most = std::max(most, id); });
  if (most >= 2 * kMaxTokens) return;
  std::vector<std::string_view> texts(size_t{most} + 1);
  vocabulary.ForEach([&](std::string_view text, uint32_t id) { texts[id] = text; });
  const auto stands_for_others = [&](uint32_t id) {
    return id == unk_ ||
           (byte_fallback_ && std::find(bytes_.begin(), bytes_.end(), id) != bytes_.end());
  };
  // A character without any symbol would let its neighbours meet.
  const bool all = std::find(bytes_.begin(), bytes_.end(), kNone) == bytes_.end();
  if (unk_ == kNone && !(byte_fallback_ && all)) return;
  std::vector<uint32_t> joined;
  for (const Merge& m : merges_) {
    if (m.pair == kNoPair) continue;
    const auto left = static_cast<uint32_t>(m.pair >> 32), right = static_cast<uint32_t>(m.pair);
    if (texts[left].empty() || texts[right].empty()) return;
    if (!texts[right].starts_with(mark)) continue;
    if (stands_for_others(left)) return;
    joined.push_back(unicode::Before(texts[left].data() + texts[left].size()));
  }
  std::sort(joined.begin(), joined.end());
  joined.erase(std::unique(joined.begin(), joined.end()), joined.end());
  joined_ = std::move(joined);
  mark_ = mark;
}

// ---- encoding ----

inline const Bpe::Merge* Bpe::Find(uint32_t left, uint32_t right) const {
  const uint64_t key = Pair(left, right);
  const size_t mask = merges_.size() - 1;
  for (size_t i = (key * 0x9E3779B97F4A7C15u) >> shift_;; i = (i + 1) & mask) {
    const Merge& m = merges_[i];
    if (m.pair == key) return &m;
    if (m.pair == kNoPair) return nullptr;
  }
}

uint32_t Bpe::Character(uint32_t code) const {
  if (code < 128) return ascii_[code];
  const auto it = std::lower_bound(characters_.begin(), characters_.end(),
                                   std::pair<uint32_t, uint32_t>(code, 0));
  return it != characters_.end() && it->first == code ? it->second : kNone;
}

void Bpe::Encode(std::string_view word, Memory& memory, std::vector<uint32_t>& out) const {
  if (mark_.empty() || word.size() < kCutBytes) return Part(word, memory, out);
  size_t begin = 0;
  for (size_t at = word.find(mark_, 1); at != word.npos; at = word.find(mark_, at + mark_.size())) {
    const uint32_t before = unicode::Before(word.data() + at);
    if (std::binary_search(joined_.begin(), joined_.end(), before)) continue;
    Part(word.substr(begin, at - begin), memory, out);
    begin = at;
  }
  Part(word.substr(begin), memory, out);
}

void Bpe::Part(std::string_view word, Memory& memory, std::vector<uint32_t>& out) const {
  Memory::Known* known = nullptr;
  if (word.size() <= sizeof(Memory::Known::word)) {
    if (memory.known == nullptr) memory.known = std::make_unique<Memory::Known[]>(kKnownEntries);
    known = &memory.known[XXH3_64bits(word.data(), word.size()) % kKnownEntries];
    if (known->size == word.size() && std::memcmp(known->word, word.data(), word.size()) == 0) {
      out.insert(out.end(), known->ids, known->ids + known->count);
      return;
    }
  }
  const size_t before = out.size();
  const uint32_t whole = ignore_merges_ ? words_.Find(word) : kNone;
  if (whole != kNone) {
    out.push_back(whole);
  } else if (Symbols(word, memory.ids); memory.ids.size() <= kShortSymbols) {
    MergeShort(memory.ids, out);
  } else {
    MergeLong(memory, out);
  }
  const size_t count = out.size() - before;
  if (known != nullptr && count <= std::size(known->ids)) {
    known->size = static_cast<uint8_t>(word.size());
    known->count = static_cast<uint8_t>(count);
    std::memcpy(known->word, word.data(), word.size());
    std::copy(out.begin() + static_cast<ptrdiff_t>(before), out.end(), known->ids);
  }
}

// What a word consists of before any merge.
void Bpe::Symbols(std::string_view word, std::vector<uint32_t>& ids) const {
  ids.clear();
  bool unknown = false;  // an unknown token is due
  const auto flush = [&] {
    if (unknown) ids.push_back(unk_);
    unknown = false;
  };
  if (byte_level_) {
    for (const char c : word) {
      const uint32_t id = bytes_[static_cast<unsigned char>(c)];
      if (id != kNone) {
        flush();
        ids.push_back(id);
      } else if (unk_ != kNone) {
        if (!fuse_unk_) flush();
        unknown = true;
      }
    }
    return flush();
  }
  const char* p = word.data();
  for (const char* const end = p + word.size(); p < end;) {
    const char* const begin = p;
    const uint32_t id = Character(unicode::Take(p));
    if (id != kNone) {
      flush();
      ids.push_back(id);
      continue;
    }
    const auto byte = [&](const char* at) { return bytes_[static_cast<unsigned char>(*at)]; };
    if (byte_fallback_ && std::all_of(begin, p, [&](const char& c) { return byte(&c) != kNone; })) {
      for (const char* at = begin; at < p; ++at) ids.push_back(byte(at));
    } else if (unk_ != kNone) {
      if (!fuse_unk_) flush();
      unknown = true;
    }
  }
  flush();
}

void Bpe::MergeShort(std::vector<uint32_t>& ids, std::vector<uint32_t>& out) const {
  std::array<const Merge*, kShortSymbols> next;  // of ids[i] and the one behind it
  size_t n = ids.size();
  for (size_t i = 0; i + 1 < n; ++i) next[i] = Find(ids[i], ids[i + 1]);
  while (n > 1) {
    size_t best = n;
    uint32_t rank = UINT32_MAX;
    for (size_t i = 0; i + 1 < n; ++i) {
      if (next[i] != nullptr && next[i]->rank < rank) {
        rank = next[i]->rank;
        best = i;
      }
    }
    if (best == n) break;
    ids[best] = next[best]->id;
    --n;
    for (size_t i = best + 1; i < n; ++i) {
      ids[i] = ids[i + 1];
      next[i - 1] = next[i];
    }
    if (best > 0) next[best - 1] = Find(ids[best - 1], ids[best]);
    if (best + 1 < n) next[best] = Find(ids[best], ids[best + 1]);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + static_cast<ptrdiff_t>(n));
}

// A queue of merges, best first, over a list of symbols: n log n in the length of the word.
void Bpe::MergeLong(Memory& memory, std::vector<uint32_t>& out) const {
  using Candidate = Memory::Candidate;
  auto& symbols = memory.symbols;
  auto& heap = memory.heap;
  const auto n = static_cast<int32_t>(memory.ids.size());
  symbols.clear();
  heap.clear();
  for (int32_t i = 0; i < n; ++i) {
    symbols.push_back({memory.ids[static_cast<size_t>(i)], i - 1, i + 1 < n ? i + 1 : -1});
  }
  const auto later = [](const Candidate& a, const Candidate& b) { return a.order > b.order; };
  const auto at = [&](int32_t i) -> Memory::Symbol& { return symbols[static_cast<size_t>(i)]; };
  const auto candidate = [&](int32_t left, int32_t right) {
    const Merge* const m = Find(at(left).id, at(right).id);
    if (m == nullptr) return false;
    heap.push_back({uint64_t{m->rank} << 32 | static_cast<uint32_t>(left), m->id});
    return true;
  };
  for (int32_t i = 0; i + 1 < n; ++i) candidate(i, i + 1);
  std::make_heap(heap.begin(), heap.end(), later);
  constexpr int32_t kGone = -2;
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Candidate best = heap.back();
    heap.pop_back();
    const auto left = static_cast<int32_t>(best.order & UINT32_MAX);
    Memory::Symbol& s = at(left);
    if (s.behind < 0) continue;  // merged into another, or the last
    const int32_t right = s.behind;
    const Merge* const m = Find(s.id, at(right).id);
    if (m == nullptr || m->id != best.id) continue;  // its symbols have changed since
    s.id = m->id;
    s.behind = at(right).behind;
    at(right).behind = kGone;
    if (s.behind >= 0) {
      at(s.behind).before = left;
      if (candidate(left, s.behind)) std::push_heap(heap.begin(), heap.end(), later);
    }
    if (s.before >= 0 && candidate(s.before, left)) {
      std::push_heap(heap.begin(), heap.end(), later);
    }
  }
  for (int32_t i = 0; i >= 0; i = at(i).behind) out.push_back(at(i).id);
  if (symbols.capacity() > kKeepSymbols) {
    memory.symbols = {};
    memory.heap = {};
    memory.ids = {};
  }
}

}  // namespace token_producer
