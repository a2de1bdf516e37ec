// A library built without the version script: the static below becomes unique in the process.
#include "epp/abi.h"

template <class T>
struct Counter {
  static int& Get() {
    static int count = 0;
    return count;
  }
};

EPP_DEFINE_NOTE(0u);

extern "C" __attribute__((visibility("default"))) const epp_module* epp_plugin_entry_v1(
    uint32_t, uint32_t) noexcept {
  ++Counter<int>::Get();
  return nullptr;
}
