#include "host/pool/attributes.h"

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "epp/abi.h"

namespace epp::pool {
namespace {

std::string_view TypeName(int32_t type) {
  switch (type) {
    case EPP_T_I64:
      return "integer";
    case EPP_T_F64:
      return "number";
    case EPP_T_BOOL:
      return "boolean";
    case EPP_T_SYMBOL:
      return "symbol";
    case EPP_T_SYMBOL_LIST:
      return "symbol list";
    case EPP_T_OPAQUE:
      return "opaque";
    default:
      return "unknown type";
  }
}

}  // namespace

absl::StatusOr<AttributeId> AttributeRegistry::Register(std::string_view key,
                                                        std::string_view producer, int32_t type) {
  if (type < EPP_T_I64 || type > EPP_T_SYMBOL_LIST) {
    return absl::InvalidArgumentError(
        absl::StrFormat("attribute \"%s\": type is %s, which an endpoint's column cannot hold", key,
                        TypeName(type)));
  }
  if (key.starts_with("label/") && producer.empty() && type != EPP_T_SYMBOL) {
    return absl::InvalidArgumentError(
        absl::StrFormat("attribute \"%s\": type is %s, a label is a symbol", key, TypeName(type)));
  }
  std::lock_guard lock(mutex_);
  for (size_t id = 0; id < infos_.size(); ++id) {
    const AttributeInfo& known = infos_[id];
    if (known.key != key || known.producer != producer) continue;
    if (known.type == type) return static_cast<AttributeId>(id);
    return absl::InvalidArgumentError(
        absl::StrFormat("attribute \"%s/%s\": type is %s, but it is known as %s", key, producer,
                        TypeName(type), TypeName(known.type)));
  }
  infos_.push_back({std::string(key), std::string(producer), type});
  return static_cast<AttributeId>(infos_.size() - 1);
}

AttributeInfo AttributeRegistry::info(AttributeId id) const {
  std::lock_guard lock(mutex_);
  return id < infos_.size() ? infos_[id] : AttributeInfo{};
}

size_t AttributeRegistry::size() const {
  std::lock_guard lock(mutex_);
  return infos_.size();
}

}  // namespace epp::pool
