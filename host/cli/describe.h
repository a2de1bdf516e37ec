// A resolved configuration in a few words, for people.
#pragma once

#include <string>
#include <vector>

#include "host/config/endpoint_picker_config.h"

namespace epp::cli {

// "3 declared + 9 injected instances".
std::string DescribeInstances(const config::ResolvedConfig& config);

// One line a profile: "profile default: decode-filter; queue x2, kv x2 -> max-score-picker".
std::vector<std::string> DescribeProfiles(const config::ResolvedConfig& config);

// The effective configuration: instances and profiles with the origin of each, as YAML that means
// the same every time it is printed.
std::string PrintEffective(const config::ResolvedConfig& config);

// "vllm-0, vllm-1 and 3 more".
std::string JoinSome(const std::vector<std::string>& names, size_t most);

}  // namespace epp::cli
