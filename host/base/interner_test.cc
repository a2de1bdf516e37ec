#include "host/base/interner.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace epp {
namespace {

TEST(InternerTest, EqualStringsHaveEqualNumbers) {
  Interner interner;
  const uint32_t a = interner.Intern("a");
  EXPECT_NE(a, 0u);
  EXPECT_EQ(interner.Intern("a"), a);
  EXPECT_NE(interner.Intern("b"), a);
  EXPECT_EQ(interner.Text(a), "a");
}

TEST(InternerTest, FindDoesNotAdd) {
  Interner interner;
  EXPECT_EQ(interner.Find("adapter"), 0u);
  EXPECT_EQ(interner.Find("adapter"), 0u);
  const uint32_t symbol = interner.Intern("adapter");
  EXPECT_EQ(interner.Find("adapter"), symbol);
}

TEST(InternerTest, EmptyAndUnknownNumbersReadAsEmpty) {
  Interner interner;
  EXPECT_EQ(interner.Text(0), "");
  EXPECT_EQ(interner.Text(7), "");
  const uint32_t empty = interner.Intern("");
  EXPECT_NE(empty, 0u);
  EXPECT_EQ(interner.Text(empty), "");
}

TEST(InternerTest, KeepsTextsAcrossGrowth) {
  Interner interner;
  const std::string_view first = interner.Text(interner.Intern("first"));
  std::vector<uint32_t> symbols;
  for (int i = 0; i < 5000; ++i) symbols.push_back(interner.Intern("s" + std::to_string(i)));
  for (int i = 0; i < 5000; ++i) {
    EXPECT_EQ(interner.Text(symbols[i]), "s" + std::to_string(i));
    EXPECT_EQ(interner.Find("s" + std::to_string(i)), symbols[i]);
  }
  EXPECT_EQ(first, "first");
}

TEST(InternerTest, ReadersSeeWholeEntriesWhileOthersWrite) {
  Interner interner;
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 0; i < 20000; ++i) interner.Intern("w" + std::to_string(i % 7000));
    done = true;
  });
  std::thread reader([&] {
    while (!done) {
      for (int i = 0; i < 7000; i += 97) {
        const std::string text = "w" + std::to_string(i);
        if (const uint32_t symbol = interner.Find(text)) {
          ASSERT_EQ(interner.Text(symbol), text);
        }
      }
    }
  });
  writer.join();
  reader.join();
  EXPECT_EQ(interner.Intern("w0"), interner.Find("w0"));
}

}  // namespace
}  // namespace epp
