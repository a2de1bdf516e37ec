#include "head.h"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace sidecar {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

bool IsToken(std::string_view text) {
  static constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kMarks.find(c) != kMarks.npos;
  });
}

bool IsFieldText(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

std::string_view Trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// Calls f(element) for each of a comma-separated list.
template <class F>
void ForEachElement(std::string_view list, F&& f) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    const std::string_view element = Trim(list.substr(0, comma));
    if (!element.empty()) f(element);
    if (comma == list.npos) return;
    list.remove_prefix(comma + 1);
  }
}

// Takes the line at the front, without its CRLF. False when there is none, or a bare CR or LF.
bool TakeLine(std::string_view& text, std::string_view& line) {
  const size_t end = text.find_first_of("\r\n");
  if (end == text.npos || text.substr(end, 2) != "\r\n") return false;
  line = text.substr(0, end);
  text.remove_prefix(end + 2);
  return true;
}

const char* ParseFields(std::string_view text, Headers* out) {
  for (;;) {
    std::string_view line;
    if (!TakeLine(text, line)) return "a line does not end in CRLF";
    if (line.empty()) return text.empty() ? nullptr : "bytes behind the head";
    if (line.front() == ' ' || line.front() == '\t') return "a folded header";
    const size_t colon = line.find(':');
    if (colon == line.npos) return "a header without a colon";
    const std::string_view name = line.substr(0, colon);
    if (!IsToken(name)) return "a bad header name";
    const std::string_view value = Trim(line.substr(colon + 1));
    if (!IsFieldText(value)) return "a control character in a header";
    out->Add(name, value);
    if (out->all().size() > 256) return "more than 256 headers";
  }
}

// Of Content-Length and Transfer-Encoding; kNone when there is neither.
const char* ParseFraming(const Headers& headers, Framing* out) {
  const std::vector<std::string> lengths = headers.GetAll("content-length");
  const std::vector<std::string> codings = headers.GetAll("transfer-encoding");
  if (!codings.empty()) {
    if (!lengths.empty()) return "both Content-Length and Transfer-Encoding";
    if (codings.size() != 1 || !SameName(codings.front(), "chunked")) {
      return "a transfer coding other than chunked";
    }
    out->kind = Framing::Kind::kChunked;
    return nullptr;
  }
  if (lengths.empty()) return nullptr;
  const std::string& text = lengths.front();
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, out->length);
  if (lengths.size() != 1 || text.empty() || error != std::errc() || at != end ||
      out->length > uint64_t{1} << 62) {
    return "a bad Content-Length";
  }
  out->kind = Framing::Kind::kLength;
  return nullptr;
}

bool ConnectionSays(const Headers& headers, std::string_view word) {
  bool found = false;
  for (const std::string& value : headers.GetAll("connection")) {
    ForEachElement(value, [&](std::string_view e) { found = found || SameName(e, word); });
  }
  return found;
}

}  // namespace

bool SameName(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return Lower(x) == Lower(y); });
}

std::optional<std::string_view> Headers::Get(std::string_view name) const {
  for (const Header& h : all_) {
    if (SameName(h.name, name)) return h.value;
  }
  return std::nullopt;
}

std::vector<std::string> Headers::GetAll(std::string_view name) const {
  std::vector<std::string> out;
  for (const Header& h : all_) {
    if (SameName(h.name, name)) out.push_back(h.value);
  }
  return out;
}

void Headers::Add(std::string_view name, std::string_view value) {
  all_.push_back({std::string(name), std::string(value)});
}

void Headers::Set(std::string_view name, std::string_view value) {
  Remove(name);
  Add(name, value);
}

void Headers::Remove(std::string_view name) {
  std::erase_if(all_, [&](const Header& h) { return SameName(h.name, name); });
}

void Headers::DropHopByHop() {
  std::vector<std::string> named;
  for (const std::string& value : GetAll("connection")) {
    ForEachElement(value, [&](std::string_view e) { named.emplace_back(e); });
  }
  for (const std::string& name : named) {
    // These decide how the message is read or routed; no client may have them dropped.
    if (!SameName(name, "host") && !SameName(name, "content-length")) Remove(name);
  }
  for (const std::string_view name :
       {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization",
        "te", "trailer", "transfer-encoding", "upgrade"}) {
    Remove(name);
  }
}

