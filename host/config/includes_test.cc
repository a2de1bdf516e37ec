#include "host/config/includes.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"
#include "host/config/endpoint_picker_config.h"
#include "host/config/test_catalog.h"

namespace epp::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

using Files = std::map<std::string, std::string>;

class InMemory final : public IncludeReader {
 public:
  explicit InMemory(Files files) : files_(std::move(files)) {}
  SourceText::Included Read(const std::string& path, const std::string&) override {
    ++reads;
    const auto at = files_.find(path);
    if (at == files_.end()) return {nullptr, "cannot be read: No such file or directory"};
    return {test::Text(at->second, StrCat("etc/", path)), ""};
  }
  int reads = 0;

 private:
  const Files files_;
};

// Of etc/config.yaml and what lies beside it.
struct Composed {
  explicit Composed(std::string config, Files files = {}) {
    InMemory reader(std::move(files));
    source = ReadIncludes({"etc/config.yaml", std::move(config)}, reader);
    reads = reader.reads;
    const std::optional<Node> root = Compose(source, out);
    if (root) json = ToJson(*root);
  }
  std::shared_ptr<const SourceText> source;
  int reads = 0;
  Diagnostics out;
  std::string json;  // empty when refused
};

TEST(IncludesTest, EachFileIsLaidOverWhatItIncludes) {
  const Composed composed(
      "{epp: {include: [a.yaml, sub/b.yaml]}, from: config}",
      {{"a.yaml", "{epp: {include: [sub/c.yaml]}, from: a, a: 1, both: a}"},
       {"sub/b.yaml", "{epp: {include: [./deep//d.yaml, c.yaml]}, from: b, b: 1, both: b}"},
       {"sub/c.yaml", "{from: c, c: 1, both: c}"},
       {"sub/deep/d.yaml", "{from: d, d: 1, both: d}"}});
  EXPECT_TRUE(composed.out.all().empty()) << composed.out.Render();
  EXPECT_EQ(composed.json, R"({"a":1,"b":1,"both":"b","c":1,"d":1,"epp":{},"from":"config"})");
  EXPECT_EQ(composed.reads, 4);
  EXPECT_THAT(IncludedPaths(*composed.source),
              ElementsAre("etc/a.yaml", "etc/sub/b.yaml", "etc/sub/c.yaml", "etc/sub/deep/d.yaml"));
}

TEST(IncludesTest, AFileIsTakenOnceSoThatItUndoesNothing) {
  const Composed composed(
      "epp: {include: [a.yaml, b.yaml]}",
      {{"a.yaml", "{epp: {include: [base.yaml]}, plugins: [{name: x, $remove: true}]}"},
       {"b.yaml", "{epp: {include: [base.yaml]}, b: 1}"},
       {"base.yaml", "plugins: [{name: x}, {name: y}]"}});
  EXPECT_EQ(composed.json, R"({"b":1,"epp":{},"plugins":[{"name":"y"}]})") << composed.out.Render();
}

TEST(IncludesTest, NothingToInclude) {
  for (const char* text :
       {"a: 1", "{a: 1, epp: }", "{a: 1, epp: {include: }}", "{a: 1, epp: {include: []}}", ""}) {
    const Composed composed(text);
    EXPECT_TRUE(composed.out.all().empty()) << text << composed.out.Render();
    EXPECT_FALSE(composed.json.empty()) << text;
    EXPECT_TRUE(composed.source->included.empty());
  }
}

