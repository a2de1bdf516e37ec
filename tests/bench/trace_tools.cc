#include "tests/bench/trace_tools.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <list>
#include <random>
#include <unordered_map>

#include "tests/sim/engine.h"

namespace epp::bench {

using sim::TraceRequest;

std::string TokenBody(const TraceRequest& request) {
  std::string body = R"({"model":"demo","stream":true,"max_tokens":)" +
                     std::to_string(std::max(1U, request.output_tokens)) + R"(,"prompt":[)";
  body.reserve(body.size() + size_t{request.prompt_tokens} * 7 + 2);
  char digits[12];
  for (uint32_t t = 0; t < request.prompt_tokens; ++t) {
    const size_t block = t / sim::kMooncakeBlockTokens;
    // A trace's last id may be missing; such tokens are the request's own.
    const uint64_t id = block < request.hash_ids.size()
                            ? request.hash_ids[block]
                            : static_cast<uint64_t>(request.arrival.count());
    uint64_t z = id * 0x9e3779b97f4a7c15u + t % sim::kMooncakeBlockTokens;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z ^= z >> 27;
    const auto end = std::to_chars(digits, digits + sizeof(digits), z % 128000).ptr;
    body.append(digits, end);
    body += ',';
  }
  body.back() = ']';
  body += '}';
  return body;
}

void SpreadBursts(std::vector<TraceRequest>& trace) {
  for (size_t begin = 0; begin < trace.size();) {
    size_t end = begin;
    while (end < trace.size() && trace[end].arrival == trace[begin].arrival) ++end;
    if (end < trace.size()) {
      const sim::SimTime gap = trace[end].arrival - trace[begin].arrival;
      const auto count = static_cast<int64_t>(end - begin);
      for (int64_t i = 1; i < count; ++i) {
        trace[begin + static_cast<size_t>(i)].arrival += gap * i / count;
      }
    }
    begin = end;
  }
}

double CacheBound(const std::vector<TraceRequest>& trace, size_t capacity_blocks) {
  std::list<uint64_t> order;  // most recent first
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> held;
  uint64_t hits = 0;
  uint64_t all = 0;
  for (const TraceRequest& request : trace) {
    bool matching = true;
    for (size_t b = 0; b < request.hash_ids.size(); ++b) {
      const uint64_t begin = b * sim::kMooncakeBlockTokens;
      if (begin >= request.prompt_tokens) break;
      matching = matching && held.contains(request.hash_ids[b]);
      if (matching) {
        hits += std::min<uint64_t>(sim::kMooncakeBlockTokens, request.prompt_tokens - begin);
      }
    }
    all += request.prompt_tokens;
    for (size_t b = request.hash_ids.size(); b-- > 0;) {
      if (const auto it = held.find(request.hash_ids[b]); it != held.end()) {
        order.splice(order.begin(), order, it->second);
        continue;
      }
      order.push_front(request.hash_ids[b]);
      held.emplace(request.hash_ids[b], order.begin());
    }
    while (held.size() > capacity_blocks) {
      held.erase(order.back());
      order.pop_back();
    }
  }
  return all ? static_cast<double>(hits) / static_cast<double>(all) : 0;
}

std::vector<TraceRequest> MakeChatTrace(const ChatTrace& shape) {
  constexpr uint64_t kSystemPrompts = 4;
  std::mt19937_64 random(shape.seed);
  std::vector<size_t> turns(shape.conversations, 0);
  std::vector<size_t> open(shape.conversations);
  for (size_t c = 0; c < open.size(); ++c) open[c] = c;
  std::vector<TraceRequest> trace;
  uint64_t now_ms = 0;
  while (!open.empty()) {
    const size_t at = random() % open.size();
    const size_t c = open[at];
    TraceRequest& request = trace.emplace_back();
    request.arrival = std::chrono::milliseconds(now_ms);
    now_ms += random() % (2 * shape.gap_ms + 1);
    for (size_t b = 0; b < shape.shared_blocks; ++b) {
      request.hash_ids.push_back(1 + c % kSystemPrompts * 1000 + b);
    }
    ++turns[c];
    for (size_t b = 0; b < turns[c] * shape.turn_blocks; ++b) {
      request.hash_ids.push_back(1'000'000 * (c + 1) + b);
    }
    request.prompt_tokens =
        static_cast<uint32_t>(request.hash_ids.size()) * sim::kMooncakeBlockTokens;
    request.output_tokens = shape.output_tokens;
    if (turns[c] == shape.turns) open.erase(open.begin() + static_cast<ptrdiff_t>(at));
  }
  return trace;
}

}  // namespace epp::bench
