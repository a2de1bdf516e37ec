// A library without the SDK's C++ layer, whose functions let exceptions out.
#include <stdexcept>

#include "epp/abi.h"

namespace {

EPP_DEFINE_NOTE(0u);

void* Create(const epp_host*, epp_str, const epp_value*, epp_error*) {
  throw std::runtime_error("no luck");
}
void Destroy(void*) {}
const void* GetInterface(void*, const char*) { return nullptr; }

epp_plugin_type type = {};
const epp_plugin_type* types[] = {&type};
epp_module module = {};

}  // namespace

extern "C" __attribute__((visibility("default"))) const epp_module* epp_plugin_entry_v1(uint32_t,
                                                                                        uint32_t) {
#ifdef TEST_THROW_ENTRY
  throw std::runtime_error("no entry");
#else
  type.struct_size = sizeof(type);
  type.stability = EPP_STABILITY_BETA;
  type.name = TEST_NAME;
  type.doc = "For tests.";
  // The type of the field promises not to throw; this is a library that breaks the promise.
  type.create = reinterpret_cast<decltype(type.create)>(&Create);
  type.destroy = reinterpret_cast<decltype(type.destroy)>(&Destroy);
  type.get_interface = reinterpret_cast<decltype(type.get_interface)>(&GetInterface);
  module = {sizeof(module), 0,       EPP_ABI_MAJOR, EPP_ABI_MINOR, EPP_ABI_MIN_MINOR, 1,
            TEST_NAME,      "1.0.0", __VERSION__,   types};
  return &module;
#endif
}
