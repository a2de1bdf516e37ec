#include "host/validate/cases.h"

#include <array>

#include "host/base/str_cat.h"
#include "host/validate/case_numbers.h"

namespace epp::validate {
namespace {

constexpr std::array kCases = {
    Case{kSymbols, "V01", "symbols", CheckSymbols},
    Case{kElf, "V02", "ELF", CheckElfFacts},
    Case{kLoad, "V03", "load", CheckLoad},
    Case{kLoadTwice, "V04", "loaded twice", CheckLoadTwice},
    Case{kRecord, "V05", "record", CheckRecord},
    Case{kParameters, "V06", "parameters", CheckParameters},
    Case{kLeaks, "V07", "leaks", CheckLeaks},
    Case{kInterfaces, "V08", "interfaces", CheckInterfaces},
    Case{kOlderHost, "V09", "older host", CheckOlderHost},
    Case{kNewerHost, "V10", "newer host", CheckNewerHost},
    Case{kBounds, "V11", "sizes and bounds", CheckBounds},
    Case{kMissingValues, "V12", "missing and odd values", CheckMissingValues},
    Case{kPermutation, "V13", "permutation", CheckPermutation},
    Case{kDeterminism, "V14", "determinism", CheckDeterminism},
    Case{kAllocations, "V15", "allocations", CheckAllocations},
    Case{kScoreTime, "V16", "time", CheckScoreTime},
    Case{kFailingHost, "V17", "failing host", CheckFailingHost},
    Case{kQuietAfterDestroy, "V18", "quiet after destroy", CheckQuietAfterDestroy},
    Case{kUnload, "V19", "unload", CheckUnload},
    Case{kThreadTags, "V20", "thread tags", CheckThreadTags},
    Case{kLogHygiene, "V21", "log hygiene", CheckLogHygiene},
    Case{kProduced, "V22", "produced attributes", CheckProduced},
};

}  // namespace

std::span<const Case> AllCases() { return kCases; }

Hosted::Hosted(const TypeRun& type, const HostOptions& options)
    : host_(CheckHost::Immortal(type.run.findings, options)),
      instance_(
          std::make_unique<Instance>(type.type, host_, type.parameters.values, options.layout)) {
  if (!instance_->ok()) {
    type.run.findings.Skip(StrCat(type.name(), ": create refused: ", Shown(instance_->error())),
                           true);
  }
}

absl::StatusOr<std::unique_ptr<Subject>> Open(CaseRun& run, const std::string& path) {
  const Doing doing(run.findings, "dlopen", "");
  return Subject::Open(run.file, path);
}

std::unique_ptr<Subject> OpenOrSkip(CaseRun& run, const std::string& path) {
  absl::StatusOr<std::unique_ptr<Subject>> subject = Open(run, path);
  if (subject.ok()) return *std::move(subject);
  run.findings.Skip("not tested: the library does not load, or its record is unusable");
  return nullptr;
}

std::vector<std::string> LabelsOf(const TypeRun& type) {
  CheckHost::StartThread(type.run.seed);
  Hosted hosted(type);
  return hosted.ok() ? hosted.instance().LabelKeys() : std::vector<std::string>();
}

std::unique_ptr<Transcript> DriveFresh(const TypeRun& type, const Scenario& scenario,
                                       size_t endpoints, const HostOptions& options) {
  std::unique_ptr<Transcript> transcript;
  WithInstance(type, options, [&](Instance& instance) {
    const std::vector<std::string> labels = instance.LabelKeys();
    const World world(scenario.seed, endpoints, labels, scenario.layout);
    Driver driver(instance, world, type.run.file.samples, scenario);
    transcript = std::make_unique<Transcript>(driver.Everything());
  });
  return transcript;
}

}  // namespace epp::validate
