// The file discovery against real files: what a pool holds after each change, and how changes are
// noticed.
#include "host/pool/file_discovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>

#include "epp/plugin.hpp"

namespace epp::pool {
namespace {

namespace fs = std::filesystem;
using testing::UnorderedElementsAre;

constexpr const char* kTwo =
    "endpoints:\n- {name: a, address: 10.0.0.1, port: 1}\n- {name: b, address: 10.0.0.2, port: "
    "2}\n";

class DiscoveryTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "epp-discovery-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir = pattern;
    path = dir / "endpoints.yaml";
  }
  void TearDown() override {
    discovery.reset();
    fs::remove_all(dir);
  }
  static void Write(const fs::path& to, std::string_view text) {
    std::ofstream(to, std::ios::trunc) << text;
  }
  // As editors and tools that take care do.
  void Replace(std::string_view text) {
    Write(dir / "tmp", text);
    fs::rename(dir / "tmp", path);
  }
  LoadReport Start(bool watch = false) {
    Discovery::Options options;
    options.watch = watch;
    options.debounce_ns = 5'000'000;
    options.retry_ns = 50'000'000;
    options.poll_ns = poll_ns;
    options.on_reload = [this](const LoadReport&) { ++reloads; };
    return discovery->Start(path, std::move(options), &pool);
  }
  std::set<std::string> Names() {
    pool.Publish();
    std::set<std::string> names;
    for (const epp_endpoint* e : pool.current()->endpoints()) {
      names.insert(std::string(View(e->name)) + "=" + std::string(View(e->host_port)));
    }
    return names;
  }
  bool Becomes(const std::set<std::string>& want) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (Names() != want) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

  // The report comes after the change. True when there were exactly `n` so far.
  bool Reloads(int n) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (reloads.load() < n && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
    return reloads.load() == n;
  }

  const std::set<std::string> kBoth{"default/a=10.0.0.1:1", "default/b=10.0.0.2:2"};
  fs::path dir, path;
  uint64_t poll_ns = 3'600'000'000'000;
  std::atomic<int> reloads{0};
  FakeClock clock;
  Pool pool{std::make_shared<AttributeRegistry>(), std::make_shared<Interner>(), &clock, {}};
  std::unique_ptr<Discovery> discovery = std::make_unique<Discovery>();
};

TEST_F(DiscoveryTest, LoadsAtStart) {
  Write(path, kTwo);
  const LoadReport report = Start();
  EXPECT_TRUE(report.applied);
  EXPECT_EQ(report.endpoints, 2u);
  EXPECT_EQ(report.refused, 0u);
  EXPECT_EQ(Names(), kBoth);
}

TEST_F(DiscoveryTest, AMissingFileIsAnError) {
  const LoadReport report = Start(true);
  EXPECT_FALSE(report.applied);
  ASSERT_EQ(report.diagnostics.errors(), 1u);
  EXPECT_THAT(report.diagnostics.all()[0].message, testing::HasSubstr("No such file"));
  EXPECT_EQ(report.diagnostics.all()[0].mark.source->name, path);
}

TEST_F(DiscoveryTest, OnlyRegularFilesOfBoundedSize) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(Start().applied);
  fs::remove(path);
  Write(path, std::string(kMaxEndpointsFileBytes + 1, '#'));
  EXPECT_FALSE(discovery->Reload().applied);
}

TEST_F(DiscoveryTest, ABadEntryAtStartLeavesTheOthers) {
  Write(path,
        "endpoints:\n- {name: a, address: 10.0.0.1, port: 1}\n- {name: b, address: h, port: 0}");
  const LoadReport report = Start();
  EXPECT_TRUE(report.applied);
  EXPECT_EQ(report.refused, 1u);
  EXPECT_EQ(report.diagnostics.errors(), 1u);
  EXPECT_THAT(Names(), UnorderedElementsAre("default/a=10.0.0.1:1"));
}

TEST_F(DiscoveryTest, ABadEntryKeepsItsFormerVersion) {
  Write(path, kTwo);
  Start();
  Write(path,
        "endpoints:\n- {name: b, address: h, port: 0}\n- {name: c, address: 10.0.0.3, port: 3}");
  EXPECT_EQ(discovery->Reload().refused, 1u);
  EXPECT_THAT(Names(), UnorderedElementsAre("default/b=10.0.0.2:2", "default/c=10.0.0.3:3"))
      << "a vanished, b is refused, c is new";
  Write(path, "endpoints:\n- {name: b, address: 10.0.0.9, port: 9}");
  EXPECT_TRUE(discovery->Reload().applied);
  EXPECT_THAT(Names(), UnorderedElementsAre("default/b=10.0.0.9:9"));
}

TEST_F(DiscoveryTest, ANamelessBadEntryRemovesNothing) {
  Write(path, kTwo);
  Start();
  Write(path,
        "endpoints:\n- {address: 10.0.0.1, port: 1}\n- {name: b, address: 10.0.0.7, port: 7}");
  discovery->Reload();
  EXPECT_THAT(Names(), UnorderedElementsAre("default/a=10.0.0.1:1", "default/b=10.0.0.7:7"));
}

