#include "host/serve/envoy_endpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

namespace epp::serve {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class EnvoyEndpointsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/envoy-endpoints-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    std::filesystem::permissions(dir_, std::filesystem::perms::owner_all);
    std::filesystem::remove_all(dir_);
  }

  // Starts following the pool, as a serving process does.
  void Follow(const std::string& path) {
    follower_ = std::make_shared<EnvoyEndpoints>(path);
    pool_.AddListener(follower_);
    follower_->Start();
  }

  std::vector<std::string> Members() const {
    std::ifstream in(path());
    const auto document = nlohmann::json::parse(in);
    const auto& assignment = document.at("resources").at(0);
    EXPECT_EQ(assignment.at("cluster_name"), "picked_endpoint");
    std::vector<std::string> out;
    for (const auto& entry : assignment.at("endpoints").at(0).at("lb_endpoints")) {
      const auto& address = entry.at("endpoint").at("address").at("socket_address");
      out.push_back(address.at("address").get<std::string>() + " " +
                    std::to_string(address.at("port_value").get<int>()));
    }
    return out;
  }
  bool Becomes(const std::function<bool()>& condition) const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }
  std::string path() const { return dir_ / "endpoints.json"; }

  std::filesystem::path dir_;
  pool::Pool pool_{std::make_shared<pool::AttributeRegistry>(),
                   std::make_shared<Interner>(),
                   &Clock::Real(),
                   {}};
  std::shared_ptr<EnvoyEndpoints> follower_;
};

pool::Endpoint::Fields At(std::string name, std::string address, uint16_t port) {
  return {"default", std::move(name), std::move(address), port, 0, {}};
}

TEST_F(EnvoyEndpointsTest, AnEmptyPoolHasAFileToo) {
  Follow(path());
  EXPECT_THAT(Members(), IsEmpty());
  EXPECT_EQ(follower_->problem(), "");
}

TEST_F(EnvoyEndpointsTest, HoldsThePoolAtStartAndFollowsIt) {
  pool_.Upsert(At("a", "10.0.0.1", 8000));
  pool_.Upsert(At("b", "fd00::1", 8001));
  pool_.Publish();
  Follow(path());
  EXPECT_THAT(Members(), UnorderedElementsAre("10.0.0.1 8000", "fd00::1 8001"));

  pool_.Upsert(At("a", "10.0.0.9", 8000));
  pool_.Upsert(At("c", "10.0.0.3", 8003));
  pool_.Remove("default", "b");
  pool_.Publish();
  EXPECT_TRUE(Becomes([&] {
    return testing::Matches(UnorderedElementsAre("10.0.0.9 8000", "10.0.0.3 8003"))(Members());
  }));
}

TEST_F(EnvoyEndpointsTest, TwoEndpointsOfOneAddressAreOneMember) {
  pool_.Upsert(At("a", "10.0.0.1", 8000));
  pool_.Upsert(At("b", "10.0.0.1", 8000));
  pool_.Publish();
  Follow(path());
  EXPECT_THAT(Members(), UnorderedElementsAre("10.0.0.1 8000"));
}

TEST_F(EnvoyEndpointsTest, AHostNameIsLeftOutAndNamed) {
  pool_.Upsert(At("a", "10.0.0.1", 8000));
  pool_.Upsert(At("b", "gpu-1.example", 8000));
  pool_.Publish();
  Follow(path());
  EXPECT_THAT(Members(), UnorderedElementsAre("10.0.0.1 8000"));
  EXPECT_THAT(follower_->problem(), HasSubstr("gpu-1.example:8000"));
}

TEST_F(EnvoyEndpointsTest, AFailureIsNamedAndMendedLater) {
  const std::filesystem::path missing = dir_ / "missing";
  Follow(missing / "endpoints.json");
  EXPECT_THAT(follower_->problem(), HasSubstr("missing/endpoints.json"));
  std::filesystem::create_directory(missing);
  EXPECT_TRUE(Becomes([&] { return follower_->problem().empty(); }));
  EXPECT_TRUE(std::filesystem::exists(missing / "endpoints.json"));
}

}  // namespace
}  // namespace epp::serve
