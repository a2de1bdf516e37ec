// epp serve as a child process, with real plugins and simulated model servers.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/cli/child.h"

namespace epp::testing {

// A request through ext-proc that has got its destination and has not ended. Cancelled with the
// object.
class OpenRequest {
 public:
  OpenRequest(int grpc_port, const std::string& request_id,
              const std::map<std::string, std::string>& more = {});
  ~OpenRequest();

  // That epp set for the model server; empty when it did not.
  std::string header(const std::string& name) const;
  std::string destination() const { return header("x-gateway-destination-endpoint"); }
  // The client hangs up after its request.
  void End();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::map<std::string, std::string> headers_;
};

class LiveTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  std::vector<std::string> ServeCommand(const std::string& grpc_port = "0") const;
  void Serve(const std::vector<std::string>& more = {});
  Result Ask(std::vector<std::string> arguments) const;
  // Until both simulated servers were scraped.
  void WaitUntilFresh();

  // One request through ext-proc; the destination that epp chose, empty when there was none.
  std::string Decide(const std::string& request_id) const;
  // The same; a header that epp set.
  std::string Header(const std::string& name,
                     const std::map<std::string, std::string>& more = {}) const;
  // The value of a series on the metrics page, such as `epp_generation`; -1 when it is not there.
  double Metric(const std::string& series) const;

  std::string dir_;
  std::string admin_;
  std::vector<std::unique_ptr<Child>> sims_;
  std::unique_ptr<Child> serve_;
  int grpc_port_ = 0;
  int metrics_port_ = 0;
};

// As an operator replaces a mounted file: in one step.
void Replace(const std::string& path, const std::string& text);

// Asks until it is so, or the deadline passes.
template <class F>
bool Eventually(F&& is_so) {
  const auto until = std::chrono::steady_clock::now() + kDeadline;
  while (std::chrono::steady_clock::now() < until) {
    if (is_so()) return true;
  }
  return false;
}

}  // namespace epp::testing
