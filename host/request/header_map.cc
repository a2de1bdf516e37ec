#include "host/request/header_map.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "absl/container/flat_hash_map.h"

namespace epp::request {
namespace {

// Above this many headers repeated names are found by hashing: a hostile request must not cost
// quadratic time.
constexpr size_t kLinearLimit = 64;

constexpr std::array<std::string_view, 18> kSystemOwned = {
    "x-llm-d-inference-objective",
    "x-gateway-inference-objective",
    "x-llm-d-inference-fairness-id",
    "x-gateway-inference-fairness-id",
    "x-llm-d-model-name-rewrite",
    "x-gateway-model-name-rewrite",
    "x-llm-d-slo-ttft-ms",
    "x-slo-ttft-ms",
    "x-llm-d-slo-tpot-ms",
    "x-slo-tpot-ms",
    "x-llm-d-video-fps",
    "x-llm-d-video-duration-seconds",
    "x-llm-d-video-resolution",
    "x-gateway-destination-endpoint-subset",
    "x-gateway-destination-endpoint",
    "x-gateway-destination-endpoint-served",
    "x-llm-d-request-dropped-reason",
    "content-length",
};

constexpr std::array<std::string_view, 7> kHopByHop = {
    "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "proxy-connection",
};

std::string_view View(epp_str s) { return {s.data, s.size}; }

std::string_view LowerCopy(std::string_view text, Arena& arena) {
  const std::span<char> copy = arena.AllocArray<char>(text.size());
  for (size_t i = 0; i < copy.size(); ++i) {
    const char c = text[i];
    copy[i] = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  }
  return {copy.data(), copy.size()};
}

epp_str Str(std::string_view s) { return {s.data(), s.size()}; }

bool FitsOneLine(std::string_view text) {
  return text.find_first_of(std::string_view("\0\r\n", 3)) == std::string_view::npos;
}

}  // namespace

bool IsSystemOwned(std::string_view name) {
  return std::find(kSystemOwned.begin(), kSystemOwned.end(), name) != kSystemOwned.end();
}

bool IsHopByHop(std::string_view name) {
  return std::find(kHopByHop.begin(), kHopByHop.end(), name) != kHopByHop.end();
}

void HeaderMap::Assign(std::span<const Header> headers) {
  entries_.reserve(headers.size() + 4);
  absl::flat_hash_map<std::string_view, size_t> index;
  const bool hashed = headers.size() > kLinearLimit;
  for (const Header& header : headers) {
    const std::string_view name = LowerCopy(header.name, *arena_);
    const epp_str value = Str(arena_->Copy(header.value));
    size_t at = entries_.size();
    if (hashed) {
      at = index.try_emplace(name, at).first->second;
    } else {
      at = IndexOf(name);
    }
    if (at < entries_.size()) {
      entries_[at].value = value;
    } else {
      entries_.push_back({Str(name), value});
    }
  }
  received_ = entries_.size();
}

size_t HeaderMap::IndexOf(std::string_view name) const {
  size_t i = 0;
  while (i < entries_.size() && View(entries_[i].name) != name) ++i;
  return i;
}

std::optional<std::string_view> HeaderMap::Find(std::string_view name) const {
  const size_t i = IndexOf(name);
  if (i == entries_.size()) return std::nullopt;
  return View(entries_[i].value);
}

std::optional<std::string_view> HeaderMap::Find(std::string_view name,
                                                std::string_view alias) const {
  if (const auto value = Find(name)) return value;
  return Find(alias);
}

void HeaderMap::Set(std::string_view name, std::string_view value) {
  const std::string_view lower = LowerCopy(name, *arena_);
  const size_t i = IndexOf(lower);
  if (i == entries_.size()) {
    entries_.push_back({Str(lower), Str(arena_->Copy(value))});
  } else {
    if (View(entries_[i].value) == value) return;
    entries_[i].value = Str(arena_->Copy(value));
  }
  changed_.resize(entries_.size(), false);
  changed_[i] = true;
}

void HeaderMap::Remove(std::string_view name) {
  const std::string_view lower = LowerCopy(name, *arena_);
  const size_t i = IndexOf(lower);
  if (i == entries_.size()) return;
  if (i < received_) {
    gone_.push_back(lower);
    --received_;
  }
  entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(i));
  if (i < changed_.size()) changed_.erase(changed_.begin() + static_cast<ptrdiff_t>(i));
}

void HeaderMap::AppendChanges(bool echo_all, HeaderMutation* out) const {
  for (size_t i = 0; i < entries_.size(); ++i) {
    const bool changed = i < changed_.size() && changed_[i];
    if (!changed && !echo_all) continue;
    const std::string_view name = View(entries_[i].name);
    if (IsSystemOwned(name) || IsHopByHop(name)) continue;
    if (name.empty() || !FitsOneLine(name) || !FitsOneLine(View(entries_[i].value))) continue;
    out->set.push_back({std::string(name), std::string(View(entries_[i].value))});
  }
  for (const std::string_view name : gone_) {
    if (!IsSystemOwned(name) && IndexOf(name) == entries_.size()) out->remove.emplace_back(name);
  }
}

}  // namespace epp::request
