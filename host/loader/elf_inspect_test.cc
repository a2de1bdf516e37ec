#include "host/loader/elf_inspect.h"

#include <elf.h>

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/loader/test_dir.h"

namespace epp::loader {
namespace {

using testing::Contains;
using testing::HasSubstr;

TEST(ElfInspectTest, ReadsAGoodLibrary) {
  const absl::StatusOr<ElfFacts> facts = ReadElf(TestLibrary("good-v1"));
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_TRUE(CheckElf(*facts).ok()) << CheckElf(*facts);
  EXPECT_THAT(facts->exported, Contains(EPP_PLUGIN_ENTRY));
  EXPECT_THAT(facts->needed, Contains("libc.so.6"));
  ASSERT_TRUE(facts->note.has_value());
  EXPECT_EQ(facts->note->abi_major, EPP_ABI_MAJOR);
  EXPECT_FALSE(facts->executable_stack);
}

TEST(ElfInspectTest, RefusesOtherFiles) {
  const std::string good = TestLibrary("good-v1");
  for (const std::string& file : {std::string(),
                                  std::string("\x7f"
                                              "ELF"),
                                  std::string(4096, '\0'), std::string("#!/bin/sh\n"),
                                  ReadAll("/proc/self/exe").substr(0, 64),
                                  good.substr(0, sizeof(Elf64_Ehdr)), good.substr(0, 200)}) {
    EXPECT_THAT(std::string(ReadElf(file).status().message()), HasSubstr("[EPP-LOAD-ELF]"));
  }
}

TEST(ElfInspectTest, ListsWhatOthersMustDefine) {
  EXPECT_THAT(ReadElf(TestLibrary("undefined"))->undefined, Contains("nobody_defines_this"));
  EXPECT_THAT(ReadElf(TestLibrary("good-v1"))->undefined,
              testing::Not(Contains("nobody_defines_this")));
}

TEST(ElfInspectTest, RefusesOtherMachines) {
  std::string file = TestLibrary("good-v1");
  const uint16_t machine = EM_S390;
  std::memcpy(file.data() + offsetof(Elf64_Ehdr, e_machine), &machine, 2);
  EXPECT_THAT(std::string(ReadElf(file).status().message()), HasSubstr("built for machine 22"));
  file = TestLibrary("good-v1");
  file[EI_CLASS] = ELFCLASS32;
  EXPECT_THAT(std::string(ReadElf(file).status().message()), HasSubstr("64-bit"));
}

// Whatever the cut, there is an answer and no read beyond the end (the string has no slack, so the
// address sanitizer would see it).
TEST(ElfInspectTest, EveryTruncationIsSafe) {
  const std::string good = TestLibrary("good-v1");
  for (size_t size = 0; size < good.size(); size += size < 8192 ? 7 : 509) {
    const std::string cut(good, 0, size);
    if (const auto facts = ReadElf(cut); facts.ok()) CheckElf(*facts).IgnoreError();
  }
}

// Half a file may have all that is mapped, debug information being the longer part.
TEST(ElfInspectTest, ACopyThatIsNotCompleteIsRefused) {
  const std::string good = TestLibrary("good-v1");
  for (const size_t size : {good.size() - 1, good.size() - 100, good.size() / 2}) {
    EXPECT_FALSE(ReadElf(good.substr(0, size)).ok()) << size << " of " << good.size();
  }
}

// Every byte of the headers and tables, set to values that make offsets wild.
TEST(ElfInspectTest, EveryDamagedByteIsSafe) {
  std::string file = TestLibrary("good-v1");
  for (size_t at = 0; at < std::min<size_t>(file.size(), 3072); ++at) {
    const char old = file[at];
    for (const char value : {'\0', '\x7f', '\xff'}) {
      file[at] = value;
      if (const auto facts = ReadElf(file); facts.ok()) CheckElf(*facts).IgnoreError();
    }
    file[at] = old;
  }
}

TEST(ElfInspectTest, LibrariesThatMayBeNeeded) {
  ElfFacts facts = ReadElf(TestLibrary("good-v1")).value();
  for (const char* library :
       {"libm.so.6", "libstdc++.so.6", "ld-linux-x86-64.so.2", "libsimdjson.so.14",
        "libpthread.so.0", "libc++.so.1", "libunwind.so.1", "libssl.so.3", "libcrypto.so.3"}) {
    facts.needed = {library};
    EXPECT_TRUE(CheckElf(facts).ok()) << library;
  }
  for (const char* library : {"libprotobuf.so.32", "libgrpc++.so.1.51", "/tmp/libc.so.6",
                              "ld-linux/../evil.so", "libm.so.7", "libssl.so.1.1", ""}) {
    facts.needed = {library};
    EXPECT_THAT(std::string(CheckElf(facts).message()), HasSubstr("[EPP-LOAD-NEEDED]")) << library;
  }
}

TEST(ElfInspectTest, StaticTlsLimit) {
  ElfFacts facts = ReadElf(TestLibrary("good-v1")).value();
  facts.static_tls = true;
  facts.tls_bytes = kMaxStaticTlsBytes;
  EXPECT_TRUE(CheckElf(facts).ok());
  facts.tls_bytes = kMaxStaticTlsBytes + 1;
  EXPECT_THAT(std::string(CheckElf(facts).message()), HasSubstr("[EPP-LOAD-TLS]"));
  facts.static_tls = false;
  EXPECT_TRUE(CheckElf(facts).ok());
}

TEST(ElfInspectTest, TextRelocations) {
  ElfFacts facts = ReadElf(TestLibrary("good-v1")).value();
  facts.text_relocations = true;
  EXPECT_THAT(std::string(CheckElf(facts).message()), HasSubstr("[EPP-LOAD-TEXTREL]"));
}

}  // namespace
}  // namespace epp::loader
