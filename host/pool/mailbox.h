// What wakes the publishing thread. Outlives the pool: frames may.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "host/pool/frame.h"

namespace epp::pool {

// Threads: any.
struct Mailbox {
  void Poke() {
    {
      std::lock_guard lock(mutex);
      if (work) return;
      work = true;
    }
    wake.notify_one();
  }
  void Bury(std::shared_ptr<const Endpoint> endpoint) {
    {
      std::lock_guard lock(mutex);
      gone.push_back(std::move(endpoint));
      work = true;
    }
    wake.notify_one();
  }
  std::vector<std::shared_ptr<const Endpoint>> TakeGone() {
    std::lock_guard lock(mutex);
    return std::exchange(gone, {});
  }

  std::mutex mutex;
  std::condition_variable wake;
  bool work = false;
  bool stop = false;
  std::vector<std::shared_ptr<const Endpoint>> gone;  // in no frame any more, to be told
};

// Held by the pool while it has the endpoint, and by every frame that has it. Fields change under
// the pool's mutex, and only while the pool holds it.
struct Presence {
  explicit Presence(std::shared_ptr<Mailbox> to) : mailbox(std::move(to)) {}
  ~Presence() {
    if (announced) mailbox->Bury(std::move(endpoint));
  }
  Presence(const Presence&) = delete;
  Presence& operator=(const Presence&) = delete;

  const std::shared_ptr<Mailbox> mailbox;
  std::shared_ptr<const Endpoint> endpoint;
  bool announced = false;  // listeners know it
};

}  // namespace epp::pool
