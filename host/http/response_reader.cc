#include "host/http/response_reader.h"

#include <algorithm>
#include <cstring>

namespace epp::http {
namespace {

bool Token(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return c != '\0' && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr;
}

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool SameName(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return Lower(x) == Lower(y); });
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Whether the comma list has the word.
bool ListHas(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (SameName(Trim(list.substr(0, comma)), word)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = Lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

void ResponseReader::Reset(uint64_t max_body_bytes, bool no_body) {
  *this = ResponseReader();
  max_body_bytes_ = max_body_bytes;
  no_body_ = no_body;
}

ResponseReader::Result ResponseReader::Fail(Error error) {
  phase_ = Phase::kFailed;
  error_ = error;
  return Result::kError;
}

ResponseReader::Result ResponseReader::Done() {
  phase_ = Phase::kDone;
  return Result::kDone;
}

bool ResponseReader::TakeLine(const char* data, size_t size, std::string_view* line) {
  scanned_ = std::max(scanned_, next_);
  const void* end = std::memchr(data + scanned_, '\n', size - scanned_);
  if (end == nullptr) {
    scanned_ = size;
    return false;
  }
  const auto at = static_cast<size_t>(static_cast<const char*>(end) - data);
  *line = std::string_view(data + next_, at - next_);
  if (!line->empty() && line->back() == '\r') line->remove_suffix(1);
  next_ = at + 1;
  return true;
}

bool ResponseReader::ParseStatusLine(std::string_view line) {
  // "HTTP/1.x NNN" and an optional reason.
  if (line.size() < 12 || line.substr(0, 7) != "HTTP/1." || line[8] != ' ') return false;
  if (line[7] != '0' && line[7] != '1') return false;
  if (line.size() > 12 && line[12] != ' ') return false;
  http10_ = line[7] == '0';
  status_ = 0;
  for (char c : line.substr(9, 3)) {
    if (c < '0' || c > '9') return false;
    status_ = status_ * 10 + (c - '0');
  }
  keep_alive_ = !http10_;
  chunked_ = has_length_ = false;
  remaining_ = 0;
  return status_ >= 100 && status_ <= 599;
}

bool ResponseReader::ParseHeader(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  const std::string_view name = line.substr(0, colon);
  if (!std::all_of(name.begin(), name.end(), Token)) return false;
  const std::string_view value = Trim(line.substr(colon + 1));
  if (value.find('\0') != std::string_view::npos || value.find('\r') != std::string_view::npos) {
    return false;
  }
  if (SameName(name, "content-length")) {
    if (value.empty() || value.size() > 18) return false;
    uint64_t length = 0;
    for (char c : value) {
      if (c < '0' || c > '9') return false;
      length = length * 10 + static_cast<uint64_t>(c - '0');
    }
    if (has_length_ && length != remaining_) return false;
    has_length_ = true;
    remaining_ = length;
  } else if (SameName(name, "transfer-encoding")) {
    if (chunked_ || http10_ || !SameName(value, "chunked")) return false;
    chunked_ = true;
  } else if (SameName(name, "connection")) {
    if (ListHas(value, "close")) {
      keep_alive_ = false;
    } else if (http10_ && ListHas(value, "keep-alive")) {
      keep_alive_ = true;
    }
  }
  return true;
}

bool ResponseReader::ParseChunkSize(std::string_view line) {
  size_t digits = 0;
  uint64_t bytes = 0;
  while (digits < line.size() && HexDigit(line[digits]) >= 0) {
    if (digits == 15) return false;
    bytes = bytes * 16 + static_cast<uint64_t>(HexDigit(line[digits++]));
  }
  if (digits == 0) return false;
  const std::string_view rest = Trim(line.substr(digits));
  if (!rest.empty() && rest[0] != ';') return false;
  remaining_ = bytes;
  return true;
}

ResponseReader::Result ResponseReader::EndHead(char* data, size_t* size) {
  if (status_ < 200) {
    // An interim response: forget it. A switch of protocols was not asked for.
    if (status_ == 101 || chunked_ || has_length_) return Fail(Error::kMalformed);
    std::memmove(data, data + next_, *size - next_);
    *size -= next_;
    next_ = scanned_ = 0;
    phase_ = Phase::kStatusLine;
    return Result::kNeedMore;
  }
  head_bytes_ = next_;
  if (chunked_ && has_length_) return Fail(Error::kMalformed);
  if (no_body_ || status_ == 204 || status_ == 304) return Done();
  if (chunked_) {
    phase_ = Phase::kChunkSize;
  } else if (has_length_) {
    if (remaining_ > max_body_bytes_) return Fail(Error::kBodyTooLarge);
    phase_ = Phase::kFixed;
  } else {
    keep_alive_ = false;
    phase_ = Phase::kUntilClose;
  }
  return Result::kNeedMore;
}

uint64_t ResponseReader::TakeBody(char* data, size_t size, uint64_t limit) {
  const size_t n = static_cast<size_t>(std::min<uint64_t>(size - next_, limit));
  const size_t end = head_bytes_ + body_bytes_;
  if (n != 0 && end != next_) std::memmove(data + end, data + next_, n);
  next_ += n;
  body_bytes_ += n;
  body_total_ += n;
  return n;
}

void ResponseReader::Pack(char* data, size_t* size) {
  if (phase_ < Phase::kFixed) return;
  const size_t end = head_bytes_ + body_bytes_;
  if (next_ == end) return;
  std::memmove(data + end, data + next_, *size - next_);
  *size -= next_ - end;
  scanned_ = std::max(scanned_, next_) - (next_ - end);
  next_ = end;
}

ResponseReader::Result ResponseReader::Advance(char* data, size_t* size) {
  std::string_view line;
  while (true) {
    switch (phase_) {
      case Phase::kStatusLine:
      case Phase::kHeaders: {
        const bool whole = TakeLine(data, *size, &line);
        if ((whole ? next_ : *size) > kMaxHeadBytes) return Fail(Error::kHeadTooLarge);
        if (!whole) return Result::kNeedMore;
        if (phase_ == Phase::kStatusLine) {
          if (!ParseStatusLine(line)) return Fail(Error::kMalformed);
          phase_ = Phase::kHeaders;
        } else if (!line.empty()) {
          if (!ParseHeader(line)) return Fail(Error::kMalformed);
        } else if (const Result result = EndHead(data, size); result != Result::kNeedMore) {
          if (result == Result::kDone && next_ < *size) keep_alive_ = false;
          return result;
        }
        break;
      }
      case Phase::kFixed:
        remaining_ -= TakeBody(data, *size, remaining_);
        if (remaining_ != 0) return Result::kNeedMore;
        // Bytes behind the response answer nothing that was asked.
        if (next_ < *size) keep_alive_ = false;
        return Done();
      case Phase::kChunkSize: {
        const size_t start = next_;
        const bool whole = TakeLine(data, *size, &line);
        if ((whole ? next_ : *size) - start > kMaxLineBytes) return Fail(Error::kMalformed);
        if (!whole) {
          Pack(data, size);
          return Result::kNeedMore;
        }
        if (!ParseChunkSize(line)) return Fail(Error::kMalformed);
        if (remaining_ > max_body_bytes_ - body_total_) return Fail(Error::kBodyTooLarge);
        phase_ = remaining_ == 0 ? Phase::kTrailers : Phase::kChunkData;
        break;
      }
      case Phase::kChunkData:
        remaining_ -= TakeBody(data, *size, remaining_);
        if (remaining_ != 0) {
          Pack(data, size);
          return Result::kNeedMore;
        }
        phase_ = Phase::kChunkEnd;
        break;
      case Phase::kChunkEnd:
        if (!TakeLine(data, *size, &line)) {
          if (*size - next_ > 1) return Fail(Error::kMalformed);
          Pack(data, size);
          return Result::kNeedMore;
        }
        if (!line.empty()) return Fail(Error::kMalformed);
        phase_ = Phase::kChunkSize;
        break;
      case Phase::kTrailers: {
        const size_t start = next_;
        const bool whole = TakeLine(data, *size, &line);
        if (trailer_bytes_ + (whole ? next_ : *size) - start > kMaxTrailerBytes) {
          return Fail(Error::kHeadTooLarge);
        }
        if (!whole) {
          Pack(data, size);
          return Result::kNeedMore;
        }
        trailer_bytes_ += next_ - start;
        if (!line.empty()) break;
        if (next_ < *size) keep_alive_ = false;
        return Done();
      }
      case Phase::kUntilClose:
        if (*size - next_ > max_body_bytes_ - body_total_) return Fail(Error::kBodyTooLarge);
        TakeBody(data, *size, UINT64_MAX);
        return Result::kNeedMore;
      case Phase::kDone:
        return Result::kDone;
      case Phase::kFailed:
        return Result::kError;
    }
  }
}

ResponseReader::Result ResponseReader::Finish() {
  keep_alive_ = false;
  if (phase_ == Phase::kUntilClose || phase_ == Phase::kDone) return Done();
  return phase_ == Phase::kFailed ? Result::kError : Fail(Error::kEndedEarly);
}

void ResponseReader::DropBody(char* data, size_t* size) {
  if (!head_complete() || body_bytes_ == 0) return;
  std::memmove(data + head_bytes_, data + next_, *size - next_);
  *size -= next_ - head_bytes_;
  scanned_ = std::max(scanned_, next_) - (next_ - head_bytes_);
  next_ = head_bytes_;
  body_bytes_ = 0;
}

std::string_view ResponseReader::Header(const char* data, std::string_view name) const {
  if (!head_complete()) return {};
  std::string_view rest(data, head_bytes_);
  rest.remove_prefix(std::min(rest.find('\n'), rest.size() - 1) + 1);
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size() - 1);
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos && SameName(line.substr(0, colon), name)) {
      return Trim(line.substr(colon + 1));
    }
  }
  return {};
}

}  // namespace epp::http
