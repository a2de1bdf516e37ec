// The encode step: every image, sound and film of a chat is sent to an encode worker of its own,
// and what the workers answer is merged for the next step.
//
// Threads: none.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "splice.h"

namespace sidecar {

// One request body per distinct item, in the order of the messages. Items that name a URL which was
// seen before are left out; inline ones never are. Empty when the body has no such item.
std::vector<std::string> EncodeBodies(const Splice& body);

// Collects "ec_transfer_params" of the answers, one flat object by hash.
class EncodeMerge {
 public:
  // False when the answer is no JSON object. One without parameters contributes nothing. Of equal
  // hashes the last answer counts.
  bool Add(std::string_view answer);
  // The object, or nothing when no answer contributed.
  std::optional<std::string> Result() const;

 private:
  std::vector<std::pair<std::string, std::string>> by_hash_;
};

}  // namespace sidecar
