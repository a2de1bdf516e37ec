#include "host/admin/deadlines.h"

#include <utility>

namespace epp::admin {

Deadlines::~Deadlines() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Deadlines::After(std::chrono::milliseconds delay, std::function<void()> call) {
  std::lock_guard lock(mutex_);
  calls_.emplace(std::chrono::steady_clock::now() + delay, std::move(call));
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  changed_.notify_one();
}

void Deadlines::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (calls_.empty()) {
      changed_.wait(lock);
    } else if (const auto due = calls_.begin()->first; due > std::chrono::steady_clock::now()) {
      changed_.wait_until(lock, due);
    } else {
      const std::function<void()> call = std::move(calls_.begin()->second);
      calls_.erase(calls_.begin());
      lock.unlock();
      call();
      lock.lock();
    }
  }
}

}  // namespace epp::admin
