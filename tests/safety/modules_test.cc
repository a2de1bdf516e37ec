// Libraries that come and go within one process.
#include <dlfcn.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"
#include "host/loader/catalog.h"

// Exported by this executable, and called by nobody in it.
extern "C" [[gnu::visibility("default"), gnu::used]] int epp_test_helper() { return 1; }

namespace shared {
[[gnu::visibility("default"), gnu::used]] inline int Counted() {
  static int count = 100;
  return ++count;
}
}  // namespace shared

namespace epp::loader {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Flawed(const std::string& name) {
  std::ifstream in(StrCat(EPP_FLAWED_LIBS, "/", name, ".so"), std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class ModulesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/epp_modules_XXXXXX";
    dir_ = mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  // A build of the library that differs from all others by its salt.
  void Install(const std::string& name, const std::string& salt) const {
    const std::string path = StrCat(dir_, "/", name, ".so");
    std::ofstream(path + ".new", std::ios::binary) << Flawed(name) << salt;
    chmod((path + ".new").c_str(), 0644);
    std::filesystem::rename(path + ".new", path);
  }
  Catalog Scan(size_t max_retired = 0) const {
    LoadOptions options;
    options.max_retired = max_retired;
    const std::vector<std::string> dirs = {dir_};
    return Catalog::Scan(dirs, options);
  }
  // How often the library is mapped in this process.
  static size_t Images(const std::string& name) {
    std::ifstream maps("/proc/self/maps");
    std::set<std::string> inodes;
    for (std::string line; std::getline(maps, line);) {
      if (line.find("memfd:epp-" + name) == std::string::npos) continue;
      // address perms offset device inode path
      std::string fields = line.substr(line.find(' '));
      inodes.insert(fields.substr(fields.find(':')));
    }
    return inodes.size();
  }

  std::string dir_;
};

std::shared_ptr<Instance> Make(const Catalog& catalog, const std::string& type) {
  static const epp_host host{};
  const TypeEntry* entry = catalog.Find(type);
  if (entry == nullptr) return nullptr;
  const epp_value value{EPP_P_I64, 1, {.i64 = 1}};
  auto made = Instance::Create(*entry, "x", &host, {&value, 1});
  return made.ok() ? *made : nullptr;
}

// One score call for no candidates, as worker `worker`.
epp_status Score(const Instance& instance, uint32_t worker, epp_error* err) {
  epp_request request{};
  request.struct_size = sizeof(request);
  epp_call call{};
  call.struct_size = sizeof(call);
  call.worker = worker;
  call.request = &request;
  epp_candidates in{};
  in.struct_size = sizeof(in);
  const InFlight inside(instance.guard(), Entry::kScorer, 0);
  return instance.Get<epp_scorer>(EPP_SCORER_ID)->score(instance.self(), &call, &in, nullptr, err);
}

TEST_F(ModulesTest, AThousandReloadsOfTwoBuildsAreTwoImages) {
  for (int i = 0; i < 1000; ++i) {
    Install("no-flaw", i % 2 ? "odd" : "even");
    const Catalog catalog = Scan(1);
    ASSERT_THAT(catalog.refused(), IsEmpty()) << i;
    ASSERT_NE(Make(catalog, "no-flaw"), nullptr) << i;
  }
  EXPECT_EQ(Images("no-flaw"), 2u);
}

TEST_F(ModulesTest, AHundredBuildsEndAtTheCap) {
  size_t refused = 0;
  for (int i = 0; i < 100; ++i) {
    Install("own-words", StrCat("build ", i));
    const Catalog catalog = Scan(64);
    refused += catalog.refused().size();
    if (!catalog.refused().empty()) {
      const absl::Status& why = catalog.refused()[0].why;
      const std::string text(why.message().data(), why.message().size());
      EXPECT_THAT(text, HasSubstr("[EPP-LOAD-RETIRED]"));
      EXPECT_THAT(text, HasSubstr("restart epp"));
    }
  }
  // Other tests of this process may have left some, too.
  EXPECT_GE(refused, 35u);
  EXPECT_LE(Images("own-words"), 65u);
  EXPECT_GE(Images("own-words"), 30u);
}

TEST_F(ModulesTest, ThreadLocalsOfReplacedLibrariesDoNotMatter) {
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::shared_ptr<Instance> current;
  const auto get = [&] {
    std::lock_guard lock(mutex);
    return current;
  };
  Install("thread-local", "0");
  const Catalog first = Scan();
  current = Make(first, "thread-local");
  ASSERT_NE(current, nullptr);
  std::atomic<uint64_t> calls{0};
  std::vector<std::thread> workers;
  for (uint32_t w = 0; w < 4; ++w) {
    workers.emplace_back([&, w] {
      while (!stop) {
        // Threads end with objects of libraries that have been replaced long since.
        std::thread([&] {
          epp_error err{sizeof(epp_error), EPP_OK, {}};
          for (int k = 0; k < 20; ++k) calls += Score(*get(), w, &err) == EPP_OK;
        }).join();
      }
    });
  }
  for (int i = 0; i < 200; ++i) {
    Install("thread-local", StrCat(i % 2));
    const Catalog catalog = Scan();
    const auto next = Make(catalog, "thread-local");
    ASSERT_NE(next, nullptr);
    std::lock_guard lock(mutex);
    current = next;
  }
  stop = true;
  for (std::thread& worker : workers) worker.join();
  EXPECT_GT(calls, 0u);
  EXPECT_EQ(Images("thread-local"), 2u);
}

// Neither the executable's symbols nor those of a former build stand in for a library's own.
TEST_F(ModulesTest, ALibrariesSymbolsAreItsOwn) {
  EXPECT_NE(dlsym(RTLD_DEFAULT, "epp_test_helper"), nullptr);
  EXPECT_EQ(shared::Counted(), 101);
  for (const char* build : {"first", "second"}) {
    Install("own-helper", build);
    const Catalog catalog = Scan();
    const auto instance = Make(catalog, "own-helper");
    ASSERT_NE(instance, nullptr);
    epp_error err{sizeof(epp_error), EPP_OK, {}};
    for (const char* want : {"helper 2 count 1", "helper 2 count 2"}) {
      EXPECT_EQ(Score(*instance, 0, &err), EPP_INTERNAL);
      EXPECT_STREQ(err.message, want) << build;
    }
  }
}

TEST_F(ModulesTest, ConcurrentErrorsKeepTheirOwnWords) {
  Install("own-words", "of its own");
  const Catalog catalog = Scan();
  const auto instance = Make(catalog, "own-words");
  ASSERT_NE(instance, nullptr);
  std::atomic<int> mixed{0};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      const std::string want = StrCat("worker ", t, " says no");
      for (int i = 0; i < 1000; ++i) {
        epp_error err{sizeof(epp_error), EPP_OK, {}};
        const epp_status status = Score(*instance, t, &err);
        mixed += status != EPP_INTERNAL || want != err.message;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(mixed, 0);
}

TEST_F(ModulesTest, WhatWasVerifiedIsWhatIsLoaded) {
  Install("no-flaw", "verified");
  const std::vector<std::string> dirs = {dir_};
  FoundLibraries found = FindLibraries(dirs, {});
  ASSERT_EQ(found.files.size(), 1u);
  const std::string digest = found.files[0]->info().digest;
  // Swapped, and overwritten in place, between verifying and opening.
  Install("no-flaw", "swapped");
  std::ofstream(StrCat(dir_, "/no-flaw.so"), std::ios::binary) << "not a library";
  const Catalog catalog = Catalog::Load(std::move(found), {});
  ASSERT_THAT(catalog.refused(), IsEmpty());
  EXPECT_EQ(catalog.libraries()[0]->info().digest, digest);
  EXPECT_NE(Make(catalog, "no-flaw"), nullptr);
  // And it can give back the bytes that it was mapped from.
  const auto bytes = catalog.libraries()[0]->Bytes();
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, Flawed("no-flaw") + "verified");
}

TEST_F(ModulesTest, CodeIsKnownByItsAddress) {
  Install("no-flaw", "by address");
  const Catalog catalog = Scan();
  const auto instance = Make(catalog, "no-flaw");
  ASSERT_NE(instance, nullptr);
  const auto* scorer = instance->Get<epp_scorer>(EPP_SCORER_ID);
  const Identity* owner = OwnerOfCode(reinterpret_cast<uint64_t>(scorer->score));
  ASSERT_NE(owner, nullptr);
  EXPECT_EQ(std::string_view(owner->library.data()), "no-flaw");
  EXPECT_STREQ(owner->offers.data(), "no-flaw=epp.scorer/1");
  EXPECT_EQ(OwnerOfCode(reinterpret_cast<uint64_t>(&Score)), nullptr);
  EXPECT_EQ(OwnerOfCode(0), nullptr);
}

}  // namespace
}  // namespace epp::loader
