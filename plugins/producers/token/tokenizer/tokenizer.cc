#include "plugins/producers/token/tokenizer/tokenizer.h"

#include <algorithm>
#include <set>

#include "plugins/producers/token/tokenizer/fields.h"
#include "plugins/producers/token/tokenizer/unicode.h"

namespace token_producer {
namespace {

constexpr size_t kMaxAdded = 1 << 20;
constexpr size_t kMaxAddedBytes = 1024;
constexpr size_t kMaxAround = 64;
constexpr int kMaxDepth = 8;
constexpr std::string_view kMark = "\xE2\x96\x81";
constexpr size_t kKeepBytes = 1 << 20;

// The ids of a special token in the template of a post-processor.
epp::Status AppendSpecial(const Fields& special, const std::string& name, const std::string& where,
                          std::vector<uint32_t>& to) {
  Fields token;
  if (epp::Status s = Fields::Read(special.Raw(name), where + ".special_tokens." + name, token);
      !s.ok()) {
    return s;
  }
  std::vector<std::string_view> ids;
  if (epp::Status s = Fields::ReadArray(token.Raw("ids"), token.where() + ".ids", ids); !s.ok()) {
    return s;
  }
  if (ids.empty()) return token.Wrong("ids", "ids");
  for (const std::string_view raw : ids) {
    uint32_t id = 0;
    if (!Fields::ReadId(raw, id)) return token.Wrong("ids", "ids");
    if (to.size() == kMaxAround) return token.Wrong("ids", "at most 64 ids in all");
    to.push_back(id);
  }
  return {};
}

}  // namespace

epp::Status Tokenizer::Load(std::string_view json, Tokenizer& out) {
  out = Tokenizer();
  if (json.size() > kMaxFileBytes) return epp::Status::Invalid("larger than 128 MiB");
  if (!unicode::IsValid(json)) return epp::Status::Invalid("not UTF-8");
  Fields f;
  if (epp::Status s = Fields::Read(json, "tokenizer", f); !s.ok()) return s;
  if (f.Raw("model").empty()) return f.Wrong("model", "an object");
  if (epp::Status s = Normalizer::Load(f.Raw("normalizer"), out.normalizer_); !s.ok()) return s;
  if (epp::Status s = PreTokenizer::Load(f.Raw("pre_tokenizer"), out.splitter_); !s.ok()) return s;
  TextIds vocabulary;
  if (epp::Status s = Bpe::Load(f.Raw("model"), out.splitter_.byte_level(), out.model_, vocabulary);
      !s.ok()) {
    return s;
  }
  out.model_.CutAt(kMark, vocabulary);
  if (epp::Status s = out.LoadAdded(f.Raw("added_tokens"), vocabulary); !s.ok()) return s;
  return out.LoadPostProcessor(f.Raw("post_processor"), "post_processor", 0);
}

epp::Status Tokenizer::LoadAdded(std::string_view json, const TextIds& vocabulary) {
  std::vector<std::string_view> items;
  if (epp::Status s = Fields::ReadArray(json, "added_tokens", items); !s.ok()) return s;
  if (items.size() > kMaxAdded) return epp::Status::Invalid("added_tokens: more than 1048576");
  vocabulary_size_ = vocabulary.size();
  Normalizer::Memory normal;
  MatchMemory match;
  std::set<std::string, std::less<>> seen;
  for (size_t i = 0; i < items.size(); ++i) {
    Fields f;
    if (epp::Status s = Fields::Read(items[i], "added_tokens[" + std::to_string(i) + "]", f);
        !s.ok()) {
      return s;
    }
    AddedTokens::Token token;
    std::string content;
    bool normalized = true, special = false;
    token.id = UINT32_MAX;
    f.Get("id", token.id);
    f.Get("content", content);
    f.Get("special", special);
    normalized = !special;
    f.Get("normalized", normalized);
    f.Get("single_word", token.single_word);
    f.Get("lstrip", token.lstrip);
    f.Get("rstrip", token.rstrip);
    if (!f.status().ok()) return f.TakeStatus();
    if (content.size() > kMaxAddedBytes) return f.Wrong("content", "at most 1024 bytes");
    if (token.id == UINT32_MAX) return f.Wrong("id", "an id");
    if (content.empty() || !seen.insert(content).second) continue;
    // The vocabulary knows better.
    if (const uint32_t id = vocabulary.Find(content); id != TextIds::kNone) {
      token.id = id;
    } else {
      ++vocabulary_size_;
    }
    if (!normalized) {
      raw_.Add(content, token);
      continue;
    }
    bool ok = true;
    const std::string_view text = normalizer_.Run(content, normal, match, ok);
    if (!ok) return f.Wrong("content", "a text that the normalizer can read");
    if (text.size() > 16 * kMaxAddedBytes) return f.Wrong("content", "a shorter text");
    if (!text.empty()) normalized_.Add(text, token);
  }
  raw_.Build();
  normalized_.Build();
  return {};
}

epp::Status Tokenizer::LoadPostProcessor(std::string_view json, const std::string& where,
                                         int depth) {
  if (json.empty()) return {};
  Fields f;
  if (epp::Status s = Fields::Read(json, where, f); !s.ok()) return s;
  std::string type;
  f.Get("type", type);
  if (type == "ByteLevel") return {};
  if (type == "Sequence") {
    if (depth == kMaxDepth) return epp::Status::Invalid(where + ": nested too deeply");
    const std::string list = where + ".processors";
    std::vector<std::string_view> items;
    if (epp::Status s = Fields::ReadArray(f.Raw("processors"), list, items); !s.ok()) return s;
    for (size_t i = 0; i < items.size(); ++i) {
      epp::Status s = LoadPostProcessor(items[i], list + "[" + std::to_string(i) + "]", depth + 1);
      if (!s.ok()) return s;
    }
    return {};
  }
  // Each processor goes around what those before it made.
  std::vector<uint32_t> before, behind;
  if (type == "TemplateProcessing") {
    std::vector<std::string_view> items;
    if (epp::Status s = Fields::ReadArray(f.Raw("single"), where + ".single", items); !s.ok()) {
      return s;
    }
    Fields special;
    if (epp::Status s = Fields::Read(f.Raw("special_tokens"), where + ".special_tokens", special);
        !s.ok()) {
      return s;
    }
    bool text = false;
    for (const std::string_view item : items) {
      Fields piece, token;
      if (epp::Status s = Fields::Read(item, where + ".single", piece); !s.ok()) return s;
      if (!piece.Raw("Sequence").empty()) {
        if (text) return f.Wrong("single", "the text once");
        text = true;
        continue;
      }
      std::string name;
      if (epp::Status s = Fields::Read(piece.Raw("SpecialToken"), where + ".single", token);
          !s.ok()) {
        return s;
      }
      token.Get("id", name);
      if (!token.status().ok()) return token.TakeStatus();
      epp::Status s = AppendSpecial(special, name, where, text ? behind : before);
      if (!s.ok()) return s;
    }
    if (!text) return f.Wrong("single", "the text once");
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    const std::pair<const char*, std::vector<uint32_t>*> ends[] = {{"cls", &before},
                                                                   {"sep", &behind}};
    for (const auto& [key, to] : ends) {
      std::vector<std::string_view> pair;
      uint32_t id = 0;
      if (epp::Status s = Fields::ReadArray(f.Raw(key), where, pair); !s.ok()) return s;
      if (pair.size() != 2 || !Fields::ReadId(pair[1], id)) return f.Wrong(key, "a text and an id");
      to->push_back(id);
    }
  } else {
    return f.Wrong("type",
                   "Sequence, ByteLevel, TemplateProcessing, BertProcessing or RobertaProcessing");
  }
  if (before_.size() + before.size() > kMaxAround || behind_.size() + behind.size() > kMaxAround) {
    return epp::Status::Invalid(where + ": more than 64 ids around a text");
  }
  before_.insert(before_.begin(), before.begin(), before.end());
  behind_.insert(behind_.end(), behind.begin(), behind.end());
  return {};
}

epp::Status Tokenizer::Encode(std::string_view text, bool special, Memory& memory,
                              std::vector<uint32_t>& ids) const {
  if (text.size() > kMaxTextBytes) {
    return {EPP_RESOURCE_EXHAUSTED, "the text has " + std::to_string(text.size()) +
                                        " bytes, want at most " + std::to_string(kMaxTextBytes)};
  }
  if (!unicode::IsValid(text)) {
    memory.valid.clear();
    unicode::AppendValid(text, memory.valid);
    text = memory.valid;
  }
  if (special) ids.insert(ids.end(), before_.begin(), before_.end());
  struct Target {
    const Bpe& model;
    Bpe::Memory& memory;
    std::vector<uint32_t>& ids;
  } target{model_, memory.words, ids};
  const PreTokenizer::Word word = [](void* to, std::string_view bytes) {
    auto& t = *static_cast<Target*>(to);
    t.model.Encode(bytes, t.memory, t.ids);
  };
  bool ok = true;
  const auto token = [&](uint32_t id) { ids.push_back(id); };
  raw_.Split(
      text,
      [&](std::string_view part, size_t at) {
        const std::string_view normal =
            normalizer_.Run(part, memory.normal, memory.split.match, ok);
        normalized_.Split(
            normal,
            [&](std::string_view piece, size_t begin) {
              ok = ok && splitter_.Run(piece, at == 0 && begin == 0, memory.split, word, &target);
            },
            token);
      },
      token);
  if (special) ids.insert(ids.end(), behind_.begin(), behind_.end());
  const auto trim = [](std::string& s) {
    if (s.capacity() > kKeepBytes) std::string().swap(s);
  };
  trim(memory.valid);
  for (std::string& s : memory.normal.text) trim(s);
  for (std::string& s : memory.split.text) trim(s);
  if (ok) return {};
  return {EPP_RESOURCE_EXHAUSTED, "splitting the text takes too many steps"};
}

}  // namespace token_producer
