// Throws in score, but through the C++ layer, which turns that into a status.
#include <stdexcept>

#include "epp/plugin.hpp"

namespace {

class Throws {
 public:
  static constexpr const char* kName = BROKEN_NAME;
  static constexpr const char* kDoc = "Throws in score.";
  static epp::Result<Throws> Create(const epp::Context&) { return Throws(); }
  epp::Status Score(const epp::Call&, const epp::Candidates&, std::span<double>) const {
    throw std::runtime_error("not today");
  }
};

}  // namespace

EPP_LIBRARY(BROKEN_NAME, "1.0.0", Throws)
