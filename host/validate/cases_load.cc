// V03 to V05: loading, loading twice, and the record.
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "epp/testing.hpp"
#include "host/base/str_cat.h"
#include "host/loader/private_copy.h"
#include "host/loader/sha256.h"
#include "host/validate/case_numbers.h"
#include "host/validate/cases.h"
#include "host/validate/process_facts.h"

namespace epp::validate {
namespace {

constexpr double kMaxLoadMs = 100;

const epp_module* Enter(void* handle) {
  using Entry = const epp_module* (*)(uint32_t, uint32_t);
  const auto entry = reinterpret_cast<Entry>(dlsym(handle, EPP_PLUGIN_ENTRY));
  return entry == nullptr ? nullptr : entry(EPP_ABI_MAJOR, EPP_ABI_MINOR);
}

// The shortest of three loads, each in a process of its own: others use this machine, too.
double LoadMs(const std::string& path) {
  auto* const shared = static_cast<double*>(
      mmap(nullptr, sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (shared == MAP_FAILED) return 0;
  double best = std::numeric_limits<double>::infinity();
  for (int attempt = 0; attempt < 3 && best > kMaxLoadMs; ++attempt) {
    *shared = std::numeric_limits<double>::infinity();
    const pid_t pid = fork();
    if (pid == 0) {
      const auto start = std::chrono::steady_clock::now();
      void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle != nullptr) Enter(handle);
      *shared = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
                    .count();
      _exit(0);
    }
    if (pid < 0) break;
    waitpid(pid, nullptr, 0);
    best = std::min(best, *shared);
  }
  munmap(shared, sizeof(double));
  return best;
}

}  // namespace

// Loads fast, enters twice with one answer, and leaves the process as it was.
void CheckLoad(CaseRun& run) {
  Findings& findings = run.findings;
  findings.Tested();
  const double ms = LoadMs(run.file.path);
  if (ms > kMaxLoadMs && ms < std::numeric_limits<double>::infinity()) {
    findings.Fail(
        StrCat("loading took ", static_cast<int64_t>(ms), " ms, want at most ", kMaxLoadMs, " ms"));
  }
  const ProcessFacts before = ProcessFacts::Now();
  void* handle = nullptr;
  try {
    const Doing doing(findings, "dlopen", "");
    handle = dlopen(run.file.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  } catch (...) {
    return findings.Fail("an initialiser threw an exception");
  }
  if (handle == nullptr) {
    const std::string why = dlerror();
    // Undefined symbols are V01's.
    if (why.find("undefined symbol") == std::string::npos) findings.Fail(why);
    return;
  }
  const epp_module* first = nullptr;
  const epp_module* second = nullptr;
  try {
    const Doing doing(findings, EPP_PLUGIN_ENTRY, "");
    first = Enter(handle);
    second = Enter(handle);
  } catch (...) {
    return findings.Fail("the entry function threw an exception");
  }
  const ProcessFacts after = ProcessFacts::Now();
  for (const std::string& change : after.ChangesSince(before)) findings.Fail(change);
  if (first == nullptr) {
    findings.Fail(StrCat("does not export ", EPP_PLUGIN_ENTRY, ", or it declines ABI ",
                         EPP_ABI_MAJOR, ".", EPP_ABI_MINOR));
  }
  if (first != second) findings.Fail("the entry function gives another record when called again");
}

// Two copies in one process, with instances of both, destroyed in both orders.
void CheckLoadTwice(CaseRun& run) {
  const std::string digest = loader::Sha256Hex(run.file.bytes);
  const auto copy = [&] {
    return loader::MakePrivateCopy("", run.file.name, digest, run.file.bytes);
  };
  // Memory files must stay open as long as they are mapped, which is for ever.
  const absl::StatusOr<loader::PrivateCopy> one = copy(), other = copy();
  if (!one.ok() || !other.ok()) return run.findings.Skip("no memory file for a second copy");
  const std::unique_ptr<Subject> first = OpenOrSkip(run, one->path);
  if (first == nullptr) return;
  const absl::StatusOr<std::unique_ptr<Subject>> second = [&] {
    const Doing doing(run.findings, "dlopen, the second time", "");
    return Subject::Open(run.file, other->path);
  }();
  if (!second.ok()) {
    return run.findings.Fail(
        StrCat("cannot be loaded twice: ", std::string(second.status().message())));
  }
  run.findings.Tested();
  if ((*second)->module().type_count != first->module().type_count) {
    return run.findings.Fail("the second copy has other types than the first");
  }
  ForEachType(run, *first, [&](const TypeRun& type) {
    const auto at =
        static_cast<size_t>(std::find(first->types().begin(), first->types().end(), &type.type) -
                            first->types().begin());
    const TypeRun twin{run, **second, *(*second)->types()[at], type.parameters};
    for (const bool first_goes_first : {true, false}) {
      CheckHost::StartThread(run.seed);
      Hosted a(type), b(twin);
      if (!a.ok() || !b.ok()) return;
      const World world(run.seed, 16);
      Scenario scenario{.seed = run.seed, .requests = 2};
      Driver(a.instance(), world, run.file.samples, scenario).Everything();
      Driver(b.instance(), world, run.file.samples, scenario).Everything();
      (first_goes_first ? a : b).Destroy();
      Hosted& left = first_goes_first ? b : a;
      Driver(left.instance(), world, run.file.samples, scenario).Everything();
      left.Destroy();
    }
  });
}

// The constant tables: names, counts, texts that end, pointers into the image, documentation.
void CheckRecord(CaseRun& run) {
  Findings& findings = run.findings;
  const absl::StatusOr<std::unique_ptr<Subject>> subject = Open(run, run.file.path);
  if (!subject.ok()) {
    const std::string why(subject.status().message());
    if (why.find("[EPP-ABI-RECORD]") == std::string::npos) {
      return findings.Skip("not tested: the library does not load");
    }
    return findings.Fail(why);
  }
  findings.Tested();
  for (const std::string& fault : test::Lint((*subject)->module())) findings.Fail(fault);
}

}  // namespace epp::validate
