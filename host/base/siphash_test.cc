#include "host/base/siphash.h"

#include <gtest/gtest.h>

#include <string>

namespace epp {
namespace {

// Of the paper's reference vectors: key 00..0f, message 00, 01, 02, ... of that many bytes.
constexpr SipKey kKey{0x0706050403020100, 0x0f0e0d0c0b0a0908};

TEST(SipHash, AgreesWithTheReference) {
  const struct {
    size_t bytes;
    uint64_t hash;
  } cases[] = {
      {0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd},  {7, 0xab0200f58b01d137},
      {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5},
  };
  for (const auto& c : cases) {
    std::string text;
    for (size_t i = 0; i < c.bytes; ++i) text.push_back(static_cast<char>(i));
    EXPECT_EQ(SipHash(text, kKey), c.hash) << c.bytes << " bytes";
  }
}

TEST(SipHash, DependsOnTheKey) {
  EXPECT_NE(SipHash("tenant-a", SipKey::Random()), SipHash("tenant-a", SipKey::Random()));
}

}  // namespace
}  // namespace epp
