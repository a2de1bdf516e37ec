// Declarations of plugin types, as words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "host/loader/catalog.h"

namespace epp::cli {

// What a type can do: "scorer", "producer" ... in a fixed order.
std::vector<std::string_view> KindsOf(const loader::TypeEntry& type);
// All kinds that --kind accepts.
std::vector<std::string> AllKinds();

std::string_view StabilityName(uint32_t stability);
// "bool", "integer", "text" ...
std::string_view ParamTypeName(int32_t type);
// The value as it would stand in YAML flow style; empty when it is not present.
std::string FormatValue(const epp_value& value);
// "1 to 9", ">= 0", "a | b"; empty when everything goes.
std::string FormatRange(const epp_param_spec& spec);
// "WaitingQueueSize/core-metrics-extractor (endpoint, optional)".
std::string FormatAttribute(const epp_attr_spec& attribute, std::string_view producer);

}  // namespace epp::cli
