// Shared by the loader's tests: a private directory, and the test libraries.
#pragma once

#include <string>
#include <string_view>

namespace epp::loader {

// A fresh directory of mode 0700, removed with its content.
class TestDir {
 public:
  TestDir();
  ~TestDir();
  TestDir(const TestDir&) = delete;
  TestDir& operator=(const TestDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const;
  // Replaces the file by rename, as a package manager would.
  void Write(const std::string& name, std::string_view content) const;

 private:
  std::string path_;
};

// The bytes of a library under testdata.
std::string TestLibrary(std::string_view name);

std::string ReadAll(const std::string& path);

}  // namespace epp::loader
