#include "host/loader/library.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"
#include "host/loader/catalog.h"
#include "host/loader/sha256.h"
#include "host/loader/test_dir.h"
#include "host/loader/trusted_file.h"

namespace epp::loader {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

using Loaded = absl::StatusOr<std::shared_ptr<const Library>>;

LoadOptions In(const TestDir& dir) {
  LoadOptions options;
  options.runtime_dir = dir / "run";
  return options;
}

// The version that the code of a "good" library reports, through a real instance.
int VersionOf(const Loaded& library) {
  if (!library.ok()) {
    ADD_FAILURE() << library.status();
    return -1;
  }
  const TypeEntry entry{(*library)->types()[0], *library};
  epp_host host{};
  const epp_value value{};
  const auto instance = Instance::Create(entry, "x", &host, {&value, 1});
  if (!instance.ok()) {
    ADD_FAILURE() << instance.status();
    return -1;
  }
  const int* version = (*instance)->Get<int>("test.version");
  return version == nullptr ? -1 : *version;
}

struct Defect {
  const char* library;
  const char* code;
  const char* text;  // part of the message
};

void PrintTo(const Defect& d, std::ostream* os) { *os << d.library; }

class DefectTest : public testing::TestWithParam<Defect> {};

TEST_P(DefectTest, IsRefused) {
  const TestDir dir;
  const std::string name = GetParam().library;
  dir.Write(name + ".so", TestLibrary(name));
  const Loaded library = Library::Load(dir.path(), name, In(dir));
  ASSERT_FALSE(library.ok());
  const std::string message(library.status().message());
  EXPECT_THAT(message, HasSubstr(StrCat("[", GetParam().code, "]")));
  EXPECT_THAT(message, HasSubstr(GetParam().text));
  EXPECT_THAT(message, StartsWith(StrCat("library ", dir / name, ".so: ")));
  // The answer is the same the second time.
  EXPECT_EQ(std::string(Library::Load(dir.path(), name, In(dir)).status().message()).substr(0, 8),
            "library ");
}

INSTANTIATE_TEST_SUITE_P(
    Table, DefectTest,
    testing::Values(Defect{"wrong-major", "EPP-ABI-MAJOR",
                           "built for ABI 2.0, this host offers 1.0"},
                    Defect{"wrong-minor", "EPP-ABI-MINOR", "needs ABI 1.9, this host offers 1.0"},
                    Defect{"no-note", "EPP-ABI-NOTE", "no ABI note"},
                    Defect{"other-note", "EPP-ABI-NOTE", "flags 1"},
                    Defect{"short-record", "EPP-ABI-RECORD", "has 16 bytes"},
                    Defect{"null-name", "EPP-ABI-RECORD", "name is null"},
                    Defect{"bad-name", "EPP-ABI-RECORD", "Bad_Name"},
                    Defect{"wild-name", "EPP-ABI-RECORD", "no terminated string"},
                    Defect{"null-create", "EPP-ABI-RECORD", "create, destroy"},
                    Defect{"no-types", "EPP-ABI-RECORD", "offers no plugin type"},
                    Defect{"many-types", "EPP-ABI-RECORD", "1000000 entries"},
                    Defect{"twice-param", "EPP-ABI-RECORD", "declared twice"},
                    Defect{"nested-param", "EPP-ABI-RECORD", "inside another parameter"},
                    Defect{"other-name", "EPP-ABI-RECORD", "somebody-else"},
                    Defect{"declines", "EPP-ABI-ENTRY", "declined this host"},
                    Defect{"throws-entry", "EPP-ABI-ENTRY", "threw an exception"},
                    Defect{"exec-stack", "EPP-LOAD-EXECSTACK", "executable stack"},
                    Defect{"run-path", "EPP-LOAD-RUNPATH", "/opt/lib"},
                    Defect{"needs-protobuf", "EPP-LOAD-NEEDED", "protobuf.so"},
                    Defect{"tls-8k", "EPP-LOAD-TLS", "8192 bytes"},
                    Defect{"undefined", "EPP-LOAD-UNDEF", "\"nobody_defines_this\""}),
    [](const auto& info) {
      std::string name = info.param.library;
      std::erase(name, '-');
      return name;
    });

#ifndef EPP_HOST_SANITIZED
// Sanitizers add symbols of their own, so these two rules are off in such a host.
INSTANTIATE_TEST_SUITE_P(Symbols, DefectTest,
                         testing::Values(Defect{"second-symbol", "EPP-LOAD-EXPORTS",
                                                "\"second_symbol\""},
                                         Defect{"unique-static", "EPP-LOAD-UNIQUE", "Counter"}),
                         [](const auto& info) { return std::string(info.param.code).substr(9); });
#endif

TEST(LibraryTest, RefusesAnUnknownMachineStackUntouched) {
  const TestDir dir;
  dir.Write("exec-stack.so", TestLibrary("exec-stack"));
  EXPECT_FALSE(Library::Load(dir.path(), "exec-stack", In(dir)).ok());
  const std::string maps = ReadAll("/proc/self/maps");
  const size_t stack = maps.find("[stack]");
  ASSERT_NE(stack, std::string::npos);
  const size_t line = maps.rfind('\n', stack) + 1;
  EXPECT_THAT(maps.substr(line, stack - line), HasSubstr(" rw-p "));
}

TEST(LibraryTest, TellsWhatTheFileSays) {
  const TestDir dir;
  const std::string bytes = TestLibrary("good-v1");
  dir.Write("good.so", bytes);
  dir.Write("good.toml",
            "name = \"good\"\nversion = \"1.2.3\"\nlicense = \"MIT\"\n"
            "description = \"For tests.\"\ntypes = [\"good\"]\n"
            "[check.good]\nparams = {value = 3}\n");
  const absl::StatusOr<LibraryInfo> info = Library::Inspect(dir.path(), "good");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->digest, Sha256Hex(bytes));
  EXPECT_EQ(info->path, dir / "good.so");
  EXPECT_EQ(info->version, "1.2.3");
  EXPECT_EQ(info->license, "MIT");
  EXPECT_THAT(info->types, ElementsAre("good"));
  EXPECT_EQ(info->note.abi_major, EPP_ABI_MAJOR);
  EXPECT_THAT(info->mapped_path, IsEmpty());
}

