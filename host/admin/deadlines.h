// Calls functions after a while, for answers that are waited for but not for ever.
//
// Threads: any; functions run on a thread of this class.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace epp::admin {

class Deadlines {
 public:
  Deadlines() = default;
  // What is not due yet is dropped.
  ~Deadlines();
  Deadlines(const Deadlines&) = delete;
  Deadlines& operator=(const Deadlines&) = delete;

  void After(std::chrono::milliseconds delay, std::function<void()> call);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<std::chrono::steady_clock::time_point, std::function<void()>> calls_;
  bool stop_ = false;
  std::thread thread_;  // begins with the first call
};

}  // namespace epp::admin
