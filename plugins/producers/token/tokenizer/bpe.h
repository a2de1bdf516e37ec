// Byte-pair encoding with the vocabulary and the merges of a tokenizer.json.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "epp/plugin.hpp"

namespace token_producer {

// The number of each text, in flat memory.
class TextIds {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  void Reserve(size_t texts, size_t bytes);
  void Put(std::string_view text, uint32_t id);  // the last one counts
  uint32_t Find(std::string_view text) const;    // kNone when there is none
  size_t size() const { return size_; }
  template <class F>
  void ForEach(F&& f) const {
    for (const Slot& s : slots_) {
      if (s.id != kNone) f(std::string_view(bytes_.data() + s.begin, s.size), s.id);
    }
  }

 private:
  struct Slot {
    uint32_t begin = 0, size = 0, id = kNone;
  };
  size_t Place(std::string_view text) const;

  std::string bytes_;
  std::vector<Slot> slots_;
  size_t size_ = 0;
};

// Constant after Load. Threads: any, each with its own memory.
class Bpe {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // One thread's memory: what is needed while a word is encoded, and the ids of words seen before
  // (about 1 MiB, where a new word may push out another).
  class Memory {
   private:
    friend class Bpe;
    struct Symbol {
      uint32_t id;
      int32_t before, behind;  // indices, -1 at the ends
    };
    struct Candidate {
      uint64_t order;  // rank of the merge, then place of its left symbol
      uint32_t id;
    };
    struct alignas(64) Known {
      uint8_t size = 0;  // of the word, 0 when the entry is empty
      uint8_t count = 0;
      char word[34];
      uint32_t ids[7];
    };
    std::vector<Symbol> symbols;
    std::vector<uint32_t> ids;
    std::vector<Candidate> heap;
    std::unique_ptr<Known[]> known;
  };

  // json: the value of "model". byte_level: words are bytes. vocabulary: what it numbers.
  static epp::Status Load(std::string_view json, bool byte_level, Bpe& out, TextIds& vocabulary);

  // A vocabulary, at Load, says what words without a pre-tokenizer may be cut at: before each
  // `mark` behind a character that no merge joins with it, which changes no result.
  void CutAt(std::string_view mark, const TextIds& vocabulary);

  // Appends the ids of the word: valid UTF-8, at most 2^31 bytes.
  void Encode(std::string_view word, Memory& memory, std::vector<uint32_t>& out) const;

 private:
  struct Merge {
    uint64_t pair;
    uint32_t rank, id;
  };
  static constexpr uint64_t kNoPair = UINT64_MAX;
  static uint64_t Pair(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }

  epp::Status LoadMerges(std::string_view json, const TextIds& vocabulary);
  epp::Status AddMerge(size_t rank, std::string_view left, std::string_view right,
                       const TextIds& vocabulary, std::string& both);
  void IndexCharacters(const TextIds& vocabulary);
  const Merge* Find(uint32_t left, uint32_t right) const;
  void Part(std::string_view word, Memory& memory, std::vector<uint32_t>& out) const;
  void Symbols(std::string_view word, std::vector<uint32_t>& ids) const;
  void MergeShort(std::vector<uint32_t>& ids, std::vector<uint32_t>& out) const;
  void MergeLong(Memory& memory, std::vector<uint32_t>& out) const;
  uint32_t Character(uint32_t code) const;

  bool byte_level_ = false;
  bool ignore_merges_ = false;
  bool byte_fallback_ = false;
  bool fuse_unk_ = false;
  uint32_t unk_ = kNone;
  std::array<uint32_t, 256> bytes_{};  // ids of the bytes: byte_level's, or of the fallback
  std::array<uint32_t, 128> ascii_{};  // ids of characters, when not byte_level
  std::vector<std::pair<uint32_t, uint32_t>> characters_;  // sorted; those beyond ASCII
  std::vector<Merge> merges_;                              // open addressing
  int shift_ = 64;
  TextIds words_;  // ignore_merges: the vocabulary as words look
  std::string mark_;
  std::vector<uint32_t> joined_;  // characters that a merge joins with the mark; sorted
};

}  // namespace token_producer
