// How long to wait after what was seen of a file: one renamed into place is whole at once, one that
// is being written is whole when nothing more happens to it.
#pragma once

#include <sys/inotify.h>

#include <algorithm>
#include <cstdint>

namespace epp {

enum class Settling : uint8_t { kNothing, kRenamed, kWritten };

inline Settling SettlingOf(uint32_t inotify_mask) {
  return inotify_mask & IN_MOVED_TO ? Settling::kRenamed : Settling::kWritten;
}

inline void Raise(Settling& settling, Settling to) { settling = std::max(settling, to); }

}  // namespace epp
