#include "host/serve/history.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"

namespace epp::serve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

Attempt Applied(uint64_t generation, std::string digest, uint64_t restored = 0) {
  Attempt attempt;
  attempt.generation = attempt.serving = generation;
  attempt.restored = restored;
  attempt.digest = std::move(digest);
  attempt.cause = "file change";
  attempt.files = {{"/etc/epp/config.yaml", StrCat("text of ", generation, "\n\"\x01\"")}};
  attempt.libraries = {{"scorer", std::string(64, 'a')}};
  attempt.lost = {{"prefix", "approx-prefix-cache-producer", "another layout"}};
  attempt.changes = {"~   profile default: prefix weight 3 -> 5"};
  return attempt;
}

Attempt Refused(uint64_t serving) {
  Attempt attempt;
  attempt.serving = serving;
  attempt.cause = "file change";
  attempt.diagnostics = "config.yaml:1:1: error: no\n";
  attempt.files = {{"/etc/epp/config.yaml", "bad"}};
  return attempt;
}

std::vector<uint64_t> Generations(const History& history) {
  std::vector<uint64_t> out;
  for (const auto& attempt : history.all()) out.push_back(attempt->generation);
  return out;
}

class HistoryTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/epp_history_XXXXXX";
    root_ = mkdtemp(name);
    dir_ = root_ + "/history";
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::unique_ptr<History> Opened(size_t keep = 12) {
    auto history = std::make_unique<History>(keep);
    history->Open(dir_);
    return history;
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
      const std::string name = entry.path().filename();
      if (name != "lock") out.push_back(entry.path());
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  std::string root_;
  std::string dir_;
};

TEST(AttemptTest, SurvivesItsFile) {
  const Attempt attempt = Applied(7, "aa", 3);
  const auto again = DecodeAttempt(EncodeAttempt(attempt));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(EncodeAttempt(*again), EncodeAttempt(attempt));
  EXPECT_EQ(again->files[0].text, attempt.files[0].text);
  EXPECT_TRUE(again->SameContent(attempt));
}

TEST(AttemptTest, AConfigWithItsIncludes) {
  config::SourceText config{"config.yaml", "main"};
  config.included["base.yaml"].text =
      std::make_shared<const config::SourceText>(config::SourceText{"base.yaml", "base"});
  config.included["parts/a.yaml"].text =
      std::make_shared<const config::SourceText>(config::SourceText{"parts/a.yaml", "a"});
  config.included["gone.yaml"].error = "not there";
  Attempt attempt;
  attempt.files = FilesOf(&config, "/etc/epp/config.yaml");
  ASSERT_EQ(attempt.files.size(), 3u);
  EXPECT_EQ(attempt.files[2].path, "/etc/epp/parts/a.yaml");
  const auto again = SourceOf(*DecodeAttempt(EncodeAttempt(attempt)));
  EXPECT_EQ(again->text, "main");
  ASSERT_EQ(again->included.size(), 2u);
  EXPECT_EQ(again->included.at("parts/a.yaml").text->text, "a");
}

TEST(AttemptTest, EveryDamageIsSeen) {
  const std::string good = EncodeAttempt(Applied(7, "aa"));
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(DecodeAttempt(good.substr(0, size)).ok()) << size;
  }
  for (size_t at = 0; at < good.size(); at += 7) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    EXPECT_FALSE(DecodeAttempt(bad).ok()) << at;
  }
}

TEST(InMemoryHistory, KeepsTheLastAndTheWayBack) {
  History history(3);
  for (uint64_t g = 1; g <= 5; ++g) history.Add(Applied(g, StrCat("digest", g)));
  EXPECT_THAT(Generations(history), ElementsAre(5, 4, 3));
  EXPECT_EQ(history.KeptGenerations(), "3 to 5");
  for (int i = 0; i < 10; ++i) history.Add(Refused(5));
  EXPECT_THAT(Generations(history), ElementsAre(0, 5, 4));
  EXPECT_EQ(history.Before(5)->generation, 4u);
  EXPECT_EQ(history.last_generation(), 5u);
  EXPECT_THAT(history.why_in_memory(), Not(IsEmpty()));
}

TEST(InMemoryHistory, RestartsDoNotUseItUp) {
  History history(3);
  history.Add(Applied(1, "a"));
  history.Add(Applied(2, "b"));
  for (uint64_t g = 3; g <= 9; ++g) {
    Attempt start = Applied(g, "b");
    start.cause = "start";
    history.Add(start);
  }
  EXPECT_THAT(Generations(history), ElementsAre(9, 2, 1));
}

