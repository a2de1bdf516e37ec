// Three types whose exceptions cross the border: from create, from score, from destroy.
#include <array>
#include <cstring>
#include <stdexcept>

#include "epp/abi.h"

namespace {

EPP_DEFINE_NOTE(0u);

int instance;

void* Create(const epp_host*, epp_str, const epp_value*, epp_error*) { return &instance; }
void* CreateThrows(const epp_host*, epp_str, const epp_value*, epp_error*) {
  throw std::runtime_error("no room");
}
void Destroy(void*) {}
void DestroyThrows(void*) { throw std::logic_error("cannot go"); }
epp_status ScoreThrows(void*, const epp_call*, const epp_candidates*, double*, epp_error*) {
  throw 7;
}

// The header's types are noexcept; C, which this stands for, knows no such thing.
template <class To, class From>
To Careless(From* from) {
  return reinterpret_cast<To>(from);
}

const epp_scorer throwing_scorer = {sizeof(epp_scorer), EPP_CATEGORY_BALANCE,
                                    Careless<decltype(epp_scorer::score)>(&ScoreThrows)};

const void* GetInterface(void*, const char* id) {
  return std::strcmp(id, EPP_SCORER_ID) == 0 ? &throwing_scorer : nullptr;
}

const std::array<const char*, 1> interfaces{EPP_SCORER_ID};

epp_plugin_type MakeType(const char* name, decltype(&Create) create, decltype(&Destroy) destroy) {
  epp_plugin_type type{};
  type.struct_size = sizeof(type);
  type.stability = EPP_STABILITY_BETA;
  type.interface_count = 1;
  type.name = name;
  type.doc = "Throws.";
  type.interfaces = interfaces.data();
  type.create = Careless<decltype(epp_plugin_type::create)>(create);
  type.destroy = Careless<decltype(epp_plugin_type::destroy)>(destroy);
  type.get_interface = Careless<decltype(epp_plugin_type::get_interface)>(&GetInterface);
  return type;
}

const epp_plugin_type throws_create = MakeType("throws-create", &CreateThrows, &Destroy);
const epp_plugin_type throws_score = MakeType("throws-score", &Create, &Destroy);
const epp_plugin_type throws_destroy = MakeType("throws-destroy", &Create, &DestroyThrows);
const std::array<const epp_plugin_type*, 3> types{&throws_create, &throws_score, &throws_destroy};
const epp_module record = {sizeof(epp_module), 0u,           EPP_ABI_MAJOR, EPP_ABI_TARGET_MINOR,
                           EPP_ABI_MIN_MINOR,  types.size(), BROKEN_NAME,   "1.0.0",
                           __VERSION__,        types.data()};

}  // namespace

extern "C" __attribute__((visibility("default"))) const epp_module* epp_plugin_entry_v1(
    uint32_t, uint32_t) noexcept {
  return &record;
}
