// Every library that is shipped: its manifest agrees with its record, the record has no mistake,
// and its types can be created with what they declare. Libraries that are not built are not tested.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <toml++/toml.h>

#include <filesystem>

#include "epp/testing.hpp"

namespace {

using epp::test::Library;
using ::testing::IsEmpty;

std::vector<std::string> Shipped() {
  std::vector<std::string> out;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(PLUGIN_FOLDER, missing)) {
    if (entry.path().extension() == ".so") out.push_back(entry.path().stem().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

class ShippedTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::string Path(const char* extension) const {
    return std::string(PLUGIN_FOLDER) + "/" + GetParam() + extension;
  }
};

TEST_P(ShippedTest, RecordHasNoMistake) {
  const Library library(Path(".so"));
  ASSERT_TRUE(library.ok()) << library.error();
  EXPECT_EQ(library.module().name, GetParam());
  EXPECT_THAT(epp::test::Lint(library.module()), IsEmpty());
}

TEST_P(ShippedTest, ManifestAgreesWithTheRecord) {
  const Library library(Path(".so"));
  ASSERT_TRUE(library.ok()) << library.error();
  toml::table manifest;
  ASSERT_NO_THROW(manifest = toml::parse_file(Path(".toml")));
  EXPECT_EQ(manifest["name"].value_or(std::string()), GetParam());
  EXPECT_EQ(manifest["version"].value_or(std::string()), library.module().version);
  EXPECT_NE(manifest["license"].value_or(std::string()), "");
  EXPECT_NE(manifest["description"].value_or(std::string()), "");
  std::vector<std::string> listed, offered;
  if (const toml::array* types = manifest["types"].as_array()) {
    for (const toml::node& type : *types) listed.push_back(type.value_or(std::string()));
  }
  for (uint32_t i = 0; i < library.module().type_count; ++i) {
    offered.emplace_back(library.module().types[i]->name);
  }
  EXPECT_THAT(listed, ::testing::UnorderedElementsAreArray(offered));
  for (const auto& [key, value] : manifest) {
    EXPECT_THAT(
        std::string(key.str()),
        ::testing::AnyOf("name", "version", "license", "description", "types", "sha256", "check"));
  }
}

TEST_P(ShippedTest, TypesAnswerForWhatTheyList) {
  const Library library(Path(".so"));
  ASSERT_TRUE(library.ok()) << library.error();
  for (const epp_plugin_type* type :
       std::span(library.module().types, library.module().type_count)) {
    for (int round = 0; round < 3; ++round) {
      auto instance = library.Make(type->name);
      // Some types need parameters; then they say so.
      if (!instance.ok()) {
        EXPECT_EQ(instance.status(), EPP_INVALID_ARGUMENT) << type->name << instance.error();
        EXPECT_NE(instance.error(), "") << type->name;
        continue;
      }
      for (const char* id : std::span(type->interfaces, type->interface_count)) {
        EXPECT_TRUE(instance.Has(id)) << type->name << ' ' << id;
        EXPECT_FALSE(instance.Has((std::string(id) + "x").c_str())) << type->name << ' ' << id;
      }
      EXPECT_FALSE(instance.Has("epp.unheard-of/1")) << type->name;
    }
  }
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ShippedTest);
INSTANTIATE_TEST_SUITE_P(Plugins, ShippedTest, ::testing::ValuesIn(Shipped()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
