#include "host/admin/pool_view.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_format.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/base/strings.h"

namespace epp::admin {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

struct Row {
  std::string_view name;
  std::string_view host_port;
  std::string_view role;
  pool::EndpointState state = pool::EndpointState::kUnknown;
  double waiting = kNone;
  double running = kNone;
  double kv = kNone;
  double age_ms = kNone;
};

std::string_view View(epp_str s) { return s.size ? std::string_view(s.data, s.size) : ""; }

// The column of a metric that any extractor publishes under the core names.
const epp_column* CoreColumn(pool::Pool& pool, const pool::Frame& frame, std::string_view key,
                             int32_t type) {
  const auto id = pool.attributes().Register(key, "core-metrics-extractor", type);
  if (!id.ok()) return nullptr;
  const epp_column& column = frame.column(*id);
  return column.values ? &column : nullptr;
}

bool Has(const epp_column* column, size_t i) {
  return column && (!column->validity || (column->validity[i / 64] >> (i % 64) & 1));
}

double IntAt(const epp_column* column, size_t i) {
  return Has(column, i) ? static_cast<double>(static_cast<const int64_t*>(column->values)[i])
                        : kNone;
}

std::vector<Row> Rows(const pool::Frame& frame, const pool::Pool& const_pool, uint64_t now_ns,
                      const PoolQuery& query) {
  auto& pool = const_cast<pool::Pool&>(const_pool);
  const epp_column* waiting = CoreColumn(pool, frame, "WaitingQueueSize", EPP_T_I64);
  const epp_column* running = CoreColumn(pool, frame, "RunningRequestsSize", EPP_T_I64);
  const epp_column* kv = CoreColumn(pool, frame, "KVCacheUsagePercent", EPP_T_F64);
  std::vector<Row> rows;
  for (size_t i = 0; i < frame.size(); ++i) {
    const epp_endpoint& e = *frame.endpoints()[i];
    Row row;
    row.name = View(e.name);
    row.host_port = View(e.host_port);
    for (uint32_t l = 0; l < e.label_count; ++l) {
      if (View(e.labels[l].key) == "llm-d.ai/role") row.role = View(e.labels[l].value);
    }
    row.state = frame.states()[i];
    row.waiting = IntAt(waiting, i);
    row.running = IntAt(running, i);
    if (Has(kv, i)) row.kv = static_cast<const double*>(kv->values)[i];
    if (const uint64_t at = frame.sampled_ns()[i]; at != 0 && now_ns >= at) {
      row.age_ms = static_cast<double>(now_ns - at) * 1e-6;
    }
    rows.push_back(row);
  }
  const auto key = [&](const Row& row) {
    const double value = query.sort == "waiting"   ? row.waiting
                         : query.sort == "running" ? row.running
                         : query.sort == "kv"      ? row.kv
                         : query.sort == "age"     ? row.age_ms
                                                   : 0;
    return std::isnan(value) ? -1.0 : value;
  };
  std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
    return query.sort == "name" ? a.name < b.name : key(a) > key(b);
  });
  return rows;
}

std::string Cell(double value, const char* format) {
  if (std::isnan(value)) return "-";
  const auto parsed = absl::ParsedFormat<'f'>::New(format);
  return parsed ? absl::StrFormat(*parsed, value) : "-";
}

}  // namespace

std::string_view StateName(pool::EndpointState state) {
  switch (state) {
    case pool::EndpointState::kFresh:
      return "fresh";
    case pool::EndpointState::kStale:
      return "stale";
    case pool::EndpointState::kUnreachable:
      return "down";
    case pool::EndpointState::kUnknown:
      break;
  }
  return "unknown";
}

std::string PoolJson(const pool::Pool& pool, uint64_t now_ns, const PoolQuery& query) {
  const std::shared_ptr<const pool::Frame> frame = pool.current();
  std::vector<Row> rows = Rows(*frame, pool, now_ns, query);
  const size_t total = rows.size();
  if (rows.size() > query.limit) rows.resize(query.limit);
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.pool/1").Field("frame", frame->number()).Field("total", total);
  const auto texts = [&](std::string_view name, auto get) {
    w.Key(name).BeginArray();
    for (const Row& row : rows) w.Value(std::string_view(get(row)));
    w.EndArray();
  };
  const auto numbers = [&](std::string_view name, auto get) {
    w.Key(name).BeginArray();
    for (const Row& row : rows) {
      if (std::isnan(get(row))) {
        w.Null();
      } else {
        w.Value(double{get(row)});
      }
    }
    w.EndArray();
  };
  texts("endpoints", [](const Row& r) { return r.name; });
  texts("addresses", [](const Row& r) { return r.host_port; });
  texts("roles", [](const Row& r) { return r.role; });
  texts("states", [](const Row& r) { return StateName(r.state); });
  numbers("waiting", [](const Row& r) { return r.waiting; });
  numbers("running", [](const Row& r) { return r.running; });
  numbers("kv", [](const Row& r) { return r.kv; });
  numbers("age_ms", [](const Row& r) { return r.age_ms; });
  w.EndObject();
  return out;
}

std::string PoolText(const pool::Pool& pool, uint64_t now_ns, const PoolQuery& query) {
  const std::shared_ptr<const pool::Frame> frame = pool.current();
  const std::vector<Row> rows = Rows(*frame, pool, now_ns, query);
  std::string out =
      absl::StrFormat("%-32s %-24s %-10s %-8s %7s %7s %6s %9s\n", "ENDPOINT", "ADDRESS", "ROLE",
                      "STATE", "WAITING", "RUNNING", "KV %", "AGE ms");
  for (size_t i = 0; i < std::min(rows.size(), query.limit); ++i) {
    const Row& row = rows[i];
    absl::StrAppendFormat(
        &out, "%-32s %-24s %-10s %-8s %7s %7s %6s %9s\n", MiddleEllipsis(row.name, 32),
        MiddleEllipsis(row.host_port, 24), MiddleEllipsis(row.role.empty() ? "-" : row.role, 10),
        StateName(row.state), Cell(row.waiting, "%.0f"), Cell(row.running, "%.0f"),
        Cell(row.kv * 100, "%.0f"), Cell(row.age_ms, "%.0f"));
  }
  if (rows.size() > query.limit) StrAppend(&out, rows.size() - query.limit, " more\n");
  return out;
}

}  // namespace epp::admin
