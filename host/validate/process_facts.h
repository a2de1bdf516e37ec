// What a library must leave alone: the state of the process that is everybody's.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace epp::validate {

class ProcessFacts {
 public:
  // As it is now. Reading leaves it as it is.
  static ProcessFacts Now();
  // What changed from `before`, one sentence a change.
  std::vector<std::string> ChangesSince(const ProcessFacts& before) const;

  static size_t Threads();
  static size_t Files();
  static bool HasChildren();

 private:
  std::map<std::string, std::string> facts_;
};

}  // namespace epp::validate
