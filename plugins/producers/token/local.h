// Token ids from a tokenizer.json in this process: which file serves which model, and the threads
// that encode long prompts.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "epp/plugin.hpp"
#include "plugins/producers/token/chat.h"

namespace token_producer {

// The prompts of one request, and what they become.
struct Encoding {
  std::string text;  // prompt p is [ends[p], ends[p + 1])
  std::vector<uint64_t> ends{0};
  bool special = false;  // with the special tokens that go around a text
  size_t tokenizer = 0;
  std::atomic<bool> cancelled{false};

  std::vector<uint32_t> ids;
  std::vector<uint64_t> offsets{0};
  epp::Status status;
};

// Threads: any.
class Local {
 public:
  // Longer prompts are encoded by a thread of ours: this is about a millisecond.
  static constexpr size_t kInlineBytes = 16 << 10;
  static constexpr size_t kMaxQueue = 1024;
  static constexpr size_t kMaxQueueBytes = size_t{64} << 20;

  // json: a list of {"path", "model", "chatTemplate"}. Loads every file and starts the threads.
  static epp::Status Create(const epp::Host& host, std::string_view json, size_t threads,
                            std::unique_ptr<Local>& out);
  // Waits for what is being encoded; what is queued is dropped.
  ~Local();

  // Fills the prompts of a request, or says why its tokens cannot be told.
  Unrendered Prepare(const epp_request& request, Encoding& out) const;

  // On the calling thread, which is this worker of the host.
  void Encode(uint32_t worker, Encoding& encoding) const;
  // On a thread of ours, which then calls done. False when too much is waiting.
  bool Enqueue(std::shared_ptr<Encoding> encoding, epp::Completion done) const;

  // Copies the ids to memory of the call.
  static epp::Status Write(const Encoding& encoding, const epp::Call& call,
                           epp_tokenized_prompt& out);

  // Loads the files that have changed, which the threads do every few seconds. A file that cannot
  // be loaded is reported once, and what was loaded before stays.
  void Refresh() const;

 private:
  struct File;   // a tokenizer and the file that it came from; instances share it
  struct Entry;  // a line of the configuration
  struct Held;   // one thread's memory for one tokenizer
  struct Job {
    std::shared_ptr<Encoding> encoding;
    epp::Completion done;
  };

  explicit Local(const epp::Host& host);
  static epp::Status Load(const std::string& path, std::shared_ptr<const File>& out);
  epp::Status Read(std::string_view json);
  void Run(size_t thread) const;
  void EncodeWith(Held& held, Encoding& encoding) const;

  epp::Host host_;
  std::vector<std::unique_ptr<Entry>> entries_;
  size_t workers_ = 1;
  mutable std::vector<std::vector<Held>> held_;  // [thread][tokenizer]: the host's, then ours
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable std::deque<Job> queue_;    // guarded by mutex_
  mutable size_t queued_bytes_ = 0;  // guarded by mutex_
  bool stopping_ = false;            // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace token_producer
