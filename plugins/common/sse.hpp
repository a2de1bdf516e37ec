// Server-sent events as they stream by: lines out of chunks, with a bounded memory of the line that
// a chunk breaks off.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "epp/plugin.hpp"

namespace epp::sse {

// A longer line is still counted, but what it says is not read when a chunk breaks it off.
inline constexpr size_t kMaxCarry = 256 * 1024;

// The line that the last chunk of a response broke off. Lives in the request's arena.
struct Carry {
  char* data = nullptr;
  size_t size = 0;
  size_t capacity = 0;
  bool open = false;     // the last chunk ended inside a line
  bool lost = false;     // the line grew too long, or cannot matter
  bool counted = false;  // already counted as an event
  bool used = false;     // already understood
};

// The payload of a "data: " line; false for any other line.
inline bool Data(std::string_view line, std::string_view& payload) {
  constexpr std::string_view kPrefix = "data: ";
  if (!line.starts_with(kPrefix)) return false;
  payload = line.substr(kPrefix.size());
  return true;
}

inline bool IsDone(std::string_view payload) {
  return payload == "[DONE]" || payload == "[DONE]\r";
}

// Keeps part as the beginning (or more) of an unfinished line.
inline void Keep(const Call& call, Carry& carry, std::string_view part) {
  if (carry.lost || part.empty()) return;
  const size_t need = carry.size + part.size();
  if (need > kMaxCarry) {
    carry.lost = true;
    return;
  }
  if (need > carry.capacity) {
    size_t capacity = carry.capacity ? carry.capacity : 512;
    while (capacity < need) capacity *= 2;
    char* const data = static_cast<char*>(call.raw().keep(call.raw().arena, capacity, 1));
    if (data == nullptr) {
      carry.lost = true;
      return;
    }
    if (carry.size) std::memcpy(data, carry.data, carry.size);
    carry.data = data;
    carry.capacity = capacity;
  }
  std::memcpy(carry.data + carry.size, part.data(), part.size());
  carry.size = need;
}

// Splits one chunk of a response into lines and calls
//
//   count(payload)  once for every data line, as soon as its "data: " is complete
//   read(payload)   for data lines that are complete, that end the chunk, or that this chunk
//                   completes; until it returns true, which means that it has understood the line
//
// The carried line is in call's per-request state. Cost: one pass over the chunk, plus a copy of
// the part behind the last line feed.
template <class Count, class Read>
void EachData(const Call& call, std::string_view chunk, bool last, Count count, Read read) {
  Carry* carry = call.raw().state ? call.state<Carry>() : nullptr;
  std::string_view payload;
  if (carry && carry->open) {
    const size_t feed = chunk.find('\n');
    Keep(call, *carry, chunk.substr(0, feed));
    const std::string_view line(carry->data, carry->size);
    if (Data(line, payload)) {
      if (!carry->counted) count(payload);
      carry->counted = true;
      const bool complete = feed != std::string_view::npos || last;
      if (complete && !carry->lost && !carry->used) carry->used = read(payload);
    }
    if (feed == std::string_view::npos) return;
    *carry = Carry{carry->data, 0, carry->capacity};
    chunk.remove_prefix(feed + 1);
  }
  while (!chunk.empty()) {
    const size_t feed = chunk.find('\n');
    const std::string_view line = chunk.substr(0, feed);
    const bool data = Data(line, payload);
    bool used = false;
    if (data) {
      count(payload);
      used = read(payload);
    }
    if (feed == std::string_view::npos) {
      if (last || call.raw().state == nullptr) return;
      if (carry == nullptr) carry = call.state<Carry>() = call.Keep<Carry>();
      if (carry == nullptr) return;
      *carry = Carry{carry->data, 0, carry->capacity};
      carry->open = true;
      carry->counted = data;
      carry->used = used;
      // Only a data line can matter; the first bytes of one must be kept to tell.
      carry->lost = used || (!data && line.size() >= 6);
      Keep(call, *carry, line);
      return;
    }
    chunk.remove_prefix(feed + 1);
  }
}

}  // namespace epp::sse
