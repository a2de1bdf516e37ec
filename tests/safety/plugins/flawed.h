// A scorer with one flaw. Each source beside this one says which, and where it shows.
#pragma once

#include <array>

#include "epp/plugin.hpp"

namespace flawed {

template <class Flaw>
class Scorer {
 public:
  static constexpr const char* kName = EPP_FLAWED_NAME;
  static constexpr const char* kDoc = "For tests: a scorer with a flaw.";
  static constexpr std::array kParams{epp::Int("number", 0, 0, 1000, "means nothing")};

  static epp::Result<Scorer> Create(const epp::Context& ctx) {
    Flaw::AtCreate(ctx);
    return Scorer();
  }
  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    for (double& score : out) score = 1;
    return Flaw::AtScore(call, in);
  }
};

// Of which a flaw replaces one.
struct None {
  static void AtCreate(const epp::Context&) {}
  static epp::Status AtScore(const epp::Call&, const epp::Candidates&) { return {}; }
};

}  // namespace flawed

#define EPP_FLAWED(flaw) EPP_LIBRARY(EPP_FLAWED_NAME, "1.0.0", flawed::Scorer<flaw>)
