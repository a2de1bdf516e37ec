// V07, V08, V17, V18 and V19: from create to unload.
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "host/base/str_cat.h"
#include "host/validate/case_numbers.h"
#include "host/validate/cases.h"
#include "host/validate/heap_probe.h"
#include "host/validate/process_facts.h"

#if defined(EPP_LEAK_SANITIZER)
#include <sanitizer/lsan_interface.h>
#endif

namespace epp::validate {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kCreates = 1000;
constexpr int kWarmUp = 20;
constexpr std::chrono::milliseconds kEnough{4000};  // of the case's ten seconds, for all types

bool WaitFor(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const Clock::time_point end = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

void CheckLeaksOf(const TypeRun& type) {
  Findings& findings = type.run.findings;
  HostOptions options;
  options.log_level = EPP_LOG_ERROR;
  CheckHost& host = CheckHost::Immortal(findings, options);
  CheckHost::StartThread(type.run.seed);
  const auto once = [&] {
    const Instance instance(type.type, host, type.parameters.values);
    return instance.ok();
  };
  const bool had_children = ProcessFacts::HasChildren();  // of loading, which V03 reports
  for (int i = 0; i < kWarmUp; ++i) {
    if (!once()) {
      const Instance refused(type.type, host, type.parameters.values);
      return findings.Skip(StrCat(type.name(), ": create refused: ", Shown(refused.error())), true);
    }
  }
  findings.Tested();
  const size_t threads = ProcessFacts::Threads();
  const size_t files = ProcessFacts::Files();
  const Clock::time_point start = Clock::now();
  WatchHeap();
  int done = 0;
  const auto enough = kEnough / type.subject.types().size();
  while (done < kCreates && Clock::now() - start < enough) {
    once();
    ++done;
  }
  const HeapUse use = HeapSinceWatch();
  if (done < kCreates) {
    findings.Note(StrCat(type.name(), ": ", done, " creates only, they take long"));
  }
  // Room for a table that grows now and then.
  if (HeapIsCounted() && use.blocks > done / 4) {
    findings.Fail(StrCat(type.name(), ": ", done, " times create and destroy left ", use.blocks,
                         " blocks, ", use.bytes, " bytes"));
  }
  if (!WaitFor([&] { return ProcessFacts::Threads() <= threads; },
               std::chrono::milliseconds(200))) {
    findings.Fail(StrCat(type.name(), ": ", done, " times create and destroy left ",
                         ProcessFacts::Threads() - threads, " threads"));
  }
  if (ProcessFacts::HasChildren() && !had_children) {
    findings.Fail(StrCat(type.name(), ": create left child processes"));
  }
  if (ProcessFacts::Files() > files) {
    findings.Fail(StrCat(type.name(), ": ", done, " times create and destroy left ",
                         ProcessFacts::Files() - files, " open files"));
  }
}

}  // namespace

// Created and destroyed a thousand times: nothing stays.
void CheckLeaks(CaseRun& run) {
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  ForEachType(run, *subject, CheckLeaksOf);
#if defined(EPP_LEAK_SANITIZER)
  if (__lsan_do_recoverable_leak_check() != 0) run.findings.Fail("the leak sanitizer found leaks");
#endif
}

// Ids that exist are answered with whole tables, all others with null.
void CheckInterfaces(CaseRun& run) {
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  struct Known {
    const char* id;
    uint32_t bytes;
  };
  static constexpr Known kKnown[] = {
      {EPP_FILTER_ID, sizeof(epp_filter)},
      {EPP_SCORER_ID, sizeof(epp_scorer)},
      {EPP_PICKER_ID, sizeof(epp_picker)},
      {EPP_PROFILE_HANDLER_ID, sizeof(epp_profile_handler)},
      {EPP_DECIDER_ID, sizeof(epp_decider)},
      {EPP_REQUEST_HEADER_ID, sizeof(epp_request_header)},
      {EPP_SCREENER_ID, sizeof(epp_screener)},
      {EPP_PRODUCER_ID, sizeof(epp_producer)},
      {EPP_ADMITTER_ID, sizeof(epp_admitter)},
      {EPP_ASYNC_PRODUCER_ID, sizeof(epp_async_producer)},
      {EPP_PRE_REQUEST_ID, sizeof(epp_pre_request)},
      {EPP_RESPONSE_ID, sizeof(epp_response)},
      {EPP_PARSER_ID, sizeof(epp_parser)},
      {EPP_SOURCE_ID, sizeof(epp_source)},
      {EPP_SCRAPER_ID, sizeof(epp_scraper)},
      {EPP_POOL_EVENTS_ID, sizeof(epp_pool_events)},
      {EPP_ATTRIBUTES_ID, sizeof(epp_attributes)},
      {EPP_READINESS_ID, sizeof(epp_readiness)},
      {EPP_DUMP_STATE_ID, sizeof(epp_dump_state)},
      {EPP_STATE_ID, sizeof(epp_state)},
      {EPP_SERVICE_ID, sizeof(epp_service)},
  };
  ForEachType(run, *subject, [&](const TypeRun& type) {
    WithInstance(type, {}, [&](Instance& instance) {
      const std::span listed(type.type.interfaces, type.type.interface_count);
      const auto is_listed = [&](std::string_view id) {
        return std::any_of(listed.begin(), listed.end(), [&](const char* l) { return id == l; });
      };
      const auto fail = [&](std::string_view id, std::string_view what) {
        run.findings.Fail(StrCat("get_interface of ", type.name(), ": \"", id, "\" ", what));
      };
      for (const Known& known : kKnown) {
        const void* const table = instance.Interface(known.id);
        if (table == nullptr) {
          if (is_listed(known.id)) fail(known.id, "is listed, but the answer is null");
          continue;
        }
        if (!is_listed(known.id)) fail(known.id, "is answered, but not listed");
        if (instance.Interface(known.id) != table) fail(known.id, "gives another table each time");
        uint32_t size = 0;
        std::memcpy(&size, table, sizeof(size));
        if (size < known.bytes) {
          fail(known.id,
               StrCat("gives a table of struct_size ", size, ", want at least ", known.bytes));
        }
      }
      for (const char* id : listed) {
        const std::string_view known = id;
        for (const std::string& wrong :
             {StrCat(known, "x"), StrCat(known, "1"), StrCat(known, " "),
              std::string(known.substr(0, known.size() - 1)), StrCat("x", known)}) {
          if (!is_listed(wrong) && instance.Interface(wrong.c_str()) != nullptr) {
            fail(wrong, "is no interface, but the answer is not null");
          }
        }
      }
      for (const char* id : {"", "epp.unheard-of/1", "epp.scorer/99", "/"}) {
        if (instance.Interface(id) != nullptr) {
          fail(id, "is no interface, but the answer is not null");
        }
      }
    });
  });
}

// A host without memory, metrics and extensions: an error or a plainer result, no crash.
void CheckFailingHost(CaseRun& run) {
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    HostOptions options;
    options.failing = true;
    CheckHost::StartThread(run.seed);
    CheckHost& host = CheckHost::Immortal(run.findings, options);
    Instance instance(type.type, host, type.parameters.values);
    run.findings.Tested();
    if (!instance.ok()) {
      if (instance.error().empty()) {
        run.findings.Fail(StrCat("create of ", type.name(),
                                 " refuses a host without metrics, but does not say why"));
      }
      return;
    }
    const World world(run.seed, 16);
    Driver(instance, world, run.file.samples, {.seed = run.seed, .no_memory = true}).Everything();
  });
}

