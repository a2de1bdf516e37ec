#include "host/base/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace epp {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/atomic-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }

  static std::string Read(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  size_t Files() const { return std::distance(fs::directory_iterator(dir_), {}); }

  fs::path dir_;
};

TEST_F(AtomicFileTest, CreatesAndReplacesWithTheModeAskedFor) {
  const fs::path path = dir_ / "file";
  ASSERT_TRUE(WriteFileAtomically(path, "one", 0600).ok());
  EXPECT_EQ(Read(path), "one");
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  std::ifstream held(path);
  ASSERT_TRUE(WriteFileAtomically(path, std::string("t\0wo", 4)).ok());
  EXPECT_EQ(Read(path), std::string("t\0wo", 4));
  std::string former;
  held >> former;
  EXPECT_EQ(former, "one") << "who has it open keeps the old file";
  EXPECT_EQ(Files(), 1u);
}

TEST_F(AtomicFileTest, FailuresNameThePathAndLeaveNothing) {
  const absl::Status no_directory = WriteFileAtomically(dir_ / "none/file", "x");
  EXPECT_THAT(std::string(no_directory.message()), testing::HasSubstr("none/file"));
  fs::create_directories(dir_ / "taken/by");
  EXPECT_FALSE(WriteFileAtomically(dir_ / "taken", "x").ok());
  EXPECT_EQ(Files(), 1u);
}

}  // namespace
}  // namespace epp
