// What a frame shows and when, with a clock that stands still: nothing publishes but Publish.
#include "host/pool/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace epp::pool {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

Endpoint::Fields Fields(std::string name, std::string address = "10.0.0.1", uint16_t port = 8000) {
  Endpoint::Fields f;
  f.name_space = "default";
  f.name = std::move(name);
  f.address = std::move(address);
  f.port = port;
  return f;
}

std::string_view View(epp_str s) { return {s.data, s.size}; }

class Recorder : public PoolListener {
 public:
  void EndpointUpserted(const Endpoint& e) override {
    events.push_back(absl::StrCat("+", e.fields().name));
  }
  void EndpointRemoved(const Endpoint& e) override {
    events.push_back(absl::StrCat("-", e.fields().name));
  }
  void EndpointLeft(const Endpoint& e) override { events.push_back("~" + e.fields().name); }
  std::vector<std::string> Take() { return std::exchange(events, {}); }
  std::vector<std::string> events;
};

class PoolTest : public testing::Test {
 protected:
  AttributeId Attr(std::string_view key, int32_t type, std::string_view producer = "test") {
    return *attributes->Register(key, producer, type);
  }
  uint64_t IdOf(std::string_view name) {
    for (const epp_endpoint* e : pool.current()->endpoints()) {
      if (View(e->name) == "default/" + std::string(name)) return e->id;
    }
    return 0;
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const epp_endpoint* e : pool.current()->endpoints()) names.emplace_back(View(e->name));
    return names;
  }
  void Set(std::string_view name, AttributeValue value, bool good = true) {
    pool.Update(IdOf(name), std::span(&value, 1), good);
  }
  static AttributeValue Int(AttributeId id, int64_t v) {
    AttributeValue value;
    value.id = id;
    value.i64 = v;
    return value;
  }

  FakeClock clock;
  std::shared_ptr<AttributeRegistry> attributes = std::make_shared<AttributeRegistry>();
  std::shared_ptr<Interner> interner = std::make_shared<Interner>();
  Pool pool{attributes, interner, &clock, {}};
};

template <class T>
T ValueAt(const Frame& frame, AttributeId id, size_t row) {
  return static_cast<const T*>(frame.column(id).values)[row];
}
bool Present(const Frame& frame, AttributeId id, size_t row) {
  return frame.column(id).validity[row / 64] >> (row % 64) & 1;
}

TEST_F(PoolTest, StartsWithAnEmptyFrame) {
  EXPECT_EQ(pool.current()->size(), 0u);
  EXPECT_EQ(pool.current()->RowOf(1), 0u);
  const auto first = pool.current();
  pool.Publish();
  EXPECT_EQ(pool.current(), first) << "nothing changed, nothing published";
}

TEST_F(PoolTest, AbiViewOfAnEndpoint) {
  Endpoint::Fields f = Fields("v6", "fd00::1", 9000);
  f.rank = 2;
  f.labels = {{"z", "1"}, {"a", "2"}};
  pool.Upsert(f);
  pool.Publish();
  const epp_endpoint& e = *pool.current()->endpoints()[0];
  EXPECT_EQ(e.struct_size, sizeof(epp_endpoint));
  EXPECT_EQ(View(e.name), "default/v6");
  EXPECT_EQ(View(e.address), "fd00::1");
  EXPECT_EQ(View(e.host_port), "[fd00::1]:9000");
  EXPECT_EQ(e.port, 9000u);
  EXPECT_EQ(e.rank, 2u);
  ASSERT_EQ(e.label_count, 2u);
  EXPECT_EQ(View(e.labels[0].key), "a");
  EXPECT_EQ(View(e.labels[1].value), "1");
}

TEST_F(PoolTest, UpsertOfEqualFieldsChangesNothing) {
  Endpoint::Fields f = Fields("a");
  f.labels = {{"y", "1"}, {"x", "2"}};
  pool.Upsert(f);
  pool.Publish();
  const auto before = pool.current();
  std::swap(f.labels[0], f.labels[1]);
  pool.Upsert(f);
  pool.Publish();
  EXPECT_EQ(pool.current(), before);
}

