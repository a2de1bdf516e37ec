// Trying new libraries in a child before the serving process loads them: what the parent asks for,
// and what the child does.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "host/cli/serve_flags.h"
#include "host/config/diagnostics.h"
#include "host/preflight/trial.h"
#include "host/serve/load.h"

namespace epp::serve {

// True when every library of `files` has come through a trial in this process's life, or trials are
// turned off; runs one when need be, together with the libraries of `serving` (may be null) that
// are not on disk any more. False: `out` says why not.
// `took_ns` (optional): how long the trial took; unchanged when there was none.
// Threads: [config].
bool Prove(const cli::ServeCommandLine& command_line,
           const std::shared_ptr<const config::SourceText>& text, const PluginFiles& files,
           const loader::Catalog* serving, config::Diagnostics& out, uint64_t* took_ns = nullptr);

// The child: loads everything, the new libraries twice under two names, builds the generation of
// the config, calls every instance with synthetic endpoints and requests, destroys it all. Types of
// new libraries that the config does not use are created with their defaults.
absl::Status TryOut(const preflight::Trial& trial, config::Diagnostics& out);

}  // namespace epp::serve
