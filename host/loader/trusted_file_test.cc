#include "host/loader/trusted_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/loader/test_dir.h"

namespace epp::loader {
namespace {

using testing::HasSubstr;

class TrustedFileTest : public testing::TestWithParam<OpenMethod> {
 protected:
  absl::StatusOr<std::string> Read(const std::string& name, size_t max = 1000) const {
    return ReadTrustedFile(dir_.path(), name, max, GetParam());
  }
  std::string Error(const std::string& name, size_t max = 1000) const {
    return std::string(Read(name, max).status().message());
  }
  const TestDir dir_;
};

INSTANTIATE_TEST_SUITE_P(Methods, TrustedFileTest,
                         testing::Values(OpenMethod::kBest, OpenMethod::kWithoutOpenat2),
                         [](const auto& info) {
                           return info.param == OpenMethod::kBest ? "Best" : "WithoutOpenat2";
                         });

TEST_P(TrustedFileTest, ReadsAFile) {
  dir_.Write("a.so", "content");
  EXPECT_EQ(Read("a.so").value(), "content");
  dir_.Write("empty", "");
  EXPECT_EQ(Read("empty").value(), "");
  EXPECT_TRUE(absl::IsNotFound(Read("absent").status()));
  EXPECT_TRUE(
      absl::IsNotFound(ReadTrustedFile(dir_ / "absent", "a.so", 1000, GetParam()).status()));
}

TEST_P(TrustedFileTest, WhatIsKnownIsCheckedButNotRead) {
  const auto read = [this](const FileStamp* known) {
    return ReadTrustedFileUnless(known, dir_.path(), "a.so", 1000, GetParam());
  };
  dir_.Write("a.so", "content");
  const absl::StatusOr<TrustedFile> first = read(nullptr);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->content, "content");
  EXPECT_TRUE(first->too_young);
  const absl::StatusOr<TrustedFile> again = read(&first->stamp);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->content, "");
  EXPECT_EQ(again->stamp, first->stamp);
  dir_.Write("a.so", "changed");
  EXPECT_EQ(read(&first->stamp)->content, "changed");
  ASSERT_EQ(chmod((dir_ / "a.so").c_str(), 0666), 0);
  const FileStamp now = read(nullptr).ok() ? FileStamp{} : first->stamp;
  EXPECT_THAT(std::string(read(&now).status().message()), HasSubstr("[EPP-LOAD-MODE]"));
}

TEST_P(TrustedFileTest, SizeLimit) {
  dir_.Write("a.so", "content");
  EXPECT_TRUE(Read("a.so", 7).ok());
  EXPECT_THAT(Error("a.so", 6), HasSubstr("[EPP-LOAD-SIZE]"));
}

TEST_P(TrustedFileTest, OnlyOneComponent) {
  for (const char* name : {"", ".", "..", "../a.so", "/etc/passwd", "x/a.so"}) {
    EXPECT_THAT(Error(name), HasSubstr("[EPP-LOAD-PATH]")) << name;
  }
}

TEST_P(TrustedFileTest, OnlyRegularFiles) {
  ASSERT_EQ(mkdir((dir_ / "dir").c_str(), 0755), 0);
  ASSERT_EQ(mkfifo((dir_ / "fifo").c_str(), 0644), 0);
  EXPECT_THAT(Error("dir"), HasSubstr("[EPP-LOAD-PATH]"));
  EXPECT_THAT(Error("fifo"), HasSubstr("[EPP-LOAD-PATH]"));
}

TEST_P(TrustedFileTest, LinkOutOfTheDirectory) {
  ASSERT_EQ(symlink("/etc/passwd", (dir_ / "a.so").c_str()), 0);
  EXPECT_THAT(Error("a.so"), HasSubstr("[EPP-LOAD-PATH]"));
}

TEST_P(TrustedFileTest, LinksOfAKubernetesVolume) {
  ASSERT_EQ(mkdir((dir_ / "..2026_11_24").c_str(), 0755), 0);
  ASSERT_EQ(symlink("..2026_11_24", (dir_ / "..data").c_str()), 0);
  ASSERT_EQ(symlink("..data/a.so", (dir_ / "a.so").c_str()), 0);
  dir_.Write("..2026_11_24/a.so", "mounted");
  const auto content = Read("a.so");
  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_EQ(*content, "mounted");
  // The directory that the links lead to counts too.
  ASSERT_EQ(chmod((dir_ / "..2026_11_24").c_str(), 0777), 0);
  EXPECT_THAT(Error("a.so"), HasSubstr("[EPP-LOAD-MODE]"));
}

TEST_P(TrustedFileTest, Modes) {
  dir_.Write("a.so", "content");
  struct Case {
    mode_t file, dir;
    bool good;
  };
  for (const Case& c : {Case{0644, 0755, true}, Case{0444, 0500, true}, Case{0664, 0755, false},
                        Case{0646, 0755, false}, Case{0644, 0777, false}, Case{0644, 0775, false},
                        Case{0644, 01777, false}}) {
    ASSERT_EQ(chmod((dir_ / "a.so").c_str(), c.file), 0);
    ASSERT_EQ(chmod(dir_.path().c_str(), c.dir), 0);
    if (c.good) {
      EXPECT_TRUE(Read("a.so").ok()) << Error("a.so");
    } else {
      EXPECT_THAT(Error("a.so"), HasSubstr("[EPP-LOAD-MODE]")) << c.file << " " << c.dir;
    }
  }
  ASSERT_EQ(chmod(dir_.path().c_str(), 0700), 0);
}

TEST_P(TrustedFileTest, ForeignOwner) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  dir_.Write("a.so", "content");
  ASSERT_EQ(chown((dir_ / "a.so").c_str(), 12345, 0), 0);
  EXPECT_THAT(Error("a.so"), HasSubstr("[EPP-LOAD-OWNER]"));
  ASSERT_EQ(chown((dir_ / "a.so").c_str(), 0, 0), 0);
  ASSERT_EQ(chown(dir_.path().c_str(), 12345, 0), 0);
  EXPECT_THAT(Error("a.so"), HasSubstr("[EPP-LOAD-OWNER]"));
}

}  // namespace
}  // namespace epp::loader