void Headers::AppendTo(std::string& out) const {
  for (const Header& h : all_) {
    out += h.name;
    out += ": ";
    out += h.value;
    out += "\r\n";
  }
}

size_t HeadSize(std::string_view bytes, size_t& scanned) {
  // A blank line that ends in a bare LF ends the head as well, so that it is refused at once.
  size_t at = scanned > 3 ? scanned - 3 : 0;
  for (;;) {
    at = bytes.find('\n', at);
    if (at == bytes.npos) break;
    const std::string_view rest = bytes.substr(at + 1, 2);
    if (rest.starts_with('\n')) return at + 2;
    if (rest == "\r\n") return at + 3;
    ++at;
  }
  scanned = bytes.size();
  return 0;
}

const char* ParseRequest(std::string_view head, RequestHead* out) {
  std::string_view line;
  if (!TakeLine(head, line)) return "the request line does not end in CRLF";
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == line.npos || first == last) return "a bad request line";
  out->method = line.substr(0, first);
  out->target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!IsToken(out->method) || SameName(out->method, "connect")) return "a bad method";
  if (!out->target.starts_with('/') && out->target != "*") return "a target that is no path";
  if (!std::ranges::all_of(out->target, [](char c) { return c > 0x20 && c != 0x7f; })) {
    return "a target with bytes that must be escaped";
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return "a version other than HTTP/1.1";
  out->http_1_0 = version == "HTTP/1.0";
  if (const char* wrong = ParseFields(head, &out->headers)) return wrong;
  if (const char* wrong = ParseFraming(out->headers, &out->framing)) return wrong;
  if (out->http_1_0 && out->framing.kind == Framing::Kind::kChunked) return "chunked in HTTP/1.0";
  const size_t hosts = out->headers.GetAll("host").size();
  if (hosts > 1 || (hosts == 0 && !out->http_1_0)) return "not exactly one Host";
  out->keep_alive = out->http_1_0 ? ConnectionSays(out->headers, "keep-alive")
                                  : !ConnectionSays(out->headers, "close");
  if (const auto expect = out->headers.Get("expect")) {
    if (!SameName(*expect, "100-continue")) return "an unknown expectation";
    out->expects_continue = !out->http_1_0;
    out->headers.Remove("expect");
  }
  return nullptr;
}

const char* ParseResponse(std::string_view head, std::string_view method, ResponseHead* out) {
  std::string_view line;
  if (!TakeLine(head, line)) return "the status line does not end in CRLF";
  const bool http_1_0 = line.starts_with("HTTP/1.0 ");
  if (!http_1_0 && !line.starts_with("HTTP/1.1 ")) return "a version other than HTTP/1.1";
  line.remove_prefix(9);
  const char* const end = line.data() + std::min<size_t>(line.size(), 3);
  const auto [at, error] = std::from_chars(line.data(), end, out->status);
  if (error != std::errc() || at != end || line.size() < 3 || out->status < 100 ||
      (line.size() > 3 && line[3] != ' ')) {
    return "a bad status line";
  }
  out->reason = line.size() > 4 ? line.substr(4) : "";
  if (!IsFieldText(out->reason)) return "a control character in the reason";
  if (const char* wrong = ParseFields(head, &out->headers)) return wrong;
  if (const char* wrong = ParseFraming(out->headers, &out->framing)) return wrong;
  out->keep_alive = http_1_0 ? ConnectionSays(out->headers, "keep-alive")
                             : !ConnectionSays(out->headers, "close");
  if (method == "HEAD" || out->status < 200 || out->status == 204 || out->status == 304) {
    out->framing = {};
  } else if (out->framing.kind == Framing::Kind::kNone) {
    out->framing.kind = Framing::Kind::kUntilClose;
    out->keep_alive = false;
  }
  return nullptr;
}

}  // namespace sidecar
