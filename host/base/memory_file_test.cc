#include "host/base/memory_file.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

namespace epp {
namespace {

class MemoryFileTest : public testing::TestWithParam<MemoryFileUse> {};

TEST_P(MemoryFileTest, NobodyWritesAfterTheSeal) {
  absl::StatusOr<UniqueFd> fd = OpenMemoryFile("test", GetParam());
  ASSERT_TRUE(fd.ok()) << fd.status();
  ASSERT_EQ(write(fd->get(), "abc", 3), 3);
  ASSERT_TRUE(SealMemoryFile(fd->get()).ok());
  EXPECT_EQ(write(fd->get(), "d", 1), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ftruncate(fd->get(), 0), -1);
  char text[4] = {};
  EXPECT_EQ(pread(fd->get(), text, 3, 0), 3);
  EXPECT_STREQ(text, "abc");
}

INSTANTIATE_TEST_SUITE_P(Uses, MemoryFileTest,
                         testing::Values(MemoryFileUse::kData, MemoryFileUse::kCode));

// A mapping for writing stands for whatever makes the kernel answer EBUSY.
TEST(SealMemoryFileTest, WaitsForAWriterToLetGo) {
  absl::StatusOr<UniqueFd> fd = OpenMemoryFile("test", MemoryFileUse::kData);
  ASSERT_TRUE(fd.ok()) << fd.status();
  ASSERT_EQ(ftruncate(fd->get(), 4096), 0);
  void* mapping = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd->get(), 0);
  ASSERT_NE(mapping, MAP_FAILED);
  const absl::Status busy = SealMemoryFile(fd->get(), std::chrono::milliseconds(0));
  EXPECT_EQ(busy.message(), "sealing a memory file: Device or resource busy");
  std::thread writer([mapping] { munmap(mapping, 4096); });
  EXPECT_TRUE(SealMemoryFile(fd->get(), std::chrono::minutes(1)).ok());
  writer.join();
}

TEST(SealMemoryFileTest, SaysWhyItCannot) {
  EXPECT_EQ(SealMemoryFile(-1).message(), "sealing a memory file: Bad file descriptor");
}

}  // namespace
}  // namespace epp