TEST_F(PoolTest, ChangeKeepsIdentityAndValues) {
  const AttributeId queue = Attr("queue", EPP_T_I64);
  pool.Upsert(Fields("a"));
  pool.Publish();
  Set("a", Int(queue, 7));
  pool.Publish();
  const auto before = pool.current();
  pool.Upsert(Fields("a", "10.0.0.2"));
  pool.Publish();
  const auto after = pool.current();
  EXPECT_EQ(after->endpoints()[0]->id, before->endpoints()[0]->id);
  EXPECT_EQ(after->slots()[0], before->slots()[0]);
  EXPECT_EQ(View(after->endpoints()[0]->address), "10.0.0.2");
  EXPECT_EQ(View(before->endpoints()[0]->address), "10.0.0.1") << "a frame never changes";
  EXPECT_EQ(ValueAt<int64_t>(*after, queue, 0), 7);
  EXPECT_EQ(after->sampled_ns()[0], clock.mono_ns());
}

TEST_F(PoolTest, ReplaceIsOneFrame) {
  pool.Replace({Fields("a"), Fields("b"), Fields("c")});
  pool.Publish();
  const uint64_t number = pool.current()->number();
  const uint64_t id = IdOf("b");
  pool.Replace({Fields("d"), Fields("b")});
  pool.Publish();
  EXPECT_EQ(pool.current()->number(), number + 1);
  EXPECT_THAT(Names(), UnorderedElementsAre("default/b", "default/d"));
  EXPECT_EQ(IdOf("b"), id);
}

TEST_F(PoolTest, ColumnsOfEveryType) {
  const AttributeId i = Attr("i", EPP_T_I64), f = Attr("f", EPP_T_F64), b = Attr("b", EPP_T_BOOL),
                    s = Attr("s", EPP_T_SYMBOL), l = Attr("l", EPP_T_SYMBOL_LIST),
                    never = Attr("never", EPP_T_I64);
  pool.Replace({Fields("a"), Fields("b"), Fields("c")});
  pool.Publish();
  std::vector<AttributeValue> values(5);
  values[0] = Int(i, -5);
  values[1].id = f;
  values[1].f64 = 0.25;
  values[2] = Int(b, 1);
  values[3] = Int(s, 42);
  values[4].id = l;
  values[4].symbols = {3, 4};
  pool.Update(IdOf("b"), values, true);
  values[4].symbols = {9};
  pool.Update(IdOf("c"), std::span(values).subspan(4), false);
  pool.Publish();
  const auto frame = pool.current();
  const size_t a_row = frame->RowOf(IdOf("a")), b_row = frame->RowOf(IdOf("b")),
               c_row = frame->RowOf(IdOf("c"));
  EXPECT_EQ(ValueAt<int64_t>(*frame, i, b_row), -5);
  EXPECT_EQ(ValueAt<double>(*frame, f, b_row), 0.25);
  EXPECT_EQ(ValueAt<uint8_t>(*frame, b, b_row), 1);
  EXPECT_EQ(ValueAt<uint32_t>(*frame, s, b_row), 42u);
  EXPECT_TRUE(Present(*frame, i, b_row));
  EXPECT_EQ(ValueAt<int64_t>(*frame, i, a_row), 0);
  EXPECT_FALSE(Present(*frame, i, a_row));
  const epp_column& list = frame->column(l);
  const auto items = [&](size_t row) {
    const auto* first = static_cast<const uint32_t*>(list.values);
    return std::vector<uint32_t>(first + list.offsets[row], first + list.offsets[row + 1]);
  };
  EXPECT_THAT(items(a_row), IsEmpty());
  EXPECT_THAT(items(b_row), ElementsAre(3, 4));
  EXPECT_THAT(items(c_row), ElementsAre(9));
  EXPECT_EQ(frame->column(never).values, nullptr);
  EXPECT_EQ(frame->column(1000).values, nullptr);
}

TEST_F(PoolTest, AClearedValueReadsAsZero) {
  const AttributeId i = Attr("i", EPP_T_I64), l = Attr("l", EPP_T_SYMBOL_LIST);
  pool.Upsert(Fields("a"));
  pool.Publish();
  AttributeValue list;
  list.id = l;
  list.symbols = {1, 2};
  Set("a", Int(i, 5));
  Set("a", list);
  AttributeValue gone = Int(i, 5);
  gone.present = list.present = false;
  Set("a", gone);
  Set("a", list);
  pool.Publish();
  EXPECT_EQ(ValueAt<int64_t>(*pool.current(), i, 0), 0);
  EXPECT_FALSE(Present(*pool.current(), i, 0));
  EXPECT_EQ(pool.current()->column(l).offsets[1], 0u);
}

