#include "host/base/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace epp {
namespace {

bool Open(int fd) { return fcntl(fd, F_GETFD) != -1; }

TEST(UniqueFdTest, ClosesOnce) {
  const int raw = ::open("/dev/null", O_RDONLY);
  ASSERT_GE(raw, 0);
  {
    UniqueFd a(raw);
    UniqueFd b = std::move(a);
    EXPECT_FALSE(a);
    EXPECT_EQ(b.get(), raw);
    a = std::move(b);
    EXPECT_TRUE(Open(raw));
  }
  EXPECT_FALSE(Open(raw));
  UniqueFd kept(::open("/dev/null", O_RDONLY));
  const int released = kept.release();
  kept.reset();
  EXPECT_TRUE(Open(released));
  ::close(released);
}

}  // namespace
}  // namespace epp
