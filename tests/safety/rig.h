// A plugin directory of one's own, and an epp that serves from it and from the shipped plugins.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/cli/child.h"

namespace epp::testing {

class SafetyRig : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Copies a flawed library into the directory, by rename. With a salt its digest is another one.
  void Install(const std::string& name, const std::string& salt = "") const;
  void Remove(const std::string& name) const;
  // A config with one profile of the given types, next to queue-scorer.
  void Configure(const std::vector<std::string>& types, int number = 0) const;

  std::vector<std::string> Command(const std::string& command,
                                   const std::vector<std::string>& more = {}) const;
  // Until it is ready.
  void Serve(const std::vector<std::string>& more = {});
  // Runs serve to its end.
  Result ServeToEnd(const std::vector<std::string>& more = {}) const;
  Result Ask(std::vector<std::string> arguments) const;
  // True when `epp status --json` says so within the deadline.
  bool StatusSays(const std::string& text) const;
  // The destination that epp chose for a request with the header "flaw", empty for none.
  std::string Decide(const std::string& flaw = "", int deadline_s = 20) const;
  std::string StateFile(const std::string& name) const { return dir_ + "/state/" + name; }

  std::string dir_;
  std::unique_ptr<Child> serve_;
  int port_ = 0;
};

}  // namespace epp::testing