TEST(IncludesTest, Refused) {
  const Files files = {{"self.yaml", "epp: {include: [self.yaml]}"},
                       {"back.yaml", "epp:\n  include:\n  - config.yaml\n"},
                       {"ping.yaml", "epp: {include: [pong.yaml]}"},
                       {"pong.yaml", "epp: {include: [ping.yaml]}"},
                       {"sub/up.yaml", "epp: {include: [../a.yaml]}"},
                       {"a.yaml", "a: 1"},
                       {"empty.yaml", " \n"},
                       {"broken.yaml", "a: 1\nb: [\n"}};
  struct Case {
    const char* text;
    const char* shown;
  };
  const Case cases[] = {
      {"epp: {include: a.yaml}", "epp.include is a string, want a list of paths"},
      {"epp: {include: [1]}", "an entry of epp.include is an integer, want a path"},
      {"epp: {include: [\"\"]}", "include \"\": must be below the directory"},
      {"epp: {include: [.]}", "include \".\": must be below the directory"},
      {"epp: {include: [/etc/passwd]}",
       "etc/config.yaml:1:17: error: include \"/etc/passwd\": must be below the directory of the "
       "file that includes it\n"
       "    1 | epp: {include: [/etc/passwd]}\n"
       "      |                 ^^^^^^^^^^^ want a relative path without ..  [EPP-CFG-INCLUDE]\n"},
      {"epp: {include: [a/../a.yaml]}", "must be below the directory"},
      {"epp: {include: [sub/up.yaml]}", "etc/sub/up.yaml:1:17: error: include \"../a.yaml\": must"},
      {"epp: {include: [none.yaml]}",
       "include \"none.yaml\": cannot be read: No such file or directory"},
      {"epp: {include: [empty.yaml]}", "include \"empty.yaml\": is empty"},
      {"epp: {include: [config.yaml]}", "includes itself: config.yaml -> config.yaml"},
      {"epp: {include: [self.yaml]}",
       "etc/self.yaml:1:17: error: include \"self.yaml\": includes itself: config.yaml -> "
       "self.yaml -> self.yaml"},
      {"epp: {include: [back.yaml]}",
       "etc/back.yaml:3:5: error: include \"config.yaml\": includes itself: config.yaml -> "
       "back.yaml -> config.yaml\n"
       "    3 |   - config.yaml\n"
       "      |     ^^^^^^^^^^^ [EPP-CFG-INCLUDE]\n"},
      {"epp: {include: [ping.yaml]}", "config.yaml -> ping.yaml -> pong.yaml -> ping.yaml"},
      {"epp: {include: [broken.yaml]}", "etc/broken.yaml:3:1: error: not readable as YAML"},
      {"epp: {shadow: {file: ../x.yaml}}",
       "epp.shadow.file \"../x.yaml\" must be below the directory of the file that names it"},
      {"epp: {shadow: {file: /x.yaml}}", "want a relative path without .."},
  };
  for (const Case& c : cases) {
    const Composed composed(c.text, files);
    EXPECT_EQ(composed.json, "") << c.text;
    EXPECT_EQ(composed.out.errors(), 1u) << c.text << "\n" << composed.out.Render();
    EXPECT_THAT(composed.out.Render(), HasSubstr(c.shown)) << c.text;
  }
}

TEST(IncludesTest, AllErrorsOfAllFilesInOnePass) {
  const Composed composed("epp: {include: [none.yaml, a.yaml, b.yaml, gone.yaml]}",
                          {{"a.yaml", "["}, {"b.yaml", "plugins: [{name: x, $remove: true}]"}});
  EXPECT_EQ(composed.out.errors(), 4u) << composed.out.Render();
  // What cannot be read is known, so that it can be watched.
  EXPECT_TRUE(composed.source->included.contains("none.yaml"));
  EXPECT_TRUE(composed.source->included.contains("gone.yaml"));
}

