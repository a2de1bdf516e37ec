// Forgets half of what it loads.
#include "epp/plugin.hpp"

namespace {

class Forgetful {
 public:
  static constexpr const char* kName = BROKEN_NAME;
  static constexpr const char* kDoc = "Forgets half of what it loads.";
  static constexpr uint32_t kStateVersion = 1;
  static epp::Result<Forgetful> Create(const epp::Context&) { return Forgetful(); }
  epp::Status Score(const epp::Call&, const epp::Candidates&, std::span<double>) const {
    return {};
  }
  epp::Status SaveState(std::string& bytes) const {
    bytes = state_;
    return {};
  }
  epp::Status LoadState(uint32_t version, std::string_view bytes) {
    if (version != kStateVersion || !bytes.starts_with("nothing")) {
      return epp::Status::Invalid("no state of version 1");
    }
    state_ = bytes.substr(0, bytes.size() / 2);
    return {};
  }

 private:
  std::string state_ = "nothing yet";
};

}  // namespace

EPP_LIBRARY(BROKEN_NAME, "1.0.0", Forgetful)
