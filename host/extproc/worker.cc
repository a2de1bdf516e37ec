#include "host/extproc/worker.h"

#include <grpcpp/support/time.h>

#include <utility>

namespace epp::extproc {
namespace {

google::protobuf::ArenaOptions UseBlock(char* block, size_t bytes) {
  google::protobuf::ArenaOptions options;
  options.initial_block = block;
  options.initial_block_size = bytes;
  return options;
}

class FunctionTask final : public Task {
 public:
  explicit FunctionTask(std::function<void()> function) : function_(std::move(function)) {}
  void Run() override { function_(); }

 private:
  std::function<void()> function_;
};

}  // namespace

void TaskQueue::Post(std::shared_ptr<Task> task) {
  // Held while the alarm is set: the queue must not be shut down in between.
  const std::lock_guard lock(mutex_);
  if (queue_ == nullptr) return;
  tasks_.push_back(std::move(task));
  if (std::exchange(poked_, true)) return;
  // The one before has been delivered.
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(queue_, gpr_time_0(GPR_CLOCK_REALTIME), static_cast<Completion*>(this));
}

void TaskQueue::Complete(bool) {
  std::vector<std::shared_ptr<Task>> tasks;
  {
    const std::lock_guard lock(mutex_);
    poked_ = false;
    tasks.swap(tasks_);
  }
  for (const std::shared_ptr<Task>& task : tasks) task->Run();
}

void TaskQueue::Close() {
  std::vector<std::shared_ptr<Task>> dropped;
  const std::lock_guard lock(mutex_);
  queue_ = nullptr;
  dropped.swap(tasks_);
}

Worker::Worker(uint32_t index, std::unique_ptr<grpc::ServerCompletionQueue> queue)
    : index_(index),
      queue_(std::move(queue)),
      tasks_(std::make_shared<TaskQueue>(queue_.get())),
      arena_block_(new char[kArenaBytes]),
      arena_(UseBlock(arena_block_.get(), kArenaBytes)) {}

Worker::~Worker() = default;

void Worker::Start(std::function<void()> setup) {
  thread_ = std::thread([this, setup = std::move(setup)] {
    setup();
    Run();
  });
}

void Worker::Run() {
  void* tag;
  bool ok;
  bool shut_down = false;
  while (queue_->Next(&tag, &ok)) {
    static_cast<Completion*>(tag)->Complete(ok);
    // Shut down here, and with no call left, so that no operation is started on a closed queue.
    if (stopping_ && calls_ == nullptr && !std::exchange(shut_down, true)) {
      tasks_->Close();
      queue_->Shutdown();
    }
  }
}

void Worker::PostFunction(std::function<void()> function) {
  tasks_->Post(std::make_shared<FunctionTask>(std::move(function)));
}

void Worker::CancelAll() {
  PostFunction([this] {
    cancelling_ = true;
    for (Call* call = calls_; call != nullptr; call = call->next_) call->Cancel();
  });
}

void Worker::Drain() {
  PostFunction([this] {
    for (Call* call = calls_; call != nullptr;) {
      Call* const next = call->next_;  // the call may delete itself
      call->OnDrain();
      call = next;
    }
  });
}

void Worker::Ping() {
  if (pinged_.exchange(true)) return;
  PostFunction([this] {
    pinged_ = false;
    rounds_.fetch_add(1, std::memory_order_release);
  });
}

void Worker::Join() {
  PostFunction([this] { stopping_ = true; });
  thread_.join();
}

void Worker::Add(Call* call) {
  call->next_ = calls_;
  if (calls_ != nullptr) calls_->previous_ = call;
  calls_ = call;
}

void Worker::Remove(Call* call) {
  (call->previous_ == nullptr ? calls_ : call->previous_->next_) = call->next_;
  if (call->next_ != nullptr) call->next_->previous_ = call->previous_;
}

}  // namespace epp::extproc
