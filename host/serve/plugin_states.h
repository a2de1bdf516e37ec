// What instances say of themselves: ready or not, and their state for people.
#pragma once

#include <string>

#include "host/loader/catalog.h"
#include "host/runtime/generation.h"

namespace epp::serve {

// Asks every instance that has an opinion; `reason` names the first that is not ready.
bool PluginsReady(const runtime::Generation& generation, std::string* reason);

// The instance's state as one JSON value; a text that says why when there is none.
std::string StateJson(const loader::Instance& instance);

// The document of /debug/plugins/state: per instance its state, or a message why there is none.
std::string AllStatesJson(const runtime::Generation& generation);

}  // namespace epp::serve
