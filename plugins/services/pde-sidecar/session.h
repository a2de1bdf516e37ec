// A client's connection: requests one after another.
//
// Threads: the lane's.
#pragma once

#include <chrono>
#include <set>

#include "lane.h"

namespace sidecar {

// The open connections of a lane, so that idle ones can be closed when it drains.
class Sessions {
 public:
  struct Entry {
    Stream* stream = nullptr;
    bool idle = true;
    std::chrono::steady_clock::time_point since;
  };
  void Add(Entry* entry) { entries_.insert(entry); }
  void Remove(Entry* entry) { entries_.erase(entry); }
  // Closes those that have been idle for that long.
  void CloseIdle(Milliseconds least);

 private:
  std::set<Entry*> entries_;
};

Task<void> RunSession(Lane& lane, Sessions& sessions, asio::ip::tcp::socket socket, uint32_t rank);

}  // namespace sidecar
