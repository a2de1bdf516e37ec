#include "host/loader/test_dir.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "gtest/gtest.h"
#include "host/base/str_cat.h"

namespace epp::loader {

TestDir::TestDir() : path_(testing::TempDir() + "/epp-loader-XXXXXX") {
  if (mkdtemp(path_.data()) == nullptr) ADD_FAILURE() << "no temporary directory";
}

TestDir::~TestDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TestDir::operator/(std::string_view name) const { return StrCat(path_, "/", name); }

void TestDir::Write(const std::string& name, std::string_view content) const {
  const std::string temporary = *this / ".tmp";
  std::ofstream(temporary, std::ios::binary) << content;
  std::filesystem::permissions(temporary, std::filesystem::perms(0644));
  std::filesystem::rename(temporary, *this / name);
}

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) ADD_FAILURE() << "cannot read " << path;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string TestLibrary(std::string_view name) {
  return ReadAll(StrCat(EPP_TEST_LIBS, "/", name, ".so"));
}

}  // namespace epp::loader
