// Calls every function of an instance the way a host does, and watches what comes back.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "epp/abi.h"
#include "host/validate/findings.h"
#include "host/validate/memory.h"
#include "host/validate/subject.h"
#include "host/validate/world.h"

namespace epp::validate {

// How an instance is driven.
struct Scenario {
  uint64_t seed = 1;
  size_t candidates = 16;
  Values values = Values::kUsual;
  Layout layout = {};
  bool no_memory = false;  // alloc and keep give null
  uint32_t worker = 0;
  int requests = 2 * kRequestKinds;
  std::vector<uint32_t> order = {};  // of the candidates' rows; empty: as in the pool
};

// What an instance answered, call by call. Two that are equal behaved alike.
class Transcript {
 public:
  void Add(std::string call, epp_status status, std::string bytes = {});
  // The first call that differs, or empty.
  std::string DifferenceTo(const Transcript& other) const;
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    std::string call;
    std::string answer;
  };
  std::vector<Entry> entries_;
};

// Memory of one request, as call->alloc and call->keep hand it out.
class Arena {
 public:
  Arena(Findings& findings, const Scenario& scenario);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // For epp_call. Does not go through malloc, unless the layout watches the ends of arrays.
  static void* Alloc(void* arena, uint64_t size, uint64_t align) noexcept;
  // No call may use it any more.
  void Close() { open_ = false; }
  bool Holds(const void* p, uint64_t bytes) const;

 private:
  static constexpr size_t kChunkBytes = size_t{64} << 20;
  static constexpr uint64_t kMaxBlockBytes = 16u << 20;

  Findings& findings_;
  const bool none_;
  const bool watched_;
  const std::thread::id owner_ = std::this_thread::get_id();
  bool open_ = true;
  char* chunk_ = nullptr;
  size_t used_ = 0;
  Memory memory_;
  std::vector<std::pair<const char*, uint64_t>> blocks_;
};

// One request and what the instance keeps of it.
struct RequestRun {
  RequestRun(Findings& findings, const Scenario& scenario, size_t pool_size, uint64_t number);

  Memory memory;
  RequestData data;
  Arena arena;
  void* state = nullptr;
  std::vector<uint32_t> rows;  // the candidates, as rows of the pool
  uint64_t number;
};

// What one [worker] call gets.
class Frame {
 public:
  enum class Part : uint8_t { kRequest, kResponse };
  Frame(const Instance& instance, const World& world, const Scenario& scenario, RequestRun& run,
        Part part = Part::kRequest);
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  const epp_call* call() const { return call_; }
  const epp_candidates* in() const { return in_; }
  epp_error* error() const { return error_; }
  Memory& memory() { return memory_; }

 private:
  Memory memory_;
  epp_call* call_;
  epp_candidates* in_;
  epp_error* error_;
};

// Drives one instance. Threads: one at a time; several drivers may share an instance.
class Driver {
 public:
  // `samples` configures further instances, for those that save a state.
  Driver(Instance& instance, const World& world, const Samples& samples, const Scenario& scenario);
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  // The life of an instance: endpoints arrive, pages are scraped, requests come and go, endpoints
  // leave.
  const Transcript& Everything();
  // The endpoints arrive, or leave.
  void Endpoints(bool arrive);
  // One request from its bytes to the end of its response.
  void Request(uint64_t number);
  // Filter, score and pick only, for one request. False when the instance does none of them.
  bool Schedule(uint64_t number);
  // The scores of one request; nothing when there is no scorer or it reported an error.
  std::optional<std::vector<double>> Scores(uint64_t number);
  const Transcript& transcript() const { return transcript_; }

 private:
  template <class Table>
  const Table* Get(const char* id) {
    return instance_.Get<Table>(id);
  }
  // Calls a function that ends in an epp_error, and checks what it leaves.
  template <class... P, class... A>
  epp_status Run(const char* function, Frame& frame, epp_status (*f)(P...) noexcept, A... args) {
    const epp_status status =
        Invoke(findings_, function, name_, f, instance_.self(), args..., frame.error());
    After(function, status, *frame.error(), frame.memory());
    return status;
  }
  void After(const char* function, epp_status status, const epp_error& error, const Memory& memory);
  void Breach(int number, const char* function, std::string_view text);
  // The case that reports bad answers: to usual values, or to unusual ones.
  int AnswerCase() const;

  RequestRun& Begin(uint64_t number);
  void Filter(RequestRun& run);
  std::optional<std::vector<double>> Score(RequestRun& run);
  void Pick(RequestRun& run, const std::vector<double>& totals);
  void Handle(RequestRun& run);
  bool AgreeOnProfiles(uint64_t request);
  void Decide(RequestRun& run);
  void ReadHeaders(RequestRun& run);
  void Screen(RequestRun& run);
  void Admit(RequestRun& run);
  void Produce(RequestRun& run);
  static epp_out_column Writable(const epp_attr_spec& spec, size_t rows, Memory& memory);
  epp_status Wait(const epp_async_producer& async, Frame& frame, epp_outputs* outputs,
                  bool* written);
  void CheckProduced(const epp_attr_spec& spec, const epp_out_column& column, size_t n,
                     const RequestRun& run, std::string& bytes);
  void CheckTokens(const epp_tokenized_prompt* tokens, std::string& bytes);
  void PreRequest(RequestRun& run);
  void Respond(RequestRun& run);
  void ParseRequests(RequestRun& run);
  void ParseOne(RequestRun& run, std::string_view body, std::string_view path);
  void ParseResponses(RequestRun& run);

  void Plan();
  void Scrape();
  void General();
  void State();
  void Service();

  Instance& instance_;
  const World& world_;
  const Samples& samples_;
  const Scenario scenario_;
  Findings& findings_;
  const std::string name_;
  Transcript transcript_;
  std::deque<RequestRun> runs_;
  std::vector<std::vector<std::string>> accepted_;  // sets of profiles that a handler works with
  std::vector<std::string> profiles_;               // of the request
};

// Bytes of values, for a transcript.
template <class T>
std::string BytesOf(const T* values, size_t n) {
  return {reinterpret_cast<const char*>(values), n * sizeof(T)};
}

}  // namespace epp::validate
