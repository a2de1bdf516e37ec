// Plays the proxy against an ext-proc server: many streams at once, each a whole HTTP exchange.
//
// Closed loop (a stream that ends is replaced by the next) or, with a rate, open loop. One thread,
// one completion queue; the client's own cost does not enter the figures, which come from the
// kernel's accounting of the server process.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "host/extproc/ext_proc.grpc.pb.h"
#include "tests/bench/load_options.h"

namespace epp::bench {

using ExtProcStub = envoy::service::ext_proc::v3::ExternalProcessor::Stub;

// Runs `options.warmup` streams, then measures `options.streams`. Streams go over the stubs in
// turn.
nlohmann::ordered_json RunLoad(const LoadOptions& options,
                               std::vector<std::unique_ptr<ExtProcStub>>& stubs);

}  // namespace epp::bench
