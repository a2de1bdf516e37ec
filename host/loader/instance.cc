#include <array>
#include <cstring>
#include <exception>

#include "host/base/str_cat.h"
#include "host/base/utf8.h"
#include "host/loader/catalog.h"
#include "host/loader/errors.h"

namespace epp::loader {
namespace {

Guard::Names NamesOf(const TypeEntry& type, std::string_view name) {
  if (!type.library) return {"epp", "", type.name(), name, ""};
  const LibraryInfo& info = type.library->info();
  return {info.name, info.digest, type.name(), name, info.offers};
}

}  // namespace

absl::Status FromPluginError(epp_status status, const epp_error& error) {
  if (status == EPP_OK) return absl::OkStatus();
  const size_t size = strnlen(error.message, sizeof(error.message));
  std::string message = utf8::Sanitise({error.message, size});
  if (message.empty()) message = "no message";
  const bool known = status >= EPP_CANCELLED && status <= EPP_UNAUTHENTICATED;
  return {known ? static_cast<absl::StatusCode>(status) : absl::StatusCode::kInternal, message};
}

absl::StatusOr<std::shared_ptr<Instance>> Instance::Create(const TypeEntry& type, std::string name,
                                                           const epp_host* host,
                                                           std::span<const epp_value> values) {
  if (values.size() != type.type->param_count) {
    return absl::InternalError(
        StrCat("values has ", values.size(), " entries, want ", type.type->param_count));
  }
  epp_error error{};
  error.struct_size = sizeof(error);
  // Not the noexcept type of the header: an exception of a careless library must not end the
  // process.
  using CreateFn = void* (*)(const epp_host*, epp_str, const epp_value*, epp_error*);
  const auto create = reinterpret_cast<CreateFn>(type.type->create);
  void* self = nullptr;
  Guard& guard = Guard::Acquire(NamesOf(type, name));
  try {
    const InFlight call(guard, Entry::kCreate, 0);
    self = create(host, {name.data(), name.size()}, values.data(), &error);
  } catch (const std::exception& e) {
    guard.Release();
    return absl::InternalError(StrCat("create threw an exception: ", e.what()));
  } catch (...) {
    guard.Release();
    return absl::InternalError("create threw an exception");
  }
  if (self == nullptr) {
    guard.Release();
    return FromPluginError(error.code == EPP_OK ? EPP_INTERNAL : error.code, error);
  }
  return std::shared_ptr<Instance>(new Instance(type, std::move(name), guard, self));
}

Instance::~Instance() {
  using DestroyFn = void (*)(void*);
  try {
    const InFlight call(guard_, Entry::kDestroy, 0);
    reinterpret_cast<DestroyFn>(type_.type->destroy)(self_);
  } catch (...) {
    // Half-destroyed and out of reach; nothing is left to do for it.
    guard_.Release();
    return;
  }
  guard_.Release();
}

}  // namespace epp::loader
