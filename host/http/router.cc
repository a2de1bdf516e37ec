#include "host/http/router.h"

#include <strings.h>

#include <algorithm>

namespace epp::http {
namespace {

std::vector<std::string_view> Split(std::string_view path) {
  std::vector<std::string_view> out;
  if (!path.empty() && path[0] == '/') path.remove_prefix(1);
  while (true) {
    const size_t slash = path.find('/');
    out.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return out;
    path.remove_prefix(slash + 1);
  }
}

bool IsCapture(std::string_view segment) {
  return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}

// Smaller is more specific: position by position, literal, capture, rest.
std::string Rank(const std::vector<std::string>& segments) {
  std::string out;
  for (const std::string& s : segments) out.push_back(s == "*" ? 'c' : IsCapture(s) ? 'b' : 'a');
  return out;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool Fits(const std::vector<std::string>& pattern, const std::vector<std::string>& path,
          std::vector<std::pair<std::string, std::string>>* params) {
  params->clear();
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == "*") {
      std::string rest;
      for (size_t k = i; k < path.size(); ++k) rest.append(k > i ? "/" : "").append(path[k]);
      params->emplace_back("*", std::move(rest));
      return true;
    }
    if (i >= path.size()) return false;
    if (IsCapture(pattern[i])) {
      if (path[i].empty()) return false;
      params->emplace_back(pattern[i].substr(1, pattern[i].size() - 2), path[i]);
    } else if (pattern[i] != path[i]) {
      return false;
    }
  }
  return pattern.size() == path.size();
}

}  // namespace

std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_space) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = HexDigit(text[i + 1]), low = HexDigit(text[i + 2]);
      if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    } else {
      out.push_back(plus_is_space && text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

std::string_view Request::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key.size() == name.size() && strncasecmp(key.data(), name.data(), name.size()) == 0) {
      return value;
    }
  }
  return {};
}

std::optional<std::string> Request::Query(std::string_view name) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    if (PercentDecode(pair.substr(0, equals), true) == name) {
      return PercentDecode(pair.substr(std::min(equals + 1, pair.size())), true);
    }
  }
  return std::nullopt;
}

std::string_view Request::Param(std::string_view name) const {
  for (const auto& [key, value] : params) {
    if (key == name) return value;
  }
  return {};
}

std::string_view StatusText(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Status";
  }
}

void Router::Handle(std::string method, std::string_view pattern, Handler handler) {
  Route route;
  for (std::string_view segment : Split(pattern)) route.segments.emplace_back(segment);
  const auto known = std::find_if(routes_.begin(), routes_.end(),
                                  [&](const Route& r) { return r.segments == route.segments; });
  if (known != routes_.end()) {
    known->methods.emplace_back(std::move(method), std::move(handler));
    return;
  }
  route.methods.emplace_back(std::move(method), std::move(handler));
  const auto place = std::find_if(routes_.begin(), routes_.end(), [&](const Route& r) {
    return Rank(route.segments) < Rank(r.segments);
  });
  routes_.insert(place, std::move(route));
}

Router::Match Router::Find(std::string_view method, std::string_view path) const {
  Match match;
  std::vector<std::string> segments;
  for (std::string_view segment : Split(path)) {
    auto decoded = PercentDecode(segment, false);
    if (!decoded.has_value()) {
      match.status = 400;
      return match;
    }
    segments.push_back(*std::move(decoded));
  }
  match.status = 404;
  if (path.empty() || path[0] != '/') return match;
  for (const Route& route : routes_) {
    if (!Fits(route.segments, segments, &match.params)) continue;
    for (const auto& [name, handler] : route.methods) {
      if (name == method || (method == "HEAD" && name == "GET")) {
        match.handler = &handler;
        match.status = 200;
        return match;
      }
      match.allow.append(match.allow.empty() ? "" : ", ").append(name);
      if (name == "GET") match.allow.append(", HEAD");
    }
    match.allow.append(", OPTIONS");
    match.status = method == "OPTIONS" ? 204 : 405;
    return match;
  }
  return match;
}

}  // namespace epp::http
