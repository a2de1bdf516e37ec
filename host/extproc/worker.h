// One completion queue and the thread that serves it. Includes grpcpp: for the transport's sources.
#pragma once

#include <google/protobuf/arena.h>
#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "host/extproc/stream.h"

namespace epp::extproc {

// What a completion queue's tag points to.
class Completion {
 public:
  virtual void Complete(bool ok) = 0;

 protected:
  virtual ~Completion() = default;
};

// Work that another thread asks of a worker.
class Task {
 public:
  virtual ~Task() = default;
  virtual void Run() = 0;
};

// Hands tasks to a worker from any thread, and wakes it. Kept alive by those who may still post.
class TaskQueue final : private Completion {
 public:
  explicit TaskQueue(grpc::CompletionQueue* queue) : queue_(queue) {}

  // Dropped without being run once the worker is gone.
  void Post(std::shared_ptr<Task> task);

 private:
  friend class Worker;
  void Complete(bool ok) override;  // of alarm_, on the worker's thread
  void Close();

  std::mutex mutex_;
  std::unique_ptr<grpc::Alarm> alarm_;        // guarded by mutex_; one a wake-up, due at once
  grpc::CompletionQueue* queue_;              // guarded by mutex_; null when closed
  std::vector<std::shared_ptr<Task>> tasks_;  // guarded by mutex_
  bool poked_ = false;                        // guarded by mutex_: a wake-up is on its way
};

// A call in service, as its worker keeps track of it. Lives on the worker's thread.
class Call {
 public:
  virtual void Cancel() = 0;
  // The server takes no new calls: end if the call would otherwise stay open for ever.
  virtual void OnDrain() {}

 protected:
  virtual ~Call() = default;

 private:
  friend class Worker;
  Call* previous_ = nullptr;
  Call* next_ = nullptr;
};

class Worker {
 public:
  Worker(uint32_t index, std::unique_ptr<grpc::ServerCompletionQueue> queue);
  ~Worker();

  uint32_t index() const { return index_; }
  grpc::ServerCompletionQueue* queue() const { return queue_.get(); }
  const std::shared_ptr<TaskQueue>& tasks() const { return tasks_; }
  uint64_t open_streams() const { return open_streams_.load(std::memory_order_relaxed); }

  // `setup` runs first on the new thread.
  void Start(std::function<void()> setup);
  // Any thread. Cancels calls that are open and those that still come.
  void CancelAll();
  void Drain();
  // Any thread. Has the worker count one round, unless it has not come to the last one yet.
  void Ping();
  // Rounds counted so far; what the worker did before them is visible.
  uint64_t rounds() const { return rounds_.load(std::memory_order_acquire); }
  // After the server was shut down: waits for the last call, and for the thread.
  void Join();

  // The rest is for the worker's own thread.
  StreamScratch& scratch() { return scratch_; }
  bool cancelling() const { return cancelling_; }
  void Add(Call* call);
  void Remove(Call* call);
  void CountStream(int delta) {
    open_streams_.store(
        open_streams_.load(std::memory_order_relaxed) + static_cast<uint64_t>(delta),
        std::memory_order_relaxed);
  }
  // An empty message, valid until the next call.
  template <typename Message>
  Message* Fresh() {
    arena_.Reset();
    return google::protobuf::Arena::CreateMessage<Message>(&arena_);
  }

 private:
  void Run();
  void PostFunction(std::function<void()> function);

  static constexpr size_t kArenaBytes = size_t{64} << 10;

  const uint32_t index_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::shared_ptr<TaskQueue> tasks_;
  StreamScratch scratch_;
  std::unique_ptr<char[]> arena_block_;
  google::protobuf::Arena arena_;
  Call* calls_ = nullptr;
  bool cancelling_ = false;
  bool stopping_ = false;
  std::atomic<uint64_t> open_streams_{0};  // written by the worker only
  std::atomic<bool> pinged_{false};
  std::atomic<uint64_t> rounds_{0};  // written by the worker only
  std::thread thread_;
};

}  // namespace epp::extproc
