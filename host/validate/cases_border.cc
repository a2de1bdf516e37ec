// V09 to V12: what lies at the ends of everything that crosses the border.
#include <array>

#include "host/base/str_cat.h"
#include "host/validate/case_numbers.h"
#include "host/validate/cases.h"

namespace epp::validate {

// Every struct ends where memory ends: what is read behind struct_size faults. All structs of ABI
// 1.0 have one size so far; a later minor adds a round with the older sizes.
void CheckOlderHost(CaseRun& run) {
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    HostOptions options;
    options.layout.structs = Edge::kBehind;
    const Scenario scenario{.seed = run.seed, .candidates = 3, .layout = options.layout};
    DriveFresh(type, scenario, 4, options);
  });
}

// Structs of a newer host, with a pattern in what is new: the answers stay the same.
void CheckNewerHost(CaseRun& run) {
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    Scenario scenario{.seed = run.seed};
    const auto as_is = DriveFresh(type, scenario, 16);
    const auto again = DriveFresh(type, scenario, 16);
    if (as_is == nullptr || again == nullptr) return;
    HostOptions newer;
    newer.layout.newer_bytes = 64;
    scenario.layout = newer.layout;
    const auto grown = DriveFresh(type, scenario, 16, newer);
    // A type that never answers the same twice is V14's.
    if (grown == nullptr || !as_is->DifferenceTo(*again).empty()) return;
    if (const std::string call = as_is->DifferenceTo(*grown); !call.empty()) {
      run.findings.Fail(
          StrCat(call, " of ", type.name(), " answers differently when the structs are longer"));
    }
  });
}

// Candidates by the number of which bitmaps and loops go wrong, with both ends of arrays watched.
void CheckBounds(CaseRun& run) {
  constexpr std::array<size_t, 8> kSizes{0, 1, 2, 63, 64, 65, 1000, 4096};
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    const std::vector<std::string> labels = LabelsOf(type);
    const World world(run.seed, kSizes.back(), labels);
    for (const Edge edge : {Edge::kBehind, Edge::kBefore}) {
      WithInstance(type, {}, [&](Instance& instance) {
        Scenario scenario{.seed = run.seed, .candidates = 2, .layout = {.arrays = edge}};
        const World small(run.seed, 2, labels);
        Driver(instance, small, run.file.samples, scenario).Everything();
      });
      WithInstance(type, {}, [&](Instance& instance) {
        for (const size_t n : kSizes) {
          for (const Values values : {Values::kUsual, Values::kComplete}) {
            const Scenario scenario{
                .seed = run.seed, .candidates = n, .values = values, .layout = {.arrays = edge}};
            Driver driver(instance, world, run.file.samples, scenario);
            if (n == 0 && values == Values::kUsual) driver.Endpoints(true);
            const uint64_t requests = n > 65 ? 1 : kRequestKinds;
            for (uint64_t i = 0; i < requests; ++i) driver.Request(i);
          }
        }
      });
    }
  });
}

// Optional attributes without a producer, attributes without a value, numbers that are none.
void CheckMissingValues(CaseRun& run) {
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    for (const Values values : {Values::kNoOptional, Values::kNone, Values::kExtreme}) {
      for (const size_t n : {size_t{1}, size_t{16}, size_t{100}}) {
        DriveFresh(type, {.seed = run.seed + n, .candidates = n, .values = values}, n);
      }
    }
  });
}

}  // namespace epp::validate