TEST(LibraryTest, ReloadSamePath) {
  const TestDir dir;
  dir.Write("good.so", TestLibrary("good-v1"));
  const Loaded first = Library::Load(dir.path(), "good", In(dir));
  EXPECT_EQ(VersionOf(first), 1);
  dir.Write("good.so", TestLibrary("good-v2"));
  const Loaded second = Library::Load(dir.path(), "good", In(dir));
  EXPECT_EQ(VersionOf(second), 2);
  EXPECT_EQ(VersionOf(first), 1);
  // Back again: the image of before, not a third one.
  dir.Write("good.so", TestLibrary("good-v1"));
  EXPECT_EQ(*Library::Load(dir.path(), "good", In(dir)), *first);
}

TEST(LibraryTest, ReloadThroughHardLinkAndSymlink) {
  const TestDir dir;
  dir.Write("one", TestLibrary("good-v1"));
  dir.Write("two", TestLibrary("good-v2"));
  ASSERT_EQ(link((dir / "one").c_str(), (dir / "good.so").c_str()), 0);
  EXPECT_EQ(VersionOf(Library::Load(dir.path(), "good", In(dir))), 1);
  ASSERT_EQ(unlink((dir / "good.so").c_str()), 0);
  ASSERT_EQ(link((dir / "two").c_str(), (dir / "good.so").c_str()), 0);
  EXPECT_EQ(VersionOf(Library::Load(dir.path(), "good", In(dir))), 2);
  ASSERT_EQ(unlink((dir / "good.so").c_str()), 0);
  ASSERT_EQ(symlink("one", (dir / "good.so").c_str()), 0);
  EXPECT_EQ(VersionOf(Library::Load(dir.path(), "good", In(dir))), 1);
}

