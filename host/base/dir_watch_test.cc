#include "host/base/dir_watch.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>

namespace epp {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

bool IsLibrary(std::string_view name) { return name.ends_with(".so"); }

class DirWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/epp_dir_watch_XXXXXX";
    root_ = mkdtemp(name);
    dir_ = root_ + "/plugins";
    fs::create_directory(dir_);
  }
  void TearDown() override {
    watch_.reset();
    fs::remove_all(root_);
  }
  void Watch(std::vector<std::string> dirs, uint64_t poll_ns = 3'600'000'000'000) {
    watch_ = std::make_unique<DirWatch>(
        std::move(dirs), &IsLibrary,
        DirWatch::Options{.debounce_ns = 20'000'000, .poll_ns = poll_ns, .rewatch_ns = 20'000'000},
        [this] {
          std::lock_guard lock(mutex_);
          ++calls_;
          called_.notify_all();
        });
    watch_->Start();
  }
  // Waits for calls beyond those that were seen before.
  bool Changed() {
    std::unique_lock lock(mutex_);
    const bool changed = called_.wait_for(lock, seconds(30), [this] { return calls_ > seen_; });
    seen_ = calls_;
    return changed;
  }
  static void Write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
  }

  std::string root_;
  std::string dir_;
  std::unique_ptr<DirWatch> watch_;
  std::mutex mutex_;
  std::condition_variable called_;
  int calls_ = 0;
  int seen_ = 0;
};

TEST_F(DirWatchTest, FilesThatComeChangeAndGo) {
  Watch({root_ + "/elsewhere", dir_});
  Write(dir_ + "/a.so", "1");
  EXPECT_TRUE(Changed()) << "created";
  Write(dir_ + "/a.so", "2");
  EXPECT_TRUE(Changed()) << "overwritten in place";
  Write(dir_ + "/a.tmp", "3");
  fs::rename(dir_ + "/a.tmp", dir_ + "/a.so");
  EXPECT_TRUE(Changed()) << "replaced by rename";
  Write(dir_ + "/b.tmp", "4");
  fs::create_hard_link(dir_ + "/b.tmp", dir_ + "/b.so");
  EXPECT_TRUE(Changed()) << "linked";
  fs::permissions(dir_ + "/a.so", fs::perms::all);
  EXPECT_TRUE(Changed()) << "other mode";
  fs::remove(dir_ + "/a.so");
  EXPECT_TRUE(Changed()) << "removed";
}

TEST_F(DirWatchTest, OtherFilesDoNotMatter) {
  Watch({dir_});
  Write(dir_ + "/notes.txt", "1");
  Write(dir_ + "/a.so", "1");
  EXPECT_TRUE(Changed());
  Write(dir_ + "/notes.txt", "2");
  Write(dir_ + "/b.so", "1");
  EXPECT_TRUE(Changed());
  std::lock_guard lock(mutex_);
  EXPECT_EQ(calls_, 2);
}

TEST_F(DirWatchTest, AVolumeOfKubernetes) {
  fs::create_directory(dir_ + "/..1");
  fs::create_directory(dir_ + "/..2");
  Write(dir_ + "/..1/a.so", "1");
  Write(dir_ + "/..2/a.so", "2");
  fs::create_symlink("..1", dir_ + "/..data");
  fs::create_symlink("..data/a.so", dir_ + "/a.so");
  Watch({dir_});
  fs::create_symlink("..2", dir_ + "/..data_tmp");
  fs::rename(dir_ + "/..data_tmp", dir_ + "/..data");
  EXPECT_TRUE(Changed());
}

TEST_F(DirWatchTest, ALinkInThePathThatTurns) {
  for (const char* version : {"/v1", "/v2"}) {
    fs::create_directories(root_ + version + std::string("/plugins"));
    Write(root_ + version + "/plugins/a.so", version);
  }
  fs::create_symlink("v1", root_ + "/current");
  Watch({root_ + "/current/plugins"});
  fs::create_symlink("v2", root_ + "/next");
  fs::rename(root_ + "/next", root_ + "/current");
  EXPECT_TRUE(Changed());
  Write(root_ + "/v2/plugins/b.so", "new");
  EXPECT_TRUE(Changed()) << "the new directory is watched";
}

TEST_F(DirWatchTest, ADirectoryThatIsDeletedAndComesBack) {
  Write(dir_ + "/a.so", "1");
  Watch({dir_});
  fs::remove_all(dir_);
  EXPECT_TRUE(Changed());
  fs::create_directory(dir_);
  EXPECT_TRUE(Changed()) << "an empty directory differs from none";
  Write(dir_ + "/a.so", "1");
  EXPECT_TRUE(Changed());
}

TEST_F(DirWatchTest, NeverStartedStops) {
  DirWatch idle({dir_}, &IsLibrary, {}, [] {});
  Write(dir_ + "/a.so", "1");
}

}  // namespace
}  // namespace epp