TEST(IncludesTest, Limits) {
  Files chain;
  for (int i = 1; i <= 9; ++i) {
    chain[StrCat(i, ".yaml")] = StrCat("epp: {include: [", i + 1, ".yaml]}");
  }
  chain["8.yaml"] = "a: 1";
  EXPECT_EQ(Composed("epp: {include: [1.yaml]}", chain).json, R"({"a":1,"epp":{}})");
  chain["8.yaml"] = "epp: {include: [9.yaml]}";
  const Composed deep("epp: {include: [1.yaml]}", chain);
  EXPECT_THAT(deep.out.Render(),
              HasSubstr("etc/8.yaml:1:17: error: include \"9.yaml\": is included more than 8 files "
                        "deep"));
  EXPECT_EQ(deep.reads, 8);

  Files many;
  std::string list;
  for (int i = 0; i < 70; ++i) {
    many[StrCat(i)] = "a: 1";
    StrAppend(&list, "'", i, "', ");
  }
  const Composed wide(StrCat("epp: {include: [", list, "]}"), many);
  EXPECT_EQ(wide.out.errors(), 1u);
  EXPECT_THAT(wide.out.Render(), HasSubstr("include \"64\": is one too many, want at most 64"));
  EXPECT_EQ(wide.reads, 64);

  const std::string half(kMaxDocumentBytes / 2, '#');
  const Composed large("epp: {include: [a, b, c]}", {{"a", half}, {"b", half}, {"c", half}});
  EXPECT_EQ(large.out.errors(), 1u);
  EXPECT_THAT(large.out.Render(), HasSubstr("include \"b\": makes all files of the configuration"));
  EXPECT_EQ(large.reads, 2);
}

TEST(IncludesTest, ATextThatIsNoFileIncludesNothing) {
  Diagnostics out;
  EXPECT_FALSE(Compose(test::Text("epp: {include: [a.yaml]}", "--config-text"), out));
  EXPECT_THAT(out.Render(), HasSubstr("only a configuration file can include others"));
}

TEST(IncludesTest, TheShadowOfAnIncludedFileLiesBesideThat) {
  const Composed composed("{epp: {include: [sub/a.yaml]}, plugins: [{type: queue-scorer}]}",
                          {{"sub/a.yaml", "epp: {shadow: {file: next.yaml, sample: 20%}}"}});
  EXPECT_EQ(composed.json, R"({"epp":{"shadow":{"file":"sub/next.yaml","sample":"20%"}},)"
                           R"("plugins":[{"type":"queue-scorer"}]})");
}

TEST(IncludesTest, TheDigestCoversEveryFile) {
  const auto digest = [](const Files& files) {
    return Digest(*Composed("epp: {include: [a.yaml]}", files).source);
  };
  const std::string one = digest({{"a.yaml", "a: 1"}});
  EXPECT_EQ(one, digest({{"a.yaml", "a: 1"}}));
  EXPECT_NE(one, digest({{"a.yaml", "a: 2"}}));
  EXPECT_NE(one, digest({}));
  EXPECT_NE(one, Digest(*test::Text("epp: {include: [a.yaml]}")));
}

TEST(IncludesTest, ErrorsInAResolvedConfigStandInTheirFile) {
  InMemory reader(Files{{"base.yaml",
                         "plugins:\n"
                         "- {name: prefix, type: prefix-cache-scorer, parameters: {nope: 1}}\n"
                         "schedulingProfiles:\n"
                         "- {name: default, plugins: [{pluginRef: prefix}]}\n"}});
  const auto source = ReadIncludes(
      {"etc/config.yaml",
       "epp: {include: [base.yaml]}\n"
       "schedulingProfiles:\n"
       "- {name: default, plugins: [{pluginRef: prefix, weight: 5}, {pluginRef: prefx}]}\n"},
      reader);
  Diagnostics out;
  const ResolvedConfig config = Resolve(source, test::RealNames(), {}, out);
  EXPECT_THAT(out.Render(), HasSubstr("etc/base.yaml:2:58: error: plugin \"prefix\""));
  EXPECT_THAT(out.Render(), HasSubstr("etc/config.yaml:3:73: error: profile \"default\": plugin "
                                      "\"prefx\" is not defined"));
  EXPECT_EQ(config.source, source);
}

// ---- From disk.

