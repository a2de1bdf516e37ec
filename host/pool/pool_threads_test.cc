// The pool with its own thread, real time, and readers and writers that do not wait for each other.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "host/pool/pool.h"

namespace epp::pool {
namespace {

Endpoint::Fields Fields(int i) {
  Endpoint::Fields f;
  f.name_space = "ns";
  f.name = absl::StrCat("e", i);
  f.address = "127.0.0.1";
  f.port = 80;
  return f;
}

template <class Condition>
bool Eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

// Which endpoints a listener knows, by id.
class Known : public PoolListener {
 public:
  explicit Known(size_t ids) : known(ids) {}
  void EndpointUpserted(const Endpoint& e) override { known.at(e.abi().id).store(true); }
  void EndpointRemoved(const Endpoint& e) override {
    known.at(e.abi().id).store(false);
    ++removed;
  }
  std::vector<std::atomic<bool>> known;
  std::atomic<int> removed{0};
};

class Ignorant : public PoolListener {
 public:
  void EndpointUpserted(const Endpoint&) override {}
  void EndpointRemoved(const Endpoint&) override {}
};

class PoolThreads : public testing::Test {
 protected:
  std::shared_ptr<AttributeRegistry> attributes = std::make_shared<AttributeRegistry>();
  std::shared_ptr<Interner> interner = std::make_shared<Interner>();
};

TEST_F(PoolThreads, PublishesByItself) {
  Pool::Options options;
  options.publish_interval_ns = 1'000'000;
  options.stale_after_ns = 20'000'000;
  Pool pool(attributes, interner, &Clock::Real(), options);
  pool.Upsert(Fields(0));
  ASSERT_TRUE(Eventually([&] { return pool.current()->size() == 1; }));
  pool.Update(pool.current()->endpoints()[0]->id, {}, true);
  ASSERT_TRUE(Eventually([&] { return pool.current()->states()[0] == EndpointState::kFresh; }));
  ASSERT_TRUE(Eventually([&] { return pool.current()->states()[0] == EndpointState::kStale; }))
      << "crossing the limit is a change of its own";
}

TEST_F(PoolThreads, AtMostOneFrameInAnInterval) {
  Pool::Options options;
  options.publish_interval_ns = 20'000'000;
  Pool pool(attributes, interner, &Clock::Real(), options);
  std::vector<std::shared_ptr<const Frame>> frames;
  int i = 0;
  ASSERT_TRUE(Eventually([&] {
    pool.Upsert(Fields(i++ % 50));
    auto frame = pool.current();
    if (frames.empty() || frames.back() != frame) frames.push_back(frame);
    pool.Update(frame->size() ? frame->endpoints()[0]->id : 0, {}, true);
    return frames.size() == 5;
  }));
  for (size_t k = 1; k < frames.size(); ++k) {
    EXPECT_GE(frames[k]->created_ns() - frames[k - 1]->created_ns(), options.publish_interval_ns);
  }
}

// Two values of an endpoint are always written together and must be read so; a listener sees every
// endpoint before a frame has it, and its removal after the last one.
TEST_F(PoolThreads, ReadersSeeWholeFrames) {
  const AttributeId left = *attributes->Register("left", "t", EPP_T_I64);
  const AttributeId right = *attributes->Register("right", "t", EPP_T_I64);

  constexpr int kIds = 1 << 20;
  auto known = std::make_shared<Known>(kIds);
  Pool::Options options;
  options.publish_interval_ns = 100'000;
  Pool pool(attributes, interner, &Clock::Real(), options);
  pool.AddListener(known);

  std::atomic<bool> stop{false};
  std::atomic<int> torn{0}, unknown{0};
  const auto read = [&] {
    FrameReader reader(&pool);
    while (!stop.load()) {
      const Frame& frame = *reader.Get();
      const auto* l = static_cast<const int64_t*>(frame.column(left).values);
      const auto* r = static_cast<const int64_t*>(frame.column(right).values);
      std::set<uint32_t> slots(frame.slots().begin(), frame.slots().end());
      if (slots.size() != frame.size()) ++torn;
      for (size_t row = 0; row < frame.size(); ++row) {
        if (l != nullptr && l[row] != r[row]) ++torn;
        if (!known->known.at(frame.endpoints()[row]->id).load()) ++unknown;
      }
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back(read);
  threads.emplace_back(read);
  threads.emplace_back([&] {
    for (int64_t v = 0; !stop.load(); ++v) {
      const auto frame = pool.current();
      for (const epp_endpoint* e : frame->endpoints()) {
        AttributeValue values[2];
        values[0].id = left;
        values[1].id = right;
        values[0].i64 = values[1].i64 = v;
        pool.Update(e->id, values, true);
      }
    }
  });
  threads.emplace_back([&] {
    for (int i = 0; i + 1 < kIds && !stop.load(); ++i) {
      pool.Upsert(Fields(i % 40));
      pool.Remove("ns", Fields((i + 20) % 40).name);
      std::this_thread::yield();
    }
  });
  threads.emplace_back([&] {
    while (!stop.load()) {
      auto late = std::make_shared<Ignorant>();
      pool.AddListener(late);
      pool.RemoveListener(late.get());
      pool.Publish();
    }
  });
  EXPECT_TRUE(Eventually([&] { return known->removed.load() > 200; }));
  stop = true;
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(torn.load(), 0);
  EXPECT_EQ(unknown.load(), 0);
}

}  // namespace
}  // namespace epp::pool
