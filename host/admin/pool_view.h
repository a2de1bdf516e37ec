// The pool as a table: text, and the columnar document "epp.pool/1".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "host/pool/pool.h"

namespace epp::admin {

struct PoolQuery {
  std::string sort = "name";  // name, waiting, running, kv, age
  size_t limit = 500;
};

std::string PoolJson(const pool::Pool& pool, uint64_t now_ns, const PoolQuery& query);
std::string PoolText(const pool::Pool& pool, uint64_t now_ns, const PoolQuery& query);

std::string_view StateName(pool::EndpointState state);

}  // namespace epp::admin
