#include "host/serve/reload_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace epp::serve {

void ReloadQueue::Add(Request request, uint64_t due_ns) {
  std::lock_guard lock(mutex_);
  waiting_.requests.push_back(std::move(request));
  due_ns_ = std::min(due_ns_, due_ns);
}

void ReloadQueue::Postpone(Batch batch, uint64_t now_ns, uint64_t due_ns) {
  std::lock_guard lock(mutex_);
  waiting_.requests.insert(waiting_.requests.begin(),
                           std::make_move_iterator(batch.requests.begin()),
                           std::make_move_iterator(batch.requests.end()));
  waiting_.postponed_ns = batch.postponed_ns != 0 ? batch.postponed_ns : now_ns;
  due_ns_ = std::min(due_ns_, due_ns);
}

ReloadQueue::Batch ReloadQueue::Take(uint64_t now_ns) {
  std::lock_guard lock(mutex_);
  if (now_ns < due_ns_) return {};
  due_ns_ = UINT64_MAX;
  return std::exchange(waiting_, {});
}

uint64_t ReloadQueue::due_ns() const {
  std::lock_guard lock(mutex_);
  return due_ns_;
}

}  // namespace epp::serve
