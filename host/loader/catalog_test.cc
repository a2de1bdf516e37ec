#include "host/loader/catalog.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/loader/test_dir.h"

namespace epp::loader {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr const char* kAliases[] = {"old-name"};
constexpr const char* kInterfaces[] = {EPP_FILTER_ID, EPP_SCORER_ID};

epp_plugin_type Builtin(const char* name) {
  epp_plugin_type type{};
  type.struct_size = sizeof(type);
  type.name = name;
  type.alias_count = 1;
  type.aliases = kAliases;
  type.interface_count = 2;
  type.interfaces = kInterfaces;
  return type;
}

TEST(CatalogTest, FindsByNameAndAlias) {
  const epp_plugin_type type = Builtin("new-name");
  Catalog catalog;
  catalog.AddBuiltin(&type);
  bool via_alias = true;
  ASSERT_NE(catalog.Find("new-name", &via_alias), nullptr);
  EXPECT_FALSE(via_alias);
  EXPECT_EQ(catalog.Find("old-name", &via_alias), catalog.Find("new-name"));
  EXPECT_NE(catalog.Find("old-name"), nullptr);
  EXPECT_EQ(catalog.Find("unknown", &via_alias), nullptr);
  EXPECT_FALSE(via_alias);
  EXPECT_TRUE(catalog.Find("new-name")->Implements(EPP_SCORER_ID));
  EXPECT_FALSE(catalog.Find("new-name")->Implements(EPP_PICKER_ID));
  EXPECT_FALSE(catalog.Find("new-name")->Implements("epp.scorer/12"));
  EXPECT_THAT(catalog.types(), SizeIs(1));
}

class ScanTest : public testing::Test {
 protected:
  Catalog Scan() {
    LoadOptions options;
    options.runtime_dir = run_.path();
    const std::string dirs[] = {first_.path(), second_.path(), first_ / "absent"};
    return Catalog::Scan(dirs, options);
  }
  const TestDir run_;
  const TestDir first_;
  const TestDir second_;
};

TEST_F(ScanTest, LoadsAndRefuses) {
  first_.Write("good.so", TestLibrary("good-v1"));
  first_.Write("exec-stack.so", TestLibrary("exec-stack"));
  first_.Write("Upper.so", "");
  first_.Write(".hidden.so", "");
  first_.Write("notes.txt", "");
  const Catalog catalog = Scan();
  EXPECT_NE(catalog.Find("good"), nullptr);
  EXPECT_THAT(catalog.libraries(), SizeIs(1));
  ASSERT_THAT(catalog.refused(), SizeIs(2));
  EXPECT_EQ(catalog.refused()[0].path, first_ / "Upper.so");
  EXPECT_THAT(std::string(catalog.refused()[0].why.message()), HasSubstr("[EPP-LOAD-NAME]"));
  EXPECT_EQ(catalog.refused()[1].path, first_ / "exec-stack.so");
}

TEST_F(ScanTest, FirstDirectoryWins) {
  first_.Write("good.so", TestLibrary("good-v2"));
  second_.Write("good.so", TestLibrary("good-v1"));
  const Catalog catalog = Scan();
  EXPECT_EQ(catalog.Find("good")->type->params[0]->default_value.v.i64, 2);
  ASSERT_THAT(catalog.refused(), SizeIs(1));
  const std::string why(catalog.refused()[0].why.message());
  EXPECT_THAT(why, HasSubstr(second_ / "good.so"));
  EXPECT_THAT(why, HasSubstr(catalog.Find("good")->library->info().path));
  EXPECT_THAT(why, HasSubstr("[EPP-LOAD-CONFLICT]"));
}

TEST_F(ScanTest, TheSameLibraryTwiceIsNoConflict) {
  first_.Write("good.so", TestLibrary("good-v1"));
  second_.Write("good.so", TestLibrary("good-v1"));
  const Catalog catalog = Scan();
  EXPECT_THAT(catalog.refused(), IsEmpty());
  EXPECT_THAT(catalog.types(), SizeIs(1));
}

TEST_F(ScanTest, AFormerBuildTakesThePlaceOfTheOneOnDisk) {
  first_.Write("good.so", TestLibrary("good-v1"));
  const std::string old_digest = Scan().libraries().front()->info().digest;
  first_.Write("good.so", TestLibrary("good-v2"));
  const auto version = [](const Catalog& catalog) {
    return catalog.Find("good")->type->params[0]->default_value.v.i64;
  };
  const Catalog scanned = Scan();
  ASSERT_EQ(version(scanned), 2);

  std::vector<std::string> missing;
  const Catalog former = Catalog::WithBuilds(scanned, {{"good", old_digest}}, missing);
  EXPECT_EQ(version(former), 1);
  EXPECT_THAT(former.libraries(), SizeIs(1));
  EXPECT_THAT(former.refused(), IsEmpty());
  EXPECT_THAT(missing, IsEmpty());
  // Also when the file is gone.
  EXPECT_EQ(version(Catalog::WithBuilds(Catalog(), {{"good", old_digest}}, missing)), 1);

  const Catalog other = Catalog::WithBuilds(
      scanned, {{"good", std::string(64, '0')}, {"better", old_digest}}, missing);
  EXPECT_EQ(version(other), 2);
  EXPECT_THAT(missing, testing::UnorderedElementsAre("good", "better"));
}

}  // namespace
}  // namespace epp::loader
