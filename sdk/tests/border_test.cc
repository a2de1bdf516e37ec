// What happens at the border: exceptions, failing creates, immovable types, short structs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "epp/testing.hpp"

namespace {

using epp::test::Make;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using ::testing::ElementsAre;

class Throwing {
 public:
  static constexpr const char* kName = "throwing";
  static constexpr const char* kDoc = "Throws wherever it can.";
  static constexpr std::array kParams{epp::Bool("create", false, "also in Create")};
  static epp::Result<Throwing> Create(const epp::Context& ctx) {
    if (ctx.flag(0)) throw std::runtime_error("thrown by Create");
    return Throwing();
  }
  epp::Status Filter(const epp::Call&, const epp::Candidates&, epp::Keep&) const {
    throw std::out_of_range("thrown by Filter");
  }
  epp::Status Score(const epp::Call&, const epp::Candidates&, std::span<double>) const { throw 42; }
  epp::Status Ready() const { throw std::runtime_error(std::string(2000, 'x')); }
  // Cut in the middle of a two-byte character.
  epp::Status Dump(std::string&) const {
    std::string text = "x";
    while (text.size() < 2000) text += "\xc3\xa4";
    throw std::runtime_error(text);
  }
  void Upserted(const epp_endpoint&) { throw 1; }
  void Removed(const epp_endpoint&) { throw std::bad_alloc(); }
};

TEST(Border, ExceptionsBecomeInternal) {
  const Pool pool(2);
  auto instance = Make<Throwing>();
  EXPECT_TRUE(instance.Filter(pool).empty());
  EXPECT_EQ(instance.status(), EPP_INTERNAL);
  EXPECT_EQ(instance.error(), "thrown by Filter");
  EXPECT_TRUE(instance.Score(pool).empty());
  EXPECT_EQ(instance.status(), EPP_INTERNAL);
  EXPECT_EQ(instance.error(), "exception that is not a std::exception");
  instance.Upserted(pool);
  instance.Removed(pool.endpoint(0));
}

TEST(Border, LongTextsAreCutBetweenCharacters) {
  auto instance = Make<Throwing>();
  EXPECT_EQ(instance.Ready().message(), std::string(503, 'x'));
  instance.Dump();
  const std::string text = instance.error();
  EXPECT_EQ(text.size(), 503u);
  EXPECT_EQ(text.substr(501), "\xc3\xa4");
}

TEST(Border, CreateThatThrowsGivesNoInstance) {
  auto instance = Make<Throwing>({{"create", true}});
  EXPECT_FALSE(instance.ok());
  EXPECT_EQ(instance.status(), EPP_INTERNAL);
  EXPECT_EQ(instance.error(), "thrown by Create");
  EXPECT_THROW(instance.Filter(Pool(1)), std::logic_error);
}

class Failing {
 public:
  static constexpr const char* kName = "failing";
  static constexpr const char* kDoc = "Refuses to be created.";
  static constexpr std::array kParams{epp::String("name", nullptr, "a name").Required()};
  static epp::Result<Failing> Create(const epp::Context&) {
    return epp::Status(EPP_FAILED_PRECONDITION, "not today");
  }
};

TEST(Border, CreateThatFails) {
  auto instance = Make<Failing>({{"name", "x"}});
  EXPECT_FALSE(instance.ok());
  EXPECT_EQ(instance.status(), EPP_FAILED_PRECONDITION);
  EXPECT_EQ(instance.error(), "not today");
  EXPECT_EQ(Make<Failing>().error(), "parameter \"name\" is not set and is required");
}

class Immovable {
 public:
  static constexpr const char* kName = "immovable";
  static constexpr const char* kDoc = "Cannot be moved, so Create returns a unique_ptr.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static epp::Result<Immovable> Create(const epp::Context&) {
    return std::make_unique<Immovable>();
  }
  Immovable() = default;
  Immovable(Immovable&&) = delete;
  ~Immovable() { ++destroyed; }
  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) {
    for (size_t i = 0; i < in.size(); ++i) out[i] = call.worker();
    ++calls_;
    return {};
  }
  epp::Status Dump(std::string& out) const {
    out = std::to_string(calls_.load());
    return {};
  }
  static inline int destroyed = 0;

 private:
  std::atomic<int> calls_{0};
};

TEST(Border, ImmovableTypes) {
  Immovable::destroyed = 0;
  {
    auto instance = Make<Immovable>({{"whatever", 1}});
    EXPECT_TRUE(instance.ok()) << instance.error();
  }
  EXPECT_EQ(Immovable::destroyed, 1);
}

TEST(Border, CallsMayRunConcurrently) {
  const Pool pool(8);
  auto instance = Make<Immovable>();
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < 4; ++w) {
    threads.emplace_back([&, w] {
      for (int i = 0; i < 100; ++i) {
        Request request;
        request.Worker(w);
        EXPECT_EQ(instance.Score(pool, request)[7], w);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(instance.Dump(), "400");
}

// Attributes that depend on a parameter.
class Dynamic {
 public:
  static constexpr const char* kName = "dynamic";
  static constexpr const char* kDoc = "Reads the attribute that its parameter names.";
  static constexpr std::array kParams{epp::String("key", "load", "attribute to read")};
  static epp::Result<Dynamic> Create(const epp::Context& ctx) {
    return std::make_unique<Dynamic>(std::string(ctx.str(0)));
  }
  explicit Dynamic(std::string key) : key_(std::move(key)) {
    spec_ = epp::Needs({key_.c_str(), EPP_T_F64});
  }
  const std::vector<const epp_attr_spec*>& Consumes() const { return consumes_; }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }
  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto values = in.column<double>(0);
    for (size_t i = 0; i < in.size(); ++i) out[i] = values[i];
    return {};
  }

 private:
  std::string key_;
  epp::Attribute spec_;
  std::vector<const epp_attr_spec*> consumes_{&spec_.spec};
};

TEST(Border, AttributesOfAnInstance) {
  Pool pool(2);
  pool.Set("heat", {0.5, 1.0}).Set("load", {7, 8});
  EXPECT_THAT(Make<Dynamic>({{"key", "heat"}}).Score(pool), ElementsAre(0.5, 1.0));
  EXPECT_THAT(Make<Dynamic>().Score(pool), ElementsAre(7.0, 8.0));
}

TEST(Border, ShortStructsHideFields) {
  epp_request request{};
  request.struct_size = offsetof(epp_request, received_ns);
  const epp_request* p = &request;
  EXPECT_TRUE(EPP_HAS(p, epp_request, parsed));
  EXPECT_FALSE(EPP_HAS(p, epp_request, received_ns));
  request.struct_size = offsetof(epp_request, received_ns) + 7;
  EXPECT_FALSE(EPP_HAS(p, epp_request, received_ns));
  request.struct_size = sizeof(epp_request) + 64;
  EXPECT_TRUE(EPP_HAS(p, epp_request, received_ns));
  request.struct_size = 4;
  EXPECT_TRUE(EPP_HAS(p, epp_request, struct_size));
  EXPECT_FALSE(EPP_HAS(p, epp_request, flags));
}

}  // namespace