// Against a plain map, over random changes: removal moves rows, values must follow.
TEST_F(PoolTest, RowsKeepTheirValuesWhateverIsRemoved) {
  const AttributeId i = Attr("i", EPP_T_I64), l = Attr("l", EPP_T_SYMBOL_LIST);
  std::map<std::string, int64_t> model;
  uint64_t seed = 42;
  const auto random = [&seed](uint64_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
  };
  for (int step = 0; step < 400; ++step) {
    const std::string name = absl::StrCat("e", random(90));
    if (random(3) == 0) {
      pool.Remove("default", name);
      model.erase(name);
    } else {
      pool.Upsert(Fields(name));
      pool.Publish();
      const int64_t v = static_cast<int64_t>(random(1000)) + 1;
      std::vector<AttributeValue> values{Int(i, v), {}};
      values[1].id = l;
      values[1].symbols.assign(random(4), static_cast<uint32_t>(v));
      pool.Update(IdOf(name), values, true);
      model[name] = v;
    }
    pool.Publish();
    const auto frame = pool.current();
    ASSERT_EQ(frame->size(), model.size());
    for (size_t row = 0; row < frame->size(); ++row) {
      const std::string row_name(View(frame->endpoints()[row]->name).substr(8));
      ASSERT_EQ(ValueAt<int64_t>(*frame, i, row), model.at(row_name));
      ASSERT_EQ(frame->RowOf(frame->endpoints()[row]->id), row);
      const epp_column& list = frame->column(l);
      for (uint32_t k = list.offsets[row]; k < list.offsets[row + 1]; ++k) {
        ASSERT_EQ(static_cast<const uint32_t*>(list.values)[k], model.at(row_name));
      }
    }
  }
}

TEST_F(PoolTest, LabelColumns) {
  Endpoint::Fields a = Fields("a"), b = Fields("b");
  a.labels = {{"role", "decode"}};
  pool.Replace({a, b});
  pool.Publish();
  const AttributeId role = Attr("label/role", EPP_T_SYMBOL, "");
  pool.Publish();
  auto frame = pool.current();
  const size_t a_row = frame->RowOf(IdOf("a")), b_row = frame->RowOf(IdOf("b"));
  EXPECT_EQ(ValueAt<uint32_t>(*frame, role, a_row), interner->Find("decode"));
  EXPECT_TRUE(Present(*frame, role, a_row));
  EXPECT_FALSE(Present(*frame, role, b_row));

  b.labels = {{"role", ""}};
  pool.Upsert(b);
  a.labels.clear();
  pool.Upsert(a);
  Set("b", Int(role, 77));  // not a scraper's to write
  pool.Publish();
  frame = pool.current();
  EXPECT_FALSE(Present(*frame, role, a_row));
  EXPECT_TRUE(Present(*frame, role, b_row)) << "an empty label is a label";
  EXPECT_EQ(ValueAt<uint32_t>(*frame, role, b_row), interner->Find(""));
}

TEST_F(PoolTest, UnknownEndpointsAndAttributesAreIgnored) {
  pool.Upsert(Fields("a"));
  pool.Publish();
  const auto before = pool.current();
  AttributeValue value = Int(500, 1);
  pool.Update(12345, std::span(&value, 1), true);
  pool.SetUnreachable(12345);
  pool.Remove("default", "nobody");
  pool.Publish();
  EXPECT_EQ(pool.current(), before);
  pool.Update(IdOf("a"), std::span(&value, 1), false);
  pool.Publish();
  EXPECT_EQ(pool.current()->column(500).values, nullptr);
}

