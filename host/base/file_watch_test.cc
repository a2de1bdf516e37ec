#include "host/base/file_watch.h"

#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace epp {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

class FileWatchTest : public testing::Test {
 protected:
  FileWatchTest() : root_(testing::TempDir() + "/epp_watch_XXXXXX") {
    EXPECT_NE(mkdtemp(root_.data()), nullptr);
  }
  ~FileWatchTest() override {
    watch_.reset();
    fs::remove_all(root_);
  }

  std::string Path(const std::string& name) const { return root_ + "/" + name; }
  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(Path(name)).parent_path());
    std::ofstream(Path(name)) << text;
  }
  std::vector<std::string> Paths(const std::vector<std::string>& names) const {
    std::vector<std::string> paths;
    for (const std::string& name : names) paths.push_back(Path(name));
    return paths;
  }

  void Watch(const std::vector<std::string>& names) {
    watch_ = std::make_unique<FileWatch>(Paths(names), FileWatch::Options{.debounce_ns = 1'000'000},
                                         [this] {
                                           std::lock_guard lock(mutex_);
                                           ++looks_;
                                           changed_.notify_all();
                                           return false;
                                         });
    watch_->Start();
  }

  // Whether `action` leads to a look.
  template <class Action>
  bool Seen(Action action) {
    std::unique_lock lock(mutex_);
    const int before = looks_;
    lock.unlock();
    action();
    lock.lock();
    return changed_.wait_for(lock, seconds(10), [&] { return looks_ > before; });
  }

  std::string root_;
  std::unique_ptr<FileWatch> watch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int looks_ = 0;
};

TEST_F(FileWatchTest, EachOfSeveralFiles) {
  Write("a.yaml", "1");
  Write("sub/b.yaml", "1");
  Watch({"a.yaml", "sub/b.yaml", "sub/none.yaml"});
  EXPECT_TRUE(Seen([&] { Write("a.yaml", "2"); }));
  EXPECT_TRUE(Seen([&] { Write("sub/b.yaml", "2"); }));
  EXPECT_TRUE(Seen([&] {
    Write("sub/b.new", "3");
    fs::rename(Path("sub/b.new"), Path("sub/b.yaml"));
  }));
  EXPECT_TRUE(Seen([&] { Write("sub/none.yaml", "1"); }));
  EXPECT_TRUE(Seen([&] { fs::remove(Path("a.yaml")); }));
}

TEST_F(FileWatchTest, ADirectoryThatComesAndGoes) {
  Write("a.yaml", "1");
  Watch({"a.yaml", "later/b.yaml"});
  EXPECT_TRUE(Seen([&] { Write("later/b.yaml", "1"); }));
  EXPECT_TRUE(Seen([&] { Write("later/b.yaml", "2"); }));
  EXPECT_TRUE(Seen([&] { fs::remove_all(Path("later")); }));
  EXPECT_TRUE(Seen([&] { Write("later/b.yaml", "3"); }));
}

TEST_F(FileWatchTest, FilesJoinAndLeave) {
  Write("a.yaml", "1");
  Write("sub/b.yaml", "1");
  Watch({"a.yaml"});
  // It may have changed before it was followed.
  EXPECT_TRUE(Seen([&] { watch_->Follow(Paths({"a.yaml", "sub/b.yaml"})); }));
  EXPECT_TRUE(Seen([&] { Write("sub/b.yaml", "2"); }));
  EXPECT_TRUE(Seen([&] { Write("a.yaml", "2"); }));
  watch_->Follow(Paths({"sub/b.yaml"}));
  EXPECT_TRUE(Seen([&] { Write("sub/b.yaml", "3"); }));
  EXPECT_TRUE(Seen([&] { watch_->Follow(Paths({"sub/b.yaml", "sub/c.yaml"})); }));
  EXPECT_TRUE(Seen([&] { Write("sub/c.yaml", "1"); }));
}

TEST_F(FileWatchTest, AMountedConfigMapWithADirectory) {
  const auto make = [&](const std::string& version) {
    Write(version + "/config.yaml", version);
    Write(version + "/deep/x.yaml", version);
  };
  const auto turn = [&](const std::string& version) {
    fs::create_symlink(version, Path("..data_tmp"));
    fs::rename(Path("..data_tmp"), Path("..data"));
  };
  make("..1");
  turn("..1");
  fs::create_symlink("..data/config.yaml", Path("config.yaml"));
  fs::create_symlink("..data/deep", Path("deep"));
  Watch({"config.yaml", "deep/x.yaml"});
  for (const char* version : {"..2", "..3"}) {
    make(version);
    EXPECT_TRUE(Seen([&] { turn(version); })) << version;
  }
}

TEST_F(FileWatchTest, TwoPathsToOneDirectory) {
  Write("sub/a.yaml", "1");
  fs::create_symlink("sub", Path("link"));
  Watch({"sub/a.yaml", "link/b.yaml"});
  EXPECT_TRUE(Seen([&] { Write("sub/b.yaml", "1"); }));
  watch_->Follow(Paths({"link/b.yaml"}));
  EXPECT_TRUE(Seen([&] { Write("sub/b.yaml", "2"); }));
}

}  // namespace
}  // namespace epp
