// Reloads that were asked for and not done yet.
//
// A watch, an operator and the retry of a half-written file may ask at the same time; what is due
// together is one reload, and everybody gets its answer.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "host/admin/admin_server.h"
#include "host/serve/reload_request.h"

namespace epp::serve {

class ReloadQueue {
 public:
  struct Request {
    ReloadRequest what;
    std::function<void(admin::ReloadAnswer)> done = nullptr;  // may be null
  };
  struct Batch {
    std::vector<Request> requests;
    uint64_t postponed_ns = 0;  // when it first was; 0: never
  };

  void Add(Request request, uint64_t due_ns);
  // Comes back at due_ns, or with what is asked for before.
  void Postpone(Batch batch, uint64_t now_ns, uint64_t due_ns);

  // Everything, when anything is due; else nothing.
  Batch Take(uint64_t now_ns);
  // When the next becomes due; UINT64_MAX when nothing waits.
  uint64_t due_ns() const;

 private:
  mutable std::mutex mutex_;
  Batch waiting_;
  uint64_t due_ns_ = UINT64_MAX;
};

}  // namespace epp::serve
