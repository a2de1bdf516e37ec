#include "host/cli/staged_file.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::cli {
namespace {

using testing::HasSubstr;

class StagedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/epp_staged_XXXXXX";
    dir_ = mkdtemp(name);
    path_ = dir_ + "/config.yaml";
    std::ofstream(path_) << "old";
    chmod(path_.c_str(), 0640);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  static std::string Read(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  size_t Files() const {
    const std::filesystem::directory_iterator all(dir_);
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }
  std::string dir_;
  std::string path_;
};

TEST_F(StagedFileTest, ReplacesAndKeepsTheFormer) {
  for (const char* text : {"new", "newer"}) {
    const std::string former = Read(path_);
    auto file = StagedFile::Stage(path_, text);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(Read(path_), former);
    ASSERT_TRUE(file->Commit().ok());
    EXPECT_EQ(Read(path_), text);
    EXPECT_EQ(Read(path_ + ".bak"), former);
  }
  struct stat info {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
  EXPECT_EQ(Files(), 2u);
}

TEST_F(StagedFileTest, WithoutCommitNothingIsLeft) {
  { ASSERT_TRUE(StagedFile::Stage(path_, "new").ok()); }
  EXPECT_EQ(Read(path_), "old");
  EXPECT_EQ(Files(), 1u);
}

TEST_F(StagedFileTest, ALinkStaysALink) {
  const std::string link = dir_ + "/link.yaml";
  std::filesystem::create_symlink(path_, link);
  auto file = StagedFile::Stage(link, "new");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(Read(path_), "new");
}

TEST_F(StagedFileTest, SaysWhyNot) {
  const auto file = StagedFile::Stage(dir_ + "/absent/config.yaml", "new");
  ASSERT_FALSE(file.ok());
  EXPECT_THAT(std::string(file.status().message()), HasSubstr("absent/config.yaml: No such file"));
  EXPECT_FALSE(StagedFile::Stage("/proc/version", "new").ok());
}

}  // namespace
}  // namespace epp::cli