TEST(InMemoryHistory, NumbersWithGaps) {
  History history(12);
  EXPECT_EQ(history.KeptGenerations(), "none");
  for (const uint64_t g : {3, 5, 6, 8, 9, 10}) history.Add(Applied(g, "d"));
  EXPECT_EQ(history.KeptGenerations(), "3, 5, 6, 8 to 10");
}

TEST(InMemoryHistory, EachRollbackGoesFurtherBack) {
  History history(12);
  history.Add(Applied(1, "a"));
  history.Add(Applied(2, "b"));
  history.Add(Applied(3, "c"));
  EXPECT_EQ(history.Before(3)->generation, 2u);
  history.Add(Applied(4, "b", 2));
  EXPECT_EQ(history.Before(4)->generation, 1u);
  history.Add(Applied(5, "a", 1));
  EXPECT_EQ(history.Before(5), nullptr);
  EXPECT_EQ(history.Before(17), nullptr);
}

TEST(InMemoryHistory, AnotherBuildOfALibraryIsAnotherContent) {
  History history(12);
  history.Add(Applied(1, "a"));
  Attempt upgraded = Applied(2, "a");
  upgraded.libraries[0].digest = std::string(64, 'b');
  history.Add(upgraded);
  EXPECT_EQ(history.Before(2)->generation, 1u);
  history.Add(Applied(3, "a"));
  history.Add(Applied(4, "a"));
  EXPECT_EQ(history.Before(4)->generation, 2u);
}

TEST_F(HistoryTest, OutlivesTheProcess) {
  {
    const auto history = Opened(3);
    EXPECT_EQ(history->why_in_memory(), "");
    for (uint64_t g = 1; g <= 5; ++g) history->Add(Applied(g, StrCat("d", g)));
    history->Add(Refused(5));
    EXPECT_THAT(Files(), SizeIs(3));
    struct stat info {};
    ASSERT_EQ(stat(Files()[0].c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
  }
  const auto again = Opened(3);
  EXPECT_THAT(Generations(*again), ElementsAre(0, 5, 4));
  EXPECT_EQ(again->last_generation(), 5u);
  EXPECT_EQ(again->Find(4)->files[0].text, Applied(4, "").files[0].text);
  again->Add(Applied(6, "d6"));
  EXPECT_THAT(Generations(*again), ElementsAre(6, 0, 5));
}

TEST_F(HistoryTest, IgnoresWhatIsNotItsOwn) {
  {
    const auto history = Opened();
    for (uint64_t g = 1; g <= 4; ++g) history->Add(Applied(g, StrCat("d", g)));
  }
  const std::vector<std::string> files = Files();
  std::ofstream(files[0], std::ios::app) << "x";
  chmod(files[1].c_str(), 0666);
  std::ofstream(dir_ + "/notes.txt") << "hello";
  std::filesystem::create_directory(dir_ + "/000000000009.attempt");
  std::filesystem::create_symlink(files[3], dir_ + "/000000000010.attempt");
  const auto history = Opened();
  EXPECT_THAT(Generations(*history), ElementsAre(4, 3));
  history->Add(Applied(5, "d5"));  // under a name that nothing has
  EXPECT_EQ(history->why_in_memory(), "");
  EXPECT_THAT(Files(), testing::Contains(HasSubstr("000000000011.attempt")));
}

TEST_F(HistoryTest, OneProcessADirectory) {
  const auto first = Opened();
  const auto second = Opened();
  EXPECT_EQ(first->why_in_memory(), "");
  EXPECT_THAT(second->why_in_memory(), HasSubstr("another process"));
  second->Add(Applied(1, "a"));
  EXPECT_THAT(Files(), IsEmpty());
  EXPECT_THAT(Generations(*second), ElementsAre(1));
}

TEST_F(HistoryTest, GoesOnInMemoryWhenTheDirectoryIsGone) {
  const auto history = Opened();
  history->Add(Applied(1, "a"));
  std::filesystem::remove_all(dir_);
  history->Add(Applied(2, "b"));
  history->Add(Applied(3, "c"));
  EXPECT_THAT(Generations(*history), ElementsAre(3, 2, 1));
  EXPECT_THAT(history->why_in_memory(), Not(IsEmpty()));

  History nowhere(12);
  nowhere.Open(root_ + "/a/b");
  EXPECT_THAT(nowhere.why_in_memory(), HasSubstr("No such file"));
}

TEST(HistoryDocuments, TextsOnlyWhereAskedFor) {
  History history(12);
  history.Add(Applied(1, "0123456789"));
  EXPECT_THAT(HistoryJson(history, 1), HasSubstr("\"digest\":\"01234567\""));
  EXPECT_THAT(HistoryJson(history, 1), Not(HasSubstr("text of 1")));
  EXPECT_THAT(AttemptJson(*history.Find(1), true), HasSubstr("text of 1"));
}

}  // namespace
}  // namespace epp::serve