class IncludedFilesTest : public testing::Test {
 protected:
  IncludedFilesTest() : root_(testing::TempDir() + "/epp_includes_XXXXXX") {
    EXPECT_NE(mkdtemp(root_.data()), nullptr);
    std::filesystem::create_directories(root_ + "/etc/sub");
  }
  ~IncludedFilesTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + "/" + path).parent_path());
    std::ofstream(root_ + "/" + path) << text;
  }
  void Link(const std::string& target, const std::string& path) {
    std::filesystem::create_symlink(target, root_ + "/" + path);
  }
  // The text of `path` as included from etc/config.yaml, or why not.
  std::string Read(const std::string& path, const std::string& within = "") {
    const SourceText::Included found = IncludedFiles(root_ + "/etc/config.yaml").Read(path, within);
    return found.text ? found.text->text : found.error;
  }

  std::string root_;
};

TEST_F(IncludedFilesTest, FilesAndLinksInTheTree) {
  Write("etc/a.yaml", "a");
  Write("etc/sub/b.yaml", "b");
  Link("sub/b.yaml", "etc/link.yaml");
  Link("../a.yaml", "etc/sub/up.yaml");
  EXPECT_EQ(Read("a.yaml"), "a");
  EXPECT_EQ(Read("sub/b.yaml"), "b");
  EXPECT_EQ(Read("sub/b.yaml", "sub/"), "b");
  EXPECT_EQ(Read("link.yaml"), "b");
  EXPECT_EQ(Read("sub/up.yaml"), "a");
  EXPECT_THAT(Read("sub/up.yaml", "sub/"), HasSubstr("is a symbolic link out of "));
  EXPECT_EQ(IncludedFiles(root_ + "/etc/config.yaml").Read("a.yaml", "").text->name,
            root_ + "/etc/a.yaml");
}

TEST_F(IncludedFilesTest, AMountedConfigMap) {
  Write("etc/..2026_01/config.yaml", "c");
  Write("etc/..2026_01/common.yaml", "common");
  Write("etc/..2026_01/deep/x.yaml", "x");
  Write("etc/..2026_01/deep/y.yaml", "y");
  Link("..2026_01", "etc/..data");
  Link("..data/config.yaml", "etc/config.yaml");
  Link("..data/common.yaml", "etc/common.yaml");
  Link("..data/deep", "etc/deep");
  EXPECT_EQ(Read("common.yaml"), "common");
  EXPECT_EQ(Read("deep/x.yaml"), "x");
  EXPECT_EQ(Read("deep/y.yaml", "deep/"), "y");
}

TEST_F(IncludedFilesTest, Refused) {
  Write("outside.yaml", "secret");
  Write("etc-beside/x.yaml", "secret");
  Link("../outside.yaml", "etc/out.yaml");
  Link("/etc/hostname", "etc/abs.yaml");
  Link("../etc-beside", "etc/beside");
  Link("loop.yaml", "etc/loop.yaml");
  ASSERT_EQ(mkfifo((root_ + "/etc/pipe").c_str(), 0600), 0);
  Write("etc/large.yaml", std::string(kMaxDocumentBytes + 100, '#'));
  EXPECT_EQ(Read("out.yaml"), StrCat("is a symbolic link out of ",
                                     std::filesystem::canonical(root_ + "/etc").string(), "/"));
  EXPECT_THAT(Read("abs.yaml"), Not(HasSubstr("\n")));
  EXPECT_THAT(Read("beside/x.yaml"), HasSubstr("is a symbolic link out of "));
  EXPECT_THAT(Read("loop.yaml"), HasSubstr("cannot be read: Too many levels"));
  EXPECT_THAT(Read("none.yaml"), HasSubstr("cannot be read: No such file"));
  EXPECT_EQ(Read("sub"), "is not a regular file");
  EXPECT_EQ(Read("pipe"), "is not a regular file");
  // Not read to its end; Compose counts what was.
  EXPECT_EQ(Read("large.yaml").size(), kMaxDocumentBytes + 1);
}

}  // namespace
}  // namespace epp::config
