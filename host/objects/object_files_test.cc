#include "host/objects/object_files.h"

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"

namespace epp::objects {
namespace {

using ::testing::HasSubstr;

std::string ObjectiveText(std::string_view name, int priority,
                          std::string_view version = "llm-d.ai/v1alpha2") {
  return StrCat("apiVersion: ", version, "\nkind: InferenceObjective\nmetadata: {name: ", name,
                "}\nspec: {priority: ", priority, ", poolRef: {name: pool}}\n");
}

class ObjectFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "objects-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    Write("endpoints.yaml", "endpoints: []\n");
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(StrCat(dir_, "/.new")) << text;
    std::filesystem::rename(StrCat(dir_, "/.new"), StrCat(dir_, "/", name));
  }
  ObjectsReport Start(ObjectFiles& files, bool watch = false) {
    ObjectFiles::Options options;
    options.watch = watch;
    options.timing.debounce_ns = 1'000'000;
    options.timing.renamed_ns = 1'000'000;
    options.on_change = [this](const ObjectsReport& report) {
      const std::lock_guard lock(mutex_);
      report_ = report;
      ++changes_;
      changed_.notify_all();
    };
    return files.Start(dir_ + "/endpoints.yaml", std::move(options), &slot_);
  }
  int32_t Priority(std::string_view name) const { return slot_.current()->Priority(name); }
  template <class F>
  bool Eventually(F&& is_so) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), is_so);
  }

  std::string dir_;
  ObjectSlot slot_;
  std::mutex mutex_;
  std::condition_variable changed_;
  ObjectsReport report_;
  int changes_ = 0;
};

TEST_F(ObjectFilesTest, ReadsTheEndpointsFileAndItsNeighbours) {
  Write("endpoints.yaml", StrCat("endpoints: []\n---\n", ObjectiveText("own", 1)));
  Write("a.yaml", ObjectiveText("beside", 2));
  Write("b.yml", ObjectiveText("short", 3));
  Write("c.txt", ObjectiveText("text", 4));
  Write(".d.yaml", ObjectiveText("hidden", 5));
  Write("epp.yaml", "kind: EndpointPickerConfig\n");
  ObjectFiles files;
  const ObjectsReport report = Start(files);
  EXPECT_TRUE(report.diagnostics.ok()) << report.diagnostics.Render();
  EXPECT_EQ(report.objects->objectives().size(), 3u);
  EXPECT_EQ(Priority("own"), 1);
  EXPECT_EQ(Priority("beside"), 2);
  EXPECT_EQ(Priority("short"), 3);
}

TEST_F(ObjectFilesTest, ARefusedObjectKeepsItsFormerVersion) {
  Write("a.yaml", StrCat(ObjectiveText("a", 1), "---\n", ObjectiveText("b", 1), "---\n",
                         ObjectiveText("gone", 1)));
  ObjectFiles files;
  Start(files);
  std::string bad = ObjectiveText("a", 2);
  bad.replace(bad.find("priority: 2"), 11, "priority: x");
  Write("a.yaml", StrCat(bad, "---\n", ObjectiveText("b", 2)));
  files.Reload();
  EXPECT_EQ(changes_, 1);
  EXPECT_EQ(report_.refused, 1u);
  EXPECT_THAT(report_.diagnostics.Render(), HasSubstr("a.yaml:4:"));
  EXPECT_EQ(Priority("a"), 1);
  EXPECT_EQ(Priority("b"), 2);
  EXPECT_EQ(Priority("gone"), 0);
  files.Reload();
  EXPECT_EQ(changes_, 1) << "nothing changed since";
}

TEST_F(ObjectFilesTest, OfAnUnusableFileAllStay) {
  Write("a.yaml", ObjectiveText("a", 1));
  Write("b.yaml", ObjectiveText("b", 1));
  ObjectFiles files;
  Start(files);
  Write("a.yaml", "kind: InferenceObjective\nspec: [\n");
  Write("b.yaml", ObjectiveText("b", 2));
  files.Reload();
  EXPECT_FALSE(report_.diagnostics.ok());
  EXPECT_EQ(Priority("a"), 1);
  EXPECT_EQ(Priority("b"), 2);
  Write("a.yaml", StrCat(ObjectiveText("a", 3), "# ", std::string(kMaxObjectsFileBytes, 'x')));
  files.Reload();
  EXPECT_THAT(report_.diagnostics.Render(), HasSubstr("larger than"));
  EXPECT_EQ(Priority("a"), 1);
  std::filesystem::remove(dir_ + "/a.yaml");
  files.Reload();
  EXPECT_EQ(Priority("a"), 0);
  EXPECT_TRUE(files.last().diagnostics.ok());
}

TEST_F(ObjectFilesTest, TheOlderGroupGivesWay) {
  constexpr std::string_view kOld = "inference.networking.x-k8s.io/v1alpha2";
  Write("old.yaml", ObjectiveText("old", 1, kOld));
  ObjectFiles files;
  Start(files);
  EXPECT_EQ(Priority("old"), 1);
  Write("new.yaml", ObjectiveText("new", 2));
  files.Reload();
  EXPECT_EQ(Priority("old"), 0);
  EXPECT_EQ(Priority("new"), 2);
  EXPECT_EQ(report_.ignored, 1u);
  EXPECT_THAT(report_.diagnostics.Render(), HasSubstr("\"old\" is ignored"));
}

TEST_F(ObjectFilesTest, OfEqualNamesTheLastFileCounts) {
  Write("a.yaml", ObjectiveText("a", 1));
  Write("b.yaml", ObjectiveText("a", 2));
  ObjectFiles files;
  const ObjectsReport report = Start(files);
  EXPECT_EQ(Priority("a"), 2);
  EXPECT_THAT(report.diagnostics.Render(), HasSubstr("is also in"));
}

TEST_F(ObjectFilesTest, FollowsFilesThatComeChangeAndGo) {
  ObjectFiles files;
  Start(files, true);
  EXPECT_EQ(Priority("a"), 0);
  Write("a.yaml", ObjectiveText("a", 1));
  EXPECT_TRUE(Eventually([&] { return Priority("a") == 1; }));
  Write("a.yaml", ObjectiveText("a", 2));
  EXPECT_TRUE(Eventually([&] { return Priority("a") == 2; }));
  {
    const std::lock_guard lock(mutex_);
    std::filesystem::remove(dir_ + "/a.yaml");
  }
  EXPECT_TRUE(Eventually([&] { return Priority("a") == 0; }));
}

}  // namespace
}  // namespace epp::objects