TEST(LibraryTest, SurvivesOverwriteInPlace) {
  const TestDir dir;
  dir.Write("good.so", TestLibrary("good-v1"));
  const Loaded first = Library::Load(dir.path(), "good", In(dir));
  EXPECT_EQ(VersionOf(first), 1);
  std::ofstream(dir / "good.so", std::ios::binary | std::ios::trunc) << TestLibrary("good-v2");
  EXPECT_EQ(VersionOf(first), 1);
  EXPECT_EQ(VersionOf(Library::Load(dir.path(), "good", In(dir))), 2);
  std::filesystem::resize_file(dir / "good.so", 100);
  EXPECT_EQ(VersionOf(first), 1);
  EXPECT_FALSE(Library::Load(dir.path(), "good", In(dir)).ok());
}

TEST(LibraryTest, IdentityIsTheDigestNotTheTime) {
  const TestDir dir;
  dir.Write("good.so", TestLibrary("good-v1"));
  const auto time = std::filesystem::last_write_time(dir / "good.so");
  const Loaded first = Library::Load(dir.path(), "good", In(dir));
  std::filesystem::last_write_time(dir / "good.so", time + std::chrono::hours(1));
  EXPECT_EQ(*Library::Load(dir.path(), "good", In(dir)), *first);
  dir.Write("good.so", TestLibrary("good-v2"));
  std::filesystem::last_write_time(dir / "good.so", time);
  EXPECT_NE(*Library::Load(dir.path(), "good", In(dir)), *first);
}

// As a reload finds them: files that were there before, unchanged, and their changes.
TEST(LibraryTest, FilesThatAreKnown) {
  const TestDir dir;
  const std::string bytes = TestLibrary("good-v1");
  dir.Write("good.so", bytes);
  ASSERT_TRUE(Library::Load(dir.path(), "good", In(dir)).ok());
  const auto young = [&] {
    return ReadTrustedFileUnless(nullptr, dir.path(), "good.so", bytes.size())->too_young;
  };
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (young() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  for (int i = 0; i < 3; ++i) {
    const auto file = LibraryFile::Read(dir.path(), "good", In(dir));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->info().digest, Sha256Hex(bytes));
    const auto content = (*file)->Bytes();
    ASSERT_TRUE(content.ok()) << content.status();
    EXPECT_EQ(**content, bytes);
    EXPECT_EQ(VersionOf(Library::Load(**file, In(dir))), 1);
  }
  dir.Write("good.toml", "name = \"good\"\nversion = \"1.2.3\"\ntypes = [\"good\"]\n");
  EXPECT_EQ(Library::Inspect(dir.path(), "good")->version, "1.2.3");
  LoadOptions pinned = In(dir);
  pinned.allow_unlisted = false;
  EXPECT_FALSE(LibraryFile::Read(dir.path(), "good", pinned).ok());
  ASSERT_EQ(unlink((dir / "good.toml").c_str()), 0);
  EXPECT_EQ(Library::Inspect(dir.path(), "good")->version, "");
  dir.Write("good.so", TestLibrary("good-v2"));
  EXPECT_EQ(VersionOf(Library::Load(dir.path(), "good", In(dir))), 2);
  ASSERT_EQ(chmod((dir / "good.so").c_str(), 0666), 0);
  EXPECT_FALSE(LibraryFile::Read(dir.path(), "good", In(dir)).ok());
}

TEST(LibraryTest, TheSameFileUnderAnotherNameIsRefused) {
  const TestDir dir;
  dir.Write("good.so", TestLibrary("good-v1"));
  dir.Write("better.so", TestLibrary("good-v1"));
  EXPECT_TRUE(Library::Load(dir.path(), "good", In(dir)).ok());
  EXPECT_THAT(std::string(Library::Load(dir.path(), "better", In(dir)).status().message()),
              HasSubstr("[EPP-ABI-RECORD]"));
}

// Appends nothing that matters, so that the digest is one that no other test has loaded.
std::string Fresh(std::string bytes, std::string_view salt) { return bytes.append(salt); }

