#include "host/pool/frame.h"

#include <algorithm>

#include "host/base/hostport.h"

namespace epp::pool {
namespace {

epp_str View(const std::string& s) { return {s.data(), s.size()}; }

}  // namespace

Endpoint::Endpoint(uint64_t id, uint32_t slot, Fields fields)
    : fields_(std::move(fields)),
      full_name_(fields_.name_space + "/" + fields_.name),
      host_port_(JoinHostPort(fields_.address, fields_.port)),
      abi_{} {
  std::sort(fields_.labels.begin(), fields_.labels.end());
  labels_.reserve(fields_.labels.size());
  for (const auto& [key, value] : fields_.labels) labels_.push_back({View(key), View(value)});
  abi_.struct_size = sizeof(abi_);
  abi_.slot = slot;
  abi_.id = id;
  abi_.name = View(full_name_);
  abi_.address = View(fields_.address);
  abi_.host_port = View(host_port_);
  abi_.port = fields_.port;
  abi_.rank = fields_.rank;
  abi_.labels = labels_.data();
  abi_.label_count = static_cast<uint32_t>(labels_.size());
}

const epp_column& Frame::column(AttributeId id) const {
  static constexpr epp_column kNone{nullptr, nullptr, nullptr};
  return id < columns_.size() ? columns_[id] : kNone;
}

size_t Frame::RowOf(uint64_t endpoint_id) const {
  const auto& rows = members_->rows_by_id;
  const auto at = std::lower_bound(rows.begin(), rows.end(), std::pair(endpoint_id, uint32_t{0}));
  return at != rows.end() && at->first == endpoint_id ? at->second : size();
}

}  // namespace epp::pool