TEST_F(DiscoveryTest, ARefusedFileKeepsAll) {
  Write(path, kTwo);
  Start();
  Write(path, "endpoints: {");
  EXPECT_FALSE(discovery->Reload().applied);
  EXPECT_EQ(Names(), kBoth);
  EXPECT_FALSE(discovery->last().applied);
  fs::remove(path);
  const LoadReport report = discovery->Reload();
  EXPECT_FALSE(report.applied);
  EXPECT_EQ(report.endpoints, 2u);
  EXPECT_EQ(Names(), kBoth);
}

TEST_F(DiscoveryTest, FollowsEveryWayToChangeAFile) {
  Write(path, "endpoints: []");
  ASSERT_TRUE(Start(true).applied);
  Write(path, kTwo);
  ASSERT_TRUE(Becomes(kBoth)) << "written in place";
  Replace("endpoints: []");
  ASSERT_TRUE(Becomes({})) << "renamed over";
  fs::remove(path);
  Write(path, kTwo);
  ASSERT_TRUE(Becomes(kBoth)) << "removed and written anew";
  fs::rename(path, dir / "away");
  Write(dir / "away", "endpoints: []");
  fs::rename(dir / "away", path);
  ASSERT_TRUE(Becomes({})) << "moved away and back";
}

TEST_F(DiscoveryTest, FollowsAMountedConfigMap) {
  fs::create_directory(dir / "..1");
  fs::create_directory(dir / "..2");
  Write(dir / "..1" / "endpoints.yaml", "endpoints: []");
  Write(dir / "..2" / "endpoints.yaml", kTwo);
  fs::create_symlink("..1", dir / "..data");
  fs::create_symlink("..data/endpoints.yaml", path);
  ASSERT_TRUE(Start(true).applied);
  fs::create_symlink("..2", dir / "..data_tmp");
  fs::rename(dir / "..data_tmp", dir / "..data");
  EXPECT_TRUE(Becomes(kBoth));
}

TEST_F(DiscoveryTest, SurvivesTheLossOfItsDirectory) {
  Write(path, "endpoints: []");
  ASSERT_TRUE(Start(true).applied);
  fs::remove_all(dir);
  fs::create_directory(dir);
  Write(path, kTwo);
  EXPECT_TRUE(Becomes(kBoth));
}

TEST_F(DiscoveryTest, PollsWhereNothingIsReported) {
  poll_ns = 10'000'000;
  fs::create_directory(dir / "elsewhere");
  Write(dir / "elsewhere" / "file", "endpoints: []");
  fs::create_symlink("elsewhere/file", path);
  ASSERT_TRUE(Start(true).applied);
  Write(dir / "elsewhere" / "file", kTwo);
  EXPECT_TRUE(Becomes(kBoth));
  EXPECT_TRUE(Reloads(1));
}

TEST_F(DiscoveryTest, AFileThatStaysBrokenIsReportedOnce) {
  poll_ns = 10'000'000;
  Write(path, kTwo);
  ASSERT_TRUE(Start(true).applied);
  Replace("endpoints: {");
  EXPECT_TRUE(Reloads(1));
  EXPECT_EQ(Names(), kBoth);
  Replace("endpoints: []");
  EXPECT_TRUE(Becomes({}));
  EXPECT_TRUE(Reloads(2)) << "neither the broken nor the same text was reported again";
}

TEST(FileDiscoveryTypes, DeclareWhatTheyAre) {
  for (const auto& [type, name, multicluster] :
       {std::tuple(FileDiscoveryType(), "file-discovery", false),
        std::tuple(MulticlusterFileDiscoveryType(), "multicluster-file-discovery", true)}) {
    EXPECT_STREQ(type->name, name);
    EXPECT_EQ(type->stability, multicluster ? EPP_STABILITY_ALPHA : EPP_STABILITY_BETA);
    ASSERT_EQ(type->param_count, 2u);
    EXPECT_STREQ(type->params[0]->name, "path");
    EXPECT_TRUE(type->params[0]->flags & EPP_PARAM_REQUIRED);
    EXPECT_STREQ(type->params[1]->name, "watchFile");
    ASSERT_EQ(type->interface_count, 1u);
    EXPECT_STREQ(type->interfaces[0], kFileDiscoveryInterface);

    epp_value values[2] = {};
    values[0].type = EPP_P_STR;
    values[0].present = 1;
    values[0].v.str = Str("/etc/epp/endpoints.yaml");
    values[1].type = EPP_P_BOOL;
    values[1].present = 1;
    values[1].v.i64 = 1;
    epp_error err{sizeof(epp_error), 0, {}};
    void* self = type->create(nullptr, Str("d"), values, &err);
    ASSERT_NE(self, nullptr) << err.message;
    EXPECT_EQ(FileDiscoverySettingsOf(self).path, "/etc/epp/endpoints.yaml");
    EXPECT_TRUE(FileDiscoverySettingsOf(self).watch);
    EXPECT_EQ(FileDiscoverySettingsOf(self).multicluster, multicluster);
    EXPECT_NE(type->get_interface(self, kFileDiscoveryInterface), nullptr);
    EXPECT_EQ(type->get_interface(self, EPP_SCORER_ID), nullptr);
    type->destroy(self);
    values[0].v.str = Str("");
    EXPECT_EQ(type->create(nullptr, Str("d"), values, &err), nullptr);
  }
}

}  // namespace
}  // namespace epp::pool
