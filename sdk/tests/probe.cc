// What a library says about itself, as JSON: sdk_probe FILE.so
//
// {"name", "version", "types": [...], "faults": [...]}; faults are what Lint finds. Exit code 1 and
// a line on stderr when the file cannot be loaded.
#include <cstdio>

#include "epp/testing.hpp"

namespace {

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string List(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& text : texts) out += (out.size() > 1 ? ", " : "") + Quoted(text);
  return out + "]";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: sdk_probe FILE.so\n", stderr);
    return 2;
  }
  const epp::test::Library library(argv[1]);
  if (!library.ok()) {
    std::fprintf(stderr, "%s\n", library.error().c_str());
    return 1;
  }
  const epp_module& module = library.module();
  std::vector<std::string> types;
  for (const epp_plugin_type* type : std::span(module.types, module.type_count)) {
    types.emplace_back(type->name);
  }
  std::printf("{\"name\": %s, \"version\": %s, \"types\": %s, \"faults\": %s}\n",
              Quoted(module.name).c_str(), Quoted(module.version).c_str(), List(types).c_str(),
              List(epp::test::Lint(module)).c_str());
  return 0;
}
