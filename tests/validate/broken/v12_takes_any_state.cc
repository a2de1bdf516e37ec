// Loads whatever it is given.
#include "epp/plugin.hpp"

namespace {

class Credulous {
 public:
  static constexpr const char* kName = BROKEN_NAME;
  static constexpr const char* kDoc = "Loads whatever it is given.";
  static constexpr uint32_t kStateVersion = 1;
  static epp::Result<Credulous> Create(const epp::Context&) { return Credulous(); }
  epp::Status Score(const epp::Call&, const epp::Candidates&, std::span<double>) const {
    return {};
  }
  epp::Status SaveState(std::string& bytes) const {
    bytes = state_;
    return {};
  }
  epp::Status LoadState(uint32_t, std::string_view bytes) {
    state_ = bytes;
    return {};
  }

 private:
  std::string state_ = "nothing yet";
};

}  // namespace

EPP_LIBRARY(BROKEN_NAME, "1.0.0", Credulous)
