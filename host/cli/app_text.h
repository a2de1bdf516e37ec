// What a command line takes, as words: for manual pages.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace epp::cli {

struct ArgumentText {
  std::string name;   // "-h, --help", or the positional's
  std::string value;  // of a flag: "TEXT", "{auto,always,never}"; empty: it takes none
  std::string doc;
  bool required = false;
};

struct AppText {
  std::string name;  // "epp check"
  std::string summary;
  std::vector<ArgumentText> arguments;  // positional ones
  std::vector<ArgumentText> flags;
  std::vector<AppText> subcommands;
};

AppText DescribeApp(const CLI::App& app);

}  // namespace epp::cli
