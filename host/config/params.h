// Parameters of a plugin instance, decoded by its type's declarations.
#pragma once

#include <memory>
#include <string_view>

#include "host/config/document.h"
#include "host/config/endpoint_picker_config.h"

namespace epp::config {

// Values in the order of the type's params: from `parameters` (null: none given), else the default.
// All errors go to `out`; `what` names the instance in them ("plugin \"a\" (type)"), `mark` is
// where missing ones are reported.
std::shared_ptr<const ParamValues> DecodeParams(const epp_plugin_type& type, const Node* parameters,
                                                std::string_view what, const Mark& mark,
                                                Diagnostics& out);

}  // namespace epp::config