TEST_F(PoolTest, StatesFollowTheSamples) {
  pool.Upsert(Fields("a"));
  pool.Publish();
  const auto state = [this] { return pool.current()->states()[0]; };
  EXPECT_EQ(state(), EndpointState::kUnknown);
  const uint64_t id = IdOf("a");
  pool.Update(id, {}, true);
  pool.Publish();
  EXPECT_EQ(state(), EndpointState::kFresh);
  clock.Advance(2'000'000'000);
  pool.Publish();
  EXPECT_EQ(state(), EndpointState::kFresh);
  clock.Advance(1);
  pool.Publish();
  EXPECT_EQ(state(), EndpointState::kStale);
  pool.SetUnreachable(id);
  pool.Publish();
  EXPECT_EQ(state(), EndpointState::kUnreachable);
  pool.Update(id, {}, true);
  pool.Publish();
  EXPECT_EQ(state(), EndpointState::kFresh);
}

TEST_F(PoolTest, ListenersAreToldAroundTheFrames) {
  auto recorder = std::make_shared<Recorder>();
  pool.AddListener(recorder);
  pool.Replace({Fields("a"), Fields("b")});
  EXPECT_THAT(recorder->Take(), IsEmpty());
  pool.Publish();
  EXPECT_THAT(recorder->Take(), UnorderedElementsAre("+a", "+b"));

  FrameReader reader(&pool);
  reader.Get();
  pool.Remove("default", "a");
  pool.Upsert(Fields("b", "10.9.9.9"));
  pool.Publish();
  EXPECT_THAT(recorder->Take(), ElementsAre("~a", "+b")) << "a reader still has the frame with a";
  reader.Get();
  pool.Publish();
  EXPECT_THAT(recorder->Take(), ElementsAre("-a"));
  reader.Release();
  pool.Remove("default", "b");
  pool.Publish();
  EXPECT_THAT(recorder->Take(), ElementsAre("~b", "-b"));
}

TEST_F(PoolTest, AnEndpointThatNoFrameEverHadIsNotTold) {
  auto recorder = std::make_shared<Recorder>();
  pool.AddListener(recorder);
  pool.Upsert(Fields("a"));
  pool.Remove("default", "a");
  pool.Publish();
  EXPECT_THAT(recorder->Take(), IsEmpty());
}

TEST_F(PoolTest, ALateListenerLearnsWhatFramesStillHold) {
  pool.Replace({Fields("a"), Fields("b")});
  pool.Publish();
  auto frame = pool.current();
  pool.Remove("default", "a");
  pool.Publish();
  auto recorder = std::make_shared<Recorder>();
  pool.AddListener(recorder);
  EXPECT_THAT(recorder->Take(), UnorderedElementsAre("+a", "+b"));
  frame.reset();
  pool.Publish();
  EXPECT_THAT(recorder->Take(), ElementsAre("-a"));
  pool.RemoveListener(recorder.get());
  pool.Remove("default", "b");
  pool.Publish();
  EXPECT_THAT(recorder->Take(), IsEmpty());
}

TEST_F(PoolTest, SlotsAreReusedWhenNobodyOwnsTheEndpoint) {
  pool.Replace({Fields("a"), Fields("b")});
  pool.Publish();
  const uint32_t slot = pool.current()->slots()[pool.current()->RowOf(IdOf("a"))];
  const uint64_t id = IdOf("a");
  std::shared_ptr<const Endpoint> owner =
      pool.current()->owners()[pool.current()->RowOf(IdOf("a"))];
  pool.Remove("default", "a");
  pool.Publish();
  pool.Upsert(Fields("c"));
  pool.Publish();
  EXPECT_NE(pool.current()->slots()[pool.current()->RowOf(IdOf("c"))], slot);
  owner.reset();
  pool.Upsert(Fields("a"));
  pool.Publish();
  EXPECT_EQ(pool.current()->slots()[pool.current()->RowOf(IdOf("a"))], slot);
  EXPECT_NE(IdOf("a"), id) << "ids are never reused";
}

TEST_F(PoolTest, FramesOutliveThePool) {
  auto local = std::make_unique<Pool>(attributes, interner, &clock, Pool::Options{});
  local->Upsert(Fields("a"));
  local->Publish();
  const auto frame = local->current();
  local.reset();
  EXPECT_EQ(View(frame->endpoints()[0]->name), "default/a");
}

TEST_F(PoolTest, AListenerMayUseThePool) {
  class Busy : public PoolListener {
   public:
    explicit Busy(Pool* p) : pool(p) {}
    void EndpointUpserted(const Endpoint& e) override {
      ++upserted;
      pool->Update(e.abi().id, {}, true);
      if (upserted == 1) pool->Upsert(Fields("second"));
      pool->Publish();
      if (upserted == 2) pool->RemoveListener(this);
    }
    void EndpointRemoved(const Endpoint&) override {}
    Pool* const pool;
    int upserted = 0;
  };
  auto busy = std::make_shared<Busy>(&pool);
  pool.AddListener(busy);
  pool.Upsert(Fields("first"));
  pool.Publish();
  EXPECT_THAT(Names(), UnorderedElementsAre("default/first", "default/second"));
  EXPECT_EQ(pool.current()->states()[0], EndpointState::kFresh);
  pool.Upsert(Fields("third"));
  pool.Publish();
  EXPECT_EQ(busy->upserted, 2);
}

}  // namespace
}  // namespace epp::pool
