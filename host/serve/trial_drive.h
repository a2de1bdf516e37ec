// Calls every instance of a generation as requests, scrapes and pool events would.
#pragma once

#include <functional>
#include <memory>

#include "host/runtime/generation.h"
#include "host/serve/load.h"

namespace epp::serve {

// Pools of 0, 1, 2 and 65 endpoints, requests through all stages, then each filter, scorer and
// picker by itself; `before_end` runs; the generation is destroyed. What calls answer is ignored.
void Drive(Platform& platform, std::unique_ptr<runtime::Generation> generation,
           const std::function<void(const runtime::Generation&)>& before_end);

}  // namespace epp::serve
