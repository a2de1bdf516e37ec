// The cases: what each checks is in its file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "host/validate/drive.h"
#include "host/validate/findings.h"
#include "host/validate/subject.h"

namespace epp::validate {

// What a case gets.
struct CaseRun {
  const LibraryFile& file;
  Findings& findings;
  uint64_t seed;
  bool strict;
};

struct Case {
  int number;
  std::string_view id;    // "V01"
  std::string_view name;  // two or three words
  void (*run)(CaseRun& run);
};

// In order.
std::span<const Case> AllCases();

// One file each, by theme.
void CheckSymbols(CaseRun& run);
void CheckElfFacts(CaseRun& run);
void CheckLoad(CaseRun& run);
void CheckLoadTwice(CaseRun& run);
void CheckRecord(CaseRun& run);
void CheckParameters(CaseRun& run);
void CheckLeaks(CaseRun& run);
void CheckInterfaces(CaseRun& run);
void CheckOlderHost(CaseRun& run);
void CheckNewerHost(CaseRun& run);
void CheckBounds(CaseRun& run);
void CheckMissingValues(CaseRun& run);
void CheckPermutation(CaseRun& run);
void CheckDeterminism(CaseRun& run);
void CheckAllocations(CaseRun& run);
void CheckScoreTime(CaseRun& run);
void CheckFailingHost(CaseRun& run);
void CheckQuietAfterDestroy(CaseRun& run);
void CheckUnload(CaseRun& run);
void CheckThreadTags(CaseRun& run);
void CheckLogHygiene(CaseRun& run);
void CheckProduced(CaseRun& run);

// ---- For the cases
// -------------------------------------------------------------------------------

// One type of the loaded library and how it is configured.
struct TypeRun {
  CaseRun& run;
  const Subject& subject;
  const epp_plugin_type& type;
  const Parameters& parameters;

  std::string name() const { return type.name; }
};

// An instance and the host that it sees; the host comes first and goes last.
class Hosted {
 public:
  Hosted(const TypeRun& type, const HostOptions& options = {});
  // Skips the type when create refused it, unless the instance is there.
  bool ok() const { return instance_->ok(); }
  Instance& instance() { return *instance_; }
  CheckHost& host() { return host_; }
  // destroy, after which the instance must be quiet.
  void Destroy() { instance_->Destroy(); }

 private:
  CheckHost& host_;
  std::unique_ptr<Instance> instance_;
};

// Loads the library; a crash meanwhile is one in dlopen.
absl::StatusOr<std::unique_ptr<Subject>> Open(CaseRun& run, const std::string& path);
// The same, or skips the case when it cannot be loaded.
std::unique_ptr<Subject> OpenOrSkip(CaseRun& run, const std::string& path);
inline std::unique_ptr<Subject> OpenOrSkip(CaseRun& run) { return OpenOrSkip(run, run.file.path); }

// Calls `use` with every type of the library that has usable parameters.
template <class F>
void ForEachType(CaseRun& run, const Subject& subject, F&& use) {
  for (const epp_plugin_type* type : subject.types()) {
    const absl::StatusOr<Parameters> parameters = ParametersFor(*type, run.file.samples);
    if (!parameters.ok()) {
      run.findings.Skip(std::string(parameters.status().message()), true);
      continue;
    }
    use(TypeRun{run, subject, *type, *parameters});
  }
}

// Creates an instance for `use`, drives nothing. Says that the type was tested, or skips it.
template <class F>
void WithInstance(const TypeRun& type, const HostOptions& options, F&& use) {
  CheckHost::StartThread(type.run.seed);
  Hosted hosted(type, options);
  if (!hosted.ok()) return;
  type.run.findings.Tested();
  use(hosted.instance());
}

// The labels that an instance of the type looks at.
std::vector<std::string> LabelsOf(const TypeRun& type);

// Everything that a fresh instance answers in this scenario; nothing when it cannot be created.
std::unique_ptr<Transcript> DriveFresh(const TypeRun& type, const Scenario& scenario,
                                       size_t endpoints, const HostOptions& options = {});

}  // namespace epp::validate
