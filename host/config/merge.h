// Laying one config over another.
#pragma once

#include "host/config/document.h"

namespace epp::config {

// Lays `over` on `base`, both whole documents; `base` is null for the first of them.
//
//   maps                key by key, `over` wins; null puts back the default
//   plugins             by name, or by type where an entry has none; an entry of another type
//                       replaces the former one whole, as parameters belong to a type
//   schedulingProfiles  by name, and the plugins of one by pluginRef
//   other lists         replaced
//
// Merged entries keep their place, new ones follow in the order of `over`. An entry of the named
// lists with `$remove: true` deletes its namesake; it is an error in `out` when there is none. What
// has no name, or not the kind that it should have, is passed on for the decoder to report.
//
// Cost: linear in both.
void MergeConfig(Node over, Node* base, Diagnostics& out);

}  // namespace epp::config
