#include "record.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "splice.h"

namespace sidecar {
namespace {

constexpr size_t kShownBytes = 200;
constexpr std::array<std::string_view, kFallbacks> kNames = {
    "prefill-off", "encode-off",      "encoder-denied", "source-denied",
    "source-off",  "prefill-retried", "no-kv-params",   "decode-declined"};

std::string_view NameOf(CallError error) {
  switch (error) {
    case CallError::kNone:
      return "";
    case CallError::kRefused:
      return "refused";
    case CallError::kTimedOut:
      return "timed-out";
    case CallError::kBroken:
      return "broken";
    case CallError::kTooLarge:
      return "too-large";
    case CallError::kCancelled:
      return "cancelled";
    case CallError::kUntrusted:
      return "untrusted";
  }
  return "";
}

std::string Shown(std::string_view text) {
  std::string out(text.substr(0, kShownBytes));
  for (char& c : out) {
    if (c < ' ' || c > '~') c = '?';
  }
  return JsonString(out);
}

class Object {
 public:
  explicit Object(std::string& out) : out_(out) { out_ += '{'; }
  std::string& Key(std::string_view name) {
    if (!first_) out_ += ',';
    first_ = false;
    out_ += '"';
    out_ += name;
    out_ += "\":";
    return out_;
  }
  void Text(std::string_view name, std::string_view text) { Key(name) += Shown(text); }
  void Number(std::string_view name, uint64_t value) { Key(name) += std::to_string(value); }
  void Ms(std::string_view name, double seconds) {
    std::array<char, 32> text;
    const int n = std::snprintf(text.data(), text.size(), "%.3f", seconds * 1e3);
    Key(name).append(text.data(), static_cast<size_t>(n));
  }
  void End() { out_ += '}'; }

 private:
  std::string& out_;
  bool first_ = true;
};

}  // namespace

std::string_view NameOf(Fallback fallback) { return kNames[static_cast<size_t>(fallback)]; }

void Record::Add(Hop hop) {
  if (hops.size() < kHops) {
    hops.push_back(std::move(hop));
  } else {
    ++more_hops;
  }
}

bool Record::plain() const {
  const auto fine = [](const Hop& hop) { return hop.status >= 200 && hop.status < 300; };
  return fallbacks == 0 && !client_left && !cut && status >= 200 && status < 400 &&
         std::ranges::all_of(hops, fine);
}

std::string Record::Json(std::string_view id, std::string_view method, std::string_view path,
                         uint32_t rank) const {
  std::string out;
  out.reserve(512);
  Object top(out);
  if (!id.empty()) top.Text("id", id);
  top.Text("method", method);
  top.Text("path", path);
  top.Text("api", api);
  top.Text("stages", stages);
  if (rank != 0) top.Number("rank", rank);
  top.Number("status", static_cast<uint64_t>(status));
  top.Text("outcome", client_left                     ? "client-left"
                      : cut                           ? "cut"
                      : status >= 200 && status < 400 ? "answered"
                                                      : "refused");
  top.Ms("ms", seconds);
  if (first_byte > 0) top.Ms("first_byte_ms", first_byte);
  top.Number("sent", sent);
  if (!why.empty()) top.Text("why", why);
  if (fallbacks != 0) {
    top.Key("fallbacks") += '[';
    bool first = true;
    for (size_t i = 0; i < kFallbacks; ++i) {
      if ((fallbacks >> i & 1) == 0) continue;
      if (!first) out += ',';
      first = false;
      out += Shown(kNames[i]);
    }
    out += ']';
  }
  top.Key("hops") += '[';
  for (size_t i = 0; i < hops.size(); ++i) {
    const Hop& hop = hops[i];
    if (i != 0) out += ',';
    Object object(out);
    object.Text("stage", hop.stage);
    object.Text("worker", hop.worker);
    object.Ms("ms", hop.seconds);
    if (hop.status != 0) object.Number("status", static_cast<uint64_t>(hop.status));
    if (hop.error != CallError::kNone) object.Text("error", NameOf(hop.error));
    if (!hop.detail.empty()) object.Text("detail", hop.detail);
    if (hop.calls != 1) object.Number("calls", hop.calls);
    object.Number("sent", hop.sent);
    object.Number("received", hop.received);
    object.End();
  }
  out += ']';
  if (more_hops != 0) top.Number("more_hops", more_hops);
  top.End();
  return out;
}

}  // namespace sidecar
