// What is asked of a reload, and what a rollback leaves behind.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace epp::serve {

struct ReloadRequest {
  std::string cause = "signal";  // "file change", "admin", "rollback", "guard"
  std::string actor = {};        // "uid 0 pid 812"; empty for the process itself
  std::string reason = {};       // of a rollback
  // Somebody said so: a pin ends, and what was refused is tried again. Otherwise it is only a look
  // whether the files differ from those of the last attempt.
  bool asked = true;
  bool force = false;       // wires anew although nothing changed; instances are kept all the same
  std::string expect = {};  // the text on disk must have a digest that begins like this
  // Makes the text of that generation serve again; 0 is the one before what serves.
  std::optional<uint64_t> rollback_to = std::nullopt;
};

// What is on disk: digests of the config and of all libraries.
struct DiskState {
  std::string config;     // empty when it cannot be read
  std::string libraries;  // all digests in order

  bool operator==(const DiskState&) const = default;
};

// After a rollback, files that differ from what serves are ignored until they change.
struct Pin {
  uint64_t generation = 0;  // that serves
  uint64_t restored = 0;    // whose text it is
  std::string path;         // of the config file
  std::string file_digest;  // of the text that is ignored, 8 digits; empty: it says the same, and
                            // only libraries differ
  std::string cause;        // "rollback" or "guard"
  std::string actor;
  std::string reason;
  uint64_t since_unix_ns = 0;
};

// "/etc/epp/config.yaml (digest 91be03d4) is ignored until it changes".
std::string PinText(const Pin& pin);

}  // namespace epp::serve
