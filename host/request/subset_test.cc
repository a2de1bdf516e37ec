#include "host/request/subset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/base/clock.h"
#include "host/pool/pool.h"

namespace epp::request {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class FakeMetadata final : public Metadata {
 public:
  explicit FakeMetadata(std::optional<std::vector<std::string>> hint) : hint_(std::move(hint)) {}
  bool List(std::string_view name_space, std::string_view key,
            std::vector<std::string_view>* out) const override {
    if (!hint_ || name_space != "envoy.lb.subset_hint" ||
        key != "x-gateway-destination-endpoint-subset") {
      return false;
    }
    out->assign(hint_->begin(), hint_->end());
    return true;
  }
  std::optional<std::string_view> String(std::string_view, std::string_view) const override {
    return std::nullopt;
  }

 private:
  std::optional<std::vector<std::string>> hint_;
};

class SubsetTest : public testing::Test {
 protected:
  void Add(std::string address, uint16_t port) {
    pool_.Upsert({"default", "e" + std::to_string(count_++), std::move(address), port, 0, {}});
  }
  Subset Locate(std::optional<std::vector<std::string>> hint) {
    pool_.Publish();
    frame_ = pool_.current();
    return LocateSubset(FakeMetadata(std::move(hint)), *frame_, arena_);
  }
  std::vector<std::string> Names(const Subset& subset) {
    std::vector<std::string> names;
    for (const uint32_t row : subset.rows) {
      const epp_str name = frame_->endpoints()[row]->name;
      names.emplace_back(name.data, name.size);
    }
    return names;
  }

  FakeClock clock_;
  pool::Pool pool_{std::make_shared<pool::AttributeRegistry>(), std::make_shared<Interner>(),
                   &clock_, pool::Pool::Options()};
  std::shared_ptr<const pool::Frame> frame_;
  BlockCache blocks_;
  Arena arena_{&blocks_};
  int count_ = 0;
};

TEST_F(SubsetTest, C093_NoHintMeansAll) {
  Add("10.0.0.1", 8000);
  EXPECT_FALSE(Locate(std::nullopt).given);
}

TEST_F(SubsetTest, C093_EmptyListMeansNone) {
  Add("10.0.0.1", 8000);
  const Subset subset = Locate(std::vector<std::string>{});
  EXPECT_TRUE(subset.given);
  EXPECT_THAT(subset.rows, IsEmpty());
}

TEST_F(SubsetTest, PortsAreIgnored) {
  Add("10.0.0.1", 8000);
  Add("10.0.0.1", 8001);
  Add("10.0.0.2", 8000);
  EXPECT_THAT(Names(Locate({{"10.0.0.1:9999"}})), ElementsAre("default/e0", "default/e1"));
  EXPECT_THAT(Names(Locate({{"10.0.0.2"}})), ElementsAre("default/e2"));
}

TEST_F(SubsetTest, C102_UnknownAddressMeansNone) {
  Add("10.0.0.1", 8000);
  EXPECT_THAT(Locate({{"192.168.1.99:8000"}}).rows, IsEmpty());
}

TEST_F(SubsetTest, C135_Ipv6MatchesWithAndWithoutPort) {
  Add("fd00::1", 8000);
  EXPECT_THAT(Names(Locate({{"[fd00::1]:8000"}})), ElementsAre("default/e0"));
  EXPECT_THAT(Names(Locate({{"fd00::1"}})), ElementsAre("default/e0"));
  EXPECT_THAT(Names(Locate({{"[fd00::1]"}})), ElementsAre("default/e0"));
}

TEST_F(SubsetTest, HostNamesMatch) {
  Add("vllm-0.svc", 8000);
  EXPECT_THAT(Names(Locate({{"vllm-0.svc:80"}})), ElementsAre("default/e0"));
}

}  // namespace
}  // namespace epp::request
