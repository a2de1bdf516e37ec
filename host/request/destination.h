// What the proxy is told of a target.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "epp/abi.h"
#include "host/base/hostport.h"

namespace epp::request {

// "host:port" of the endpoint, with `port` in place of its own when there is one.
inline std::string DestinationOf(const epp_endpoint& endpoint, std::optional<uint16_t> port) {
  if (!port) return {endpoint.host_port.data, endpoint.host_port.size};
  return JoinHostPort({endpoint.address.data, endpoint.address.size}, *port);
}

}  // namespace epp::request
