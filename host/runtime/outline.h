// A resolved config as plain values: what `epp diff` compares, here or over the admin API.
//
// Holds no secret: values of secret parameters are left out, and all parameters together are known
// by their digest only.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "host/config/endpoint_picker_config.h"
#include "host/runtime/identity.h"

namespace epp::runtime {

struct Outline {
  struct Instance {
    InstanceIdentity identity;
    std::string library;                                      // name; empty for types of the host
    std::string version;                                      // of the library, may be empty
    std::vector<std::pair<std::string, std::string>> values;  // parameter and its value as JSON
    bool learns = false;   // it is told of requests, responses or endpoints
    bool carries = false;  // its state moves to a changed build or to changed parameters
  };
  struct Entry {
    std::string plugin;
    std::string role;  // "filter", "scorer", "picker"
    double weight = 1;
  };
  struct Profile {
    std::string name;
    std::vector<Entry> entries;  // in config order
  };
  struct Source {
    std::string plugin;
    std::vector<std::string> extractors;
  };

  std::string digest;  // of the text
  std::vector<Instance> instances;
  std::vector<Profile> profiles;
  std::string handler;
  std::vector<std::string> parsers;
  std::vector<Source> sources;
  std::string discovery;  // empty for none
};

// Complete once the config was built: then the producers that the host adds are in it.
Outline OutlineOf(const config::ResolvedConfig& config);

// One JSON object, and back. Errors: InvalidArgument for something that ToJson does not write.
std::string ToJson(const Outline& outline);
absl::StatusOr<Outline> OutlineFromJson(std::string_view json);

}  // namespace epp::runtime
