// V15 and V16: what the functions of the hot path cost.
#include <algorithm>
#include <chrono>
#include <ctime>

#include "host/base/str_cat.h"
#include "host/validate/case_numbers.h"
#include "host/validate/cases.h"
#include "host/validate/heap_probe.h"
#include "host/validate/source_line.h"

namespace epp::validate {
namespace {

constexpr double kScoreBudgetUs = 50;
constexpr size_t kScoreCandidates = 1000;

double ProcessorUs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

double Quantile(std::vector<double>& values, double q) {
  const auto at = values.begin() + static_cast<ptrdiff_t>(static_cast<double>(values.size()) * q);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

// Calls `measure(function, call)` for each of filter, score and pick that the instance has, where
// call() makes one call with everything in place.
template <class F>
void ForHotFunctions(Instance& instance, const World& world, const Scenario& scenario,
                     uint64_t request, F&& measure) {
  Findings& findings = instance.host().findings();
  RequestRun run(findings, scenario, world.size(), request);
  Frame frame(instance, world, scenario, run);
  const size_t n = run.rows.size();
  const std::string name = instance.type().name;
  void* const self = instance.self();
  if (const auto* const t = instance.Get<epp_filter>(EPP_FILTER_ID)) {
    std::vector<uint64_t> keep((n + 63) / 64);
    measure("filter", [&] {
      std::fill(keep.begin(), keep.end(), 0);
      Invoke(findings, "filter", name, t->filter, self, frame.call(), frame.in(), keep.data(),
             frame.error());
    });
  }
  if (const auto* const t = instance.Get<epp_scorer>(EPP_SCORER_ID)) {
    std::vector<double> out(n);
    measure("score", [&] {
      std::fill(out.begin(), out.end(), 0);
      Invoke(findings, "score", name, t->score, self, frame.call(), frame.in(), out.data(),
             frame.error());
    });
  }
  if (const auto* const t = instance.Get<epp_picker>(EPP_PICKER_ID)) {
    std::vector<double> totals(n);
    for (size_t i = 0; i < n; ++i) totals[i] = static_cast<double>(i * 7919 % 100) / 100;
    std::vector<uint32_t> picks(n);
    uint32_t count = 0;
    measure("pick", [&] {
      count = 0;
      Invoke(findings, "pick", name, t->pick, self, frame.call(), frame.in(),
             static_cast<const double*>(totals.data()), picks.data(), &count, frame.error());
    });
  }
}

}  // namespace

// No allocation in filter, score and pick once they are warm.
void CheckAllocations(CaseRun& run) {
  constexpr int kWarmUp = 3;
  if (!HeapIsCounted()) return run.findings.Skip("a sanitizer has the allocator in this build");
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  bool any = false;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    const std::vector<std::string> labels = LabelsOf(type);
    const World world(run.seed, 128, labels);
    CheckHost::StartThread(run.seed);
    HostOptions options;
    options.log_level = EPP_LOG_INFO;
    Hosted hosted(type, options);
    if (!hosted.ok()) return;
    const Scenario scenario{.seed = run.seed, .candidates = 128};
    Driver(hosted.instance(), world, run.file.samples, scenario).Endpoints(true);
    for (uint64_t request = 0; request < kRequestKinds; ++request) {
      ForHotFunctions(hosted.instance(), world, scenario, request,
                      [&](const char* function, const auto& call) {
                        any = true;
                        run.findings.Tested();
                        for (int i = 0; i < kWarmUp; ++i) call();
                        AllocationCount count;
                        count.Start();
                        call();
                        count.Stop();
                        if (count.count() == 0) return;
                        const std::string first = FirstIn(count.first(), run.file.path);
                        run.findings.Fail(StrCat(function, " of ", type.name(), ": ", count.count(),
                                                 " malloc calls after warm-up, want 0",
                                                 first.empty() ? "" : " (first: ", first,
                                                 first.empty() ? "" : ")"));
                      });
    }
  });
  if (!any) run.findings.Skip("no filter, scorer or picker in this library");
}

// The time of score with a thousand candidates; a failure only when asked to be strict. Counts the
// processor's time, because others use this machine, too; a scorer that sleeps shows in the median.
void CheckScoreTime(CaseRun& run) {
  constexpr int kCalls = 1000;
  using Clock = std::chrono::steady_clock;
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  bool any = false;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    const std::vector<std::string> labels = LabelsOf(type);
    const World world(run.seed, kScoreCandidates, labels);
    CheckHost::StartThread(run.seed);
    HostOptions options;
    options.log_level = EPP_LOG_INFO;
    Hosted hosted(type, options);
    if (!hosted.ok()) return;
    const Scenario scenario{.seed = run.seed, .candidates = kScoreCandidates};
    Driver(hosted.instance(), world, run.file.samples, scenario).Endpoints(true);
    const uint64_t chat = 1;
    ForHotFunctions(
        hosted.instance(), world, scenario, chat, [&](const char* function, const auto& call) {
          if (std::string_view(function) != "score") return;
          any = true;
          run.findings.Tested();
          std::vector<double> processor_us, wall_us;
          for (int i = 0; i < kCalls; ++i) {
            const double processor = ProcessorUs();
            const Clock::time_point start = Clock::now();
            call();
            wall_us.push_back(
                std::chrono::duration<double, std::micro>(Clock::now() - start).count());
            processor_us.push_back(ProcessorUs() - processor);
          }
          const double p99 = std::max(Quantile(processor_us, 0.99), Quantile(wall_us, 0.5));
          run.findings.ScoreTime(p99 * 1000);
          if (p99 <= kScoreBudgetUs) return;
          const std::string text =
              StrCat("score of ", type.name(), ": p99 is ", static_cast<int64_t>(p99),
                     " us with 1000 candidates, want at most ", kScoreBudgetUs, " us");
          run.strict ? run.findings.Fail(text) : run.findings.Note(text);
        });
  });
  if (!any) run.findings.Skip("no scorer in this library");
}

}  // namespace epp::validate