// Nothing of the instance runs once destroy has returned.
void CheckQuietAfterDestroy(CaseRun& run) {
  constexpr std::chrono::milliseconds kListen{100};
  const std::unique_ptr<Subject> subject = OpenOrSkip(run);
  if (subject == nullptr) return;
  ForEachType(run, *subject, [&](const TypeRun& type) {
    CheckHost::StartThread(run.seed);
    Hosted hosted(type);
    if (!hosted.ok()) return;
    run.findings.Tested();
    const World world(run.seed, 16);
    Driver(hosted.instance(), world, run.file.samples, {.seed = run.seed}).Everything();
    hosted.Destroy();
    hosted.host().Retire();
    std::this_thread::sleep_for(kListen);
  });
}

// A library that says it can be unloaded really goes.
void CheckUnload(CaseRun& run) {
  constexpr int kTimes = 100;
  if (!run.file.elf.ok() || !run.file.elf->note ||
      (run.file.elf->note->flags & EPP_MODULE_UNLOADABLE) == 0) {
    return run.findings.Skip("the library is not flagged UNLOADABLE");
  }
  if (dlopen(run.file.path.c_str(), RTLD_NOW | RTLD_NOLOAD) != nullptr) {
    return run.findings.Skip("loaded by a case before it; run it alone, or in its own process");
  }
  for (int i = 0; i < kTimes; ++i) {
    const std::unique_ptr<Subject> subject = OpenOrSkip(run);
    if (subject == nullptr) return;
    run.findings.Tested();
    ForEachType(run, *subject, [&](const TypeRun& type) {
      WithInstance(type, {}, [&](Instance& instance) {
        const World world(run.seed, 4);
        Driver(instance, world, run.file.samples,
               {.seed = run.seed, .candidates = 4, .requests = 1})
            .Everything();
      });
    });
    const Doing doing(run.findings, "dlclose", "");
    dlclose(subject->handle());
    void* const left = dlopen(run.file.path.c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (left == nullptr) continue;
    dlclose(left);
    return run.findings.Fail(
        StrCat("flagged UNLOADABLE, but still mapped after dlclose number ", i + 1));
  }
}

}  // namespace epp::validate
