// Changing a model name inside bytes, without touching any other byte.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "epp/abi.h"
#include "host/base/arena.h"

namespace epp::request {

// The body with `model` as its model, as pieces: views of the body around a JSON string in the
// arena. `parsed` says where the value is, or where a member can be added.
std::vector<std::string_view> SpliceModel(std::string_view body, const epp_parsed& parsed,
                                          std::string_view model, Arena& arena);

// Replaces every "model":"<from>" of a response by <to>, also with one space behind the colon when
// the compact form does not occur. Nothing changed: returns false and leaves `out` alone.
bool RewriteResponseModel(std::string_view bytes, std::string_view from, std::string_view to,
                          std::string* out);

}  // namespace epp::request
