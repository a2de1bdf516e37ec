// V13, V14, V20, V21 and V22: how an instance behaves.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <numeric>
#include <thread>

#include "host/base/str_cat.h"
#include "host/base/unique_fd.h"
#include "host/validate/case_numbers.h"
#include "host/validate/cases.h"

namespace epp::validate {
namespace {

// Scores may be sums whose order differs.
constexpr double kRounding = 1e-9;

// stdout and stderr of this process, into a file for the length of the scope.
class Captured {
 public:
  Captured() : file_(memfd_create("captured", MFD_CLOEXEC)) {
    std::fflush(nullptr);
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
      former_[fd - 1] = fcntl(fd, F_DUPFD_CLOEXEC, 100);
      dup2(file_.get(), fd);
    }
  }
  ~Captured() { Restore(); }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;

  std::string Text() {
    std::fflush(nullptr);
    std::string text(400, '\0');
    const ssize_t n = pread(file_.get(), text.data(), text.size(), 0);
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return text;
  }

 private:
  void Restore() {
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
      dup2(former_[fd - 1], fd);
      close(former_[fd - 1]);
    }
  }
  const UniqueFd file_;
  int former_[2];
};

void CheckConcurrency(const TypeRun& type) {
  CaseRun& run = type.run;
  if ((type.type.flags & EPP_TYPE_SERIAL) != 0) return;
  WithInstance(type, {}, [&](Instance& instance) {
    const std::vector<std::string> labels = LabelsOf(type);
    const World world(run.seed, 100, labels);
    const Scenario scenario{.seed = run.seed, .candidates = 100};
    Driver(instance, world, run.file.samples, scenario).Endpoints(true);
    const auto schedule = [&](uint32_t worker) {
      CheckHost::StartThread(run.seed);
      Scenario own = scenario;
      own.worker = worker;
      Driver driver(instance, world, run.file.samples, own);
      for (uint64_t i = 0; i < 3 * kRequestKinds; ++i) driver.Schedule(i);
      return driver.transcript();
    };
    // What a picker says may depend on what it has said before; filters and scorers only look.
    const Transcript expected = schedule(0);
    const bool repeats = instance.Get<epp_picker>(EPP_PICKER_ID) == nullptr &&
                         expected.DifferenceTo(schedule(0)).empty();
    std::vector<std::thread> threads;
    for (uint32_t worker = 0; worker < CheckHost::kWorkers; ++worker) {
      threads.emplace_back([&, worker] {
        const Transcript got = schedule(worker);
        const std::string call = expected.DifferenceTo(got);
        if (repeats && !call.empty()) {
          run.findings.Fail(StrCat(call, " of ", type.name(), " answers differently on ",
                                   CheckHost::kWorkers, " threads at once"));
        }
        Scenario own = scenario;
        own.worker = worker;
        Driver driver(instance, world, run.file.samples, own);
        for (uint64_t i = 0; i < 2 * kRequestKinds; ++i) driver.Request(worker * 1000 + i);
      });
    }
    const Doing doing(run.findings, "a worker function, on 8 threads at once", type.name());
    for (std::thread& thread : threads) thread.join();
  });
}

// Drives the whole life of every type with usual and with missing values.
void DriveAll(CaseRun& run) {
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    for (const Values values : {Values::kUsual, Values::kComplete, Values::kNone}) {
      DriveFresh(type, {.seed = run.seed, .candidates = 20, .values = values}, 20);
    }
  });
}

}  // namespace

// The order of the candidates does not matter.
void CheckPermutation(CaseRun& run) {
  constexpr size_t kCandidates = 50;
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  bool scorers = false;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    const std::vector<std::string> labels = LabelsOf(type);
    const World world(run.seed, kCandidates, labels);
    for (uint64_t request = 0; request < kRequestKinds; ++request) {
      std::vector<uint32_t> order(kCandidates);
      std::iota(order.begin(), order.end(), 0u);
      const auto scores = [&] {
        std::optional<std::vector<double>> out;
        CheckHost::StartThread(run.seed);
        Hosted hosted(type);
        if (!hosted.ok() || hosted.instance().Get<epp_scorer>(EPP_SCORER_ID) == nullptr) return out;
        scorers = true;
        Driver driver(hosted.instance(), world, run.file.samples,
                      {.seed = run.seed, .candidates = kCandidates, .order = order});
        driver.Endpoints(true);
        return driver.Scores(request);
      };
      const auto straight = scores();
      const auto again = scores();
      if (!straight || !again || *straight != *again) continue;  // the latter is V14's
      Random random(run.seed + request);
      for (size_t i = kCandidates - 1; i > 0; --i) std::swap(order[i], order[random.Below(i + 1)]);
      const auto shuffled = scores();
      run.findings.Tested();
      for (size_t i = 0; shuffled && i < kCandidates; ++i) {
        const double want = (*straight)[order[i]], got = (*shuffled)[i];
        if (std::abs(want - got) <= kRounding || (std::isnan(want) && std::isnan(got))) continue;
        run.findings.Fail(StrCat("score of ", type.name(), ": candidate ", order[i], " gets ", want,
                                 " in its place and ", got, " when the candidates are shuffled"));
        return;
      }
    }
  });
  if (!scorers) run.findings.Skip("no scorer in this library");
}

// The same input, clock and random numbers give the same bits, on one thread and on eight.
void CheckDeterminism(CaseRun& run) {
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    const Scenario scenario{.seed = run.seed, .candidates = 70, .requests = 4 * kRequestKinds};
    const auto first = DriveFresh(type, scenario, 70);
    const auto second = DriveFresh(type, scenario, 70);
    if (first == nullptr || second == nullptr) return;
    if (const std::string call = first->DifferenceTo(*second); !call.empty()) {
      run.findings.Fail(StrCat(call, " of ", type.name(),
                               " answers differently to the same input, clock and random numbers"));
      return;
    }
    CheckConcurrency(type);
  });
}

// What the host offers is used when and where it may be used.
void CheckThreadTags(CaseRun& run) { DriveAll(run); }

// What is produced is what was declared.
void CheckProduced(CaseRun& run) {
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  bool any = false;
  for (const epp_plugin_type* type : subject->types()) {
    for (const char* id : std::span(type->interfaces, type->interface_count)) {
      const std::string_view name(id);
      any |= name == EPP_PRODUCER_ID || name == EPP_ASYNC_PRODUCER_ID ||
             name == EPP_REQUEST_HEADER_ID || name == EPP_SCRAPER_ID;
    }
  }
  if (!any) return run.findings.Skip("no producer, header plugin or scraper in this library");
  DriveAll(run);
}

// Nothing on stdout and stderr; texts for people are UTF-8.
void CheckLogHygiene(CaseRun& run) {
  std::string said;
  {
    Captured captured;
    DriveAll(run);
    said = captured.Text();
  }
  if (!said.empty()) {
    run.findings.Fail(StrCat("wrote to stdout or stderr: \"", Shown(said), "\""));
  }
}

}  // namespace epp::validate
