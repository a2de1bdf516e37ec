// Lookups and insertions of a long prompt. Reported per call; single-threaded unless named so.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "hashing.h"
#include "plugins/common/prefix_index/index.h"

namespace epp::approx {

using prefix_index::Index;
using prefix_index::LookupScratch;
namespace {

constexpr size_t kTokens = 100'000;
constexpr size_t kBlockTokens = 64;
constexpr uint32_t kCapacity = 31'250;
constexpr uint64_t kLimit = uint64_t{2} << 30;

std::vector<uint64_t> Prompt(uint64_t seed, size_t blocks = BlockCount(kTokens, kBlockTokens)) {
  std::mt19937_64 random(seed);
  std::vector<uint64_t> out(blocks);
  for (uint64_t& h : out) h = random();
  return out;
}

// Every endpoint full of its own prompts, and one prompt that `sharing` endpoints hold; the
// others hold less and less of it.
std::unique_ptr<Index> Filled(uint32_t endpoints, uint32_t sharing) {
  auto index = std::make_unique<Index>(kLimit, 42);
  const std::vector<uint64_t> shared = Prompt(1);
  for (uint32_t s = 0; s < endpoints; ++s) {
    index->Register(s, s + 1, "ns/endpoint");
    for (uint64_t i = 0; i < 4; ++i) {
      index->Insert(s, s + 1, Prompt(1000 + s * 8 + i), kCapacity);
    }
    const size_t depth = s < sharing ? shared.size() : shared.size() * s / (endpoints * 2);
    index->Insert(s, s + 1, std::span(shared).first(depth), kCapacity);
  }
  return index;
}

void BM_Hash(benchmark::State& state) {
  const std::vector<uint32_t> tokens(kTokens, 17);
  std::vector<uint64_t> out(BlockCount(kTokens, kBlockTokens));
  for (auto _ : state) {
    HashBlocks(HashRoot("model", ""), tokens, kBlockTokens, out);
    benchmark::DoNotOptimize(out.data());
  }
}
BENCHMARK(BM_Hash)->Unit(benchmark::kMicrosecond);

// Arguments: endpoints, endpoints that hold the whole prompt.
void BM_Lookup(benchmark::State& state) {
  const auto index =
      Filled(static_cast<uint32_t>(state.range(0)), static_cast<uint32_t>(state.range(1)));
  const std::vector<uint64_t> prompt = Prompt(1);
  LookupScratch scratch;
  for (auto _ : state) {
    index->Begin(&scratch);
    index->Lookup(prompt, &scratch);
    benchmark::DoNotOptimize(scratch.depth.data());
  }
  state.counters["bytes/block"] =
      static_cast<double>(index->Bytes()) / static_cast<double>(index->blocks());
}
BENCHMARK(BM_Lookup)
    ->Args({100, 1})
    ->Args({100, 50})
    ->Args({1000, 1})
    ->Args({1000, 10})
    ->Args({1000, 1000})
    ->Unit(benchmark::kMicrosecond);

// The prompt is there already: only its recency changes.
void BM_Refresh(benchmark::State& state) {
  const auto index =
      Filled(static_cast<uint32_t>(state.range(0)), static_cast<uint32_t>(state.range(1)));
  const std::vector<uint64_t> prompt = Prompt(1);
  for (auto _ : state) index->Insert(0, 1, prompt, kCapacity);
}
BENCHMARK(BM_Refresh)->Args({100, 50})->Args({1000, 1000})->Unit(benchmark::kMicrosecond);

// New prompts, into endpoints that are full or fill up.
void BM_Insert(benchmark::State& state) {
  const auto endpoints = static_cast<uint32_t>(state.range(0));
  const auto index = Filled(endpoints, 1);
  std::vector<std::vector<uint64_t>> prompts;
  for (uint64_t i = 0; i < 512; ++i) prompts.push_back(Prompt(1'000'000 + i));
  size_t i = 0;
  for (auto _ : state) {
    const auto slot = static_cast<uint32_t>(i % endpoints);
    index->Insert(slot, slot + 1, prompts[i % prompts.size()], kCapacity);
    ++i;
  }
}
BENCHMARK(BM_Insert)->Arg(100)->Arg(1000)->Unit(benchmark::kMicrosecond);

// A thousand endpoints, each full of blocks that no other has: the most memory that there can be.
void BM_FillAll(benchmark::State& state) {
  constexpr uint32_t kEndpoints = 1000;
  for (auto _ : state) {
    Index index(1'800'000'000, 42);
    for (uint32_t s = 0; s < kEndpoints; ++s) {
      index.Register(s, s + 1, "ns/endpoint");
      for (uint64_t i = 0; i < 20; ++i) {
        index.Insert(s, s + 1, Prompt(s * uint64_t{32} + i), kCapacity);
      }
    }
    state.counters["blocks"] = static_cast<double>(index.blocks());
    state.counters["bytes"] = static_cast<double>(index.Bytes());
  }
}
BENCHMARK(BM_FillAll)->Iterations(1)->Unit(benchmark::kSecond);

void BM_LookupThreads(benchmark::State& state) {
  static std::unique_ptr<Index> index;
  if (state.thread_index() == 0) index = Filled(100, 50);
  const std::vector<uint64_t> prompt = Prompt(1);
  LookupScratch scratch;
  for (auto _ : state) {
    index->Begin(&scratch);
    index->Lookup(prompt, &scratch);
    benchmark::DoNotOptimize(scratch.depth.data());
  }
  if (state.thread_index() == 0) index.reset();
}
BENCHMARK(BM_LookupThreads)->Threads(1)->Threads(2)->Unit(benchmark::kMicrosecond)->UseRealTime();

// Each thread inserts new prompts into endpoints of its own, as workers mostly do by chance.
void BM_InsertThreads(benchmark::State& state) {
  static std::unique_ptr<Index> index;
  if (state.thread_index() == 0) index = Filled(100, 1);
  std::vector<std::vector<uint64_t>> prompts;
  for (uint64_t i = 0; i < 256; ++i) {
    prompts.push_back(Prompt(1'000'000 + static_cast<uint64_t>(state.thread_index()) * 1000 + i));
  }
  size_t i = 0;
  for (auto _ : state) {
    const auto slot =
        static_cast<uint32_t>((2 * i + static_cast<size_t>(state.thread_index())) % 100);
    index->Insert(slot, slot + 1, prompts[i % prompts.size()], kCapacity);
    ++i;
  }
  if (state.thread_index() == 0) index.reset();
}
BENCHMARK(BM_InsertThreads)->Threads(1)->Threads(2)->Unit(benchmark::kMicrosecond)->UseRealTime();

// Hands a million blocks to a successor while a worker inserts; how long the worker waited at most.
void BM_HandOver(benchmark::State& state) {
  const auto index = std::make_unique<Index>(kLimit, 42);
  for (uint32_t s = 0; s < 40; ++s) {
    index->Register(s, s + 1, "ns/endpoint");
    for (uint64_t i = 0; i < 16; ++i) {
      index->Insert(s, s + 1, Prompt(1000 + s * 16 + i), kCapacity);
    }
  }
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> longest_ns{0};
  std::thread worker([&] {
    const std::vector<uint64_t> known = Prompt(1);
    for (uint32_t s = 0; !stop; s = (s + 1) % 40) {
      const auto begin = std::chrono::steady_clock::now();
      index->Insert(s, s + 1, std::span(known).first(16), kCapacity);
      const auto took = std::chrono::steady_clock::now() - begin;
      longest_ns = std::max<uint64_t>(longest_ns, static_cast<uint64_t>(took.count()));
    }
  });
  double save_ms = 0;
  double load_ms = 0;
  for (auto _ : state) {
    const auto ms = [begin = std::chrono::steady_clock::now()] {
      return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
          .count();
    };
    std::string bytes;
    index->Save(&bytes);
    save_ms = ms();
    Index next(uint64_t{256} << 20, 7);
    for (uint32_t s = 0; s < 40; ++s) next.Register(s, s + 1, "ns/endpoint");
    next.Load(bytes, [](uint32_t capacity) { return capacity; });
    load_ms = ms() - save_ms;
    state.counters["blocks"] = static_cast<double>(next.blocks());
  }
  stop = true;
  worker.join();
  state.counters["save_ms"] = save_ms;
  state.counters["load_ms"] = load_ms;
  state.counters["longest_insert_us"] = static_cast<double>(longest_ns) * 1e-3;
}
BENCHMARK(BM_HandOver)->Iterations(5)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace epp::approx

BENCHMARK_MAIN();
