// What makes an instance the one that a config asks for. A reload keeps an instance whose identity
// is asked for again, with all that it has learned; `epp diff` says so beforehand.
#pragma once

#include <string>

#include "host/config/endpoint_picker_config.h"

namespace epp::runtime {

struct InstanceIdentity {
  std::string name;
  std::string type;
  std::string code;        // SHA-256 of its library; empty for types of the host
  std::string parameters;  // SHA-256 of all values, defaults included

  bool operator==(const InstanceIdentity&) const = default;
};

InstanceIdentity IdentityOf(const config::PluginSpec& spec);

}  // namespace epp::runtime