TEST(LibraryTest, MapsFromAPrivateFile) {
  const TestDir dir;
  dir.Write("good.so", Fresh(TestLibrary("good-v1"), "private file"));
  const Loaded library = Library::Load(dir.path(), "good", In(dir));
  ASSERT_TRUE(library.ok()) << library.status();
  const std::string& path = (*library)->info().mapped_path;
  EXPECT_THAT(path, StartsWith(StrCat(dir / "run/good-", (*library)->info().digest.substr(0, 16),
                                      "-", getpid())));
  struct stat st;
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0500u);
  ASSERT_EQ(stat((dir / "run").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
  EXPECT_THAT((*library)->info().warnings, IsEmpty());
}

TEST(LibraryTest, FallsBackToMemoryFilesThatAreNotReused) {
  const TestDir dir;
  ASSERT_EQ(mkdir((dir / "open").c_str(), 0755), 0);
  for (const std::string& runtime_dir : {std::string(), dir / "open", dir / "no/such"}) {
    LoadOptions options;
    options.runtime_dir = runtime_dir;
    std::set<std::string> paths;
    for (const int version : {1, 2}) {
      dir.Write("good.so",
                Fresh(TestLibrary(StrCat("good-v", version)), StrCat("memory ", runtime_dir)));
      const Loaded library = Library::Load(dir.path(), "good", options);
      EXPECT_EQ(VersionOf(library), version);
      ASSERT_TRUE(library.ok());
      paths.insert((*library)->info().mapped_path);
      EXPECT_THAT((*library)->info().mapped_path, StartsWith(StrCat("/proc/", getpid(), "/fd/")));
      // Memory is the default; only a directory that was wanted and cannot be used is odd.
      EXPECT_EQ((*library)->info().warnings.size(), runtime_dir.empty() ? 0u : 1u);
      // Sealed: the bytes that were verified stay the bytes that run.
      const int fd = open((*library)->info().mapped_path.c_str(), O_RDWR | O_CLOEXEC);
      ASSERT_GE(fd, 0);
      EXPECT_LT(write(fd, "x", 1), 0);
      close(fd);
    }
    EXPECT_EQ(paths.size(), 2u);
  }
}

TEST(LibraryTest, RemovesCopiesOfDeadProcesses) {
  const TestDir dir;
  ASSERT_EQ(mkdir((dir / "run").c_str(), 0700), 0);
  const std::string stale = dir / "run/good-0123456789abcdef-4194303-0.so";  // above pid_max
  const std::string alive = dir / StrCat("run/good-0123456789abcdef-", getppid(), "-0.so");
  const std::string other = dir / "run/notes.so";
  for (const std::string& path : {stale, alive, other}) std::ofstream(path) << "x";
  dir.Write("good.so", Fresh(TestLibrary("good-v1"), "stale"));
  ASSERT_TRUE(Library::Load(dir.path(), "good", In(dir)).ok());
  EXPECT_FALSE(std::filesystem::exists(stale));
  EXPECT_TRUE(std::filesystem::exists(alive));
  EXPECT_TRUE(std::filesystem::exists(other));
}

TEST(LibraryTest, Policy) {
  const TestDir dir;
  const std::string bytes = Fresh(TestLibrary("good-v1"), "policy");
  const std::string digest = Sha256Hex(bytes);
  const std::string other(64, 'a');
  const auto pin = [](const std::string& d) { return StrCat("sha256 = \"", d, "\"\n"); };
  dir.Write("good.so", bytes);
  struct Case {
    std::string manifest;
    std::vector<std::string> listed;
    bool unlisted;
    const char* code;  // null when it loads
  };
  for (const Case& c : std::vector<Case>{
           {"", {}, false, "[EPP-LOAD-UNLISTED]"},
           {"", {other}, false, "[EPP-LOAD-UNLISTED]"},
           {"", {other, digest}, false, nullptr},
           {"", {}, true, nullptr},
           {pin(digest), {}, false, nullptr},
           {pin(other), {}, false, "[EPP-LOAD-DIGEST]"},
           {pin(other), {}, true, "[EPP-LOAD-DIGEST]"},
           {pin(other), {digest}, false, nullptr},
           {"sha256 = 7\n", {}, true, "[EPP-LOAD-MANIFEST]"},
           {"check = 7\n", {}, true, "[EPP-LOAD-MANIFEST]"},
           {"colour = \"red\"\n", {}, true, "[EPP-LOAD-MANIFEST]"},
           {"name = \n", {}, true, "[EPP-LOAD-MANIFEST]"},
       }) {
    dir.Write("good.toml", c.manifest);
    LoadOptions options = In(dir);
    options.allowed_digests = c.listed;
    options.allow_unlisted = c.unlisted;
    const Loaded library = Library::Load(dir.path(), "good", options);
    if (c.code == nullptr) {
      EXPECT_TRUE(library.ok()) << library.status();
    } else {
      EXPECT_THAT(std::string(library.status().message()), HasSubstr(c.code)) << c.manifest;
    }
  }
}

TEST(LibraryTest, RefusesNames) {
  const TestDir dir;
  dir.Write("good.so", TestLibrary("good-v1"));
  for (const std::string name :
       {"../x", "/etc/x", "", "Good", "-x", "a.b", "a/b",
        "a123456789012345678901234567890123456789012345678901234567890123"}) {
    EXPECT_THAT(std::string(Library::Load(dir.path(), name, In(dir)).status().message()),
                HasSubstr("[EPP-LOAD-NAME]"))
        << name;
  }
  EXPECT_TRUE(absl::IsNotFound(Library::Load(dir.path(), "absent", In(dir)).status()));
}

#if defined(__x86_64__)
TEST(LibraryTest, FloatingPointModeIsNotChanged) {
  const TestDir dir;
  dir.Write("fast-math.so", TestLibrary("fast-math"));
  const unsigned before = _mm_getcsr();
  const Loaded library = Library::Load(dir.path(), "fast-math", In(dir));
  ASSERT_TRUE(library.ok()) << library.status();
  EXPECT_EQ(_mm_getcsr(), before);
  unsigned later = 0;
  std::thread([&] { later = _mm_getcsr(); }).join();
  EXPECT_EQ(later, before);
  EXPECT_THAT((*library)->info().warnings, ElementsAre(HasSubstr("floating-point mode")));
}
#endif

TEST(LibraryTest, IgnoresTheSearchPath) {
  const TestDir dir;
  const TestDir bait;
  bait.Write("good.so", TestLibrary("good-v1"));
  setenv("LD_LIBRARY_PATH", bait.path().c_str(), 1);
  EXPECT_TRUE(absl::IsNotFound(Library::Load(dir.path(), "good", In(dir)).status()));
  unsetenv("LD_LIBRARY_PATH");
}

struct CreateCase {
  const char* library;
  absl::StatusCode code;
  const char* text;
};

TEST(InstanceTest, ErrorsOfCreate) {
  const TestDir dir;
  for (const CreateCase& c : {
           CreateCase{"create-fails", absl::StatusCode::kInvalidArgument, "value is 7, want less"},
           CreateCase{"create-silent", absl::StatusCode::kInternal, "no message"},
           CreateCase{"create-odd", absl::StatusCode::kInternal, "\xEF\xBF\xBD"},
           CreateCase{"throws-create", absl::StatusCode::kInternal, "exception: no luck"},
       }) {
    dir.Write(StrCat(c.library, ".so"), TestLibrary(c.library));
    const Loaded library = Library::Load(dir.path(), c.library, In(dir));
    ASSERT_TRUE(library.ok()) << library.status();
    const TypeEntry entry{(*library)->types()[0], *library};
    epp_host host{};
    const std::vector<epp_value> values(entry.type->param_count);
    const auto instance = Instance::Create(entry, "x", &host, values);
    EXPECT_EQ(instance.status().code(), c.code) << c.library;
    EXPECT_THAT(std::string(instance.status().message()), HasSubstr(c.text)) << c.library;
  }
}

}  // namespace
}  // namespace epp::loader
