// V01 and V02: what the file is, as far as its bytes tell.
#include <dlfcn.h>

#include "host/base/str_cat.h"
#include "host/validate/case_numbers.h"
#include "host/validate/cases.h"

namespace epp::validate {
namespace {

#if defined(EPP_HOST_SANITIZED)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

std::string Text(const absl::Status& status) { return std::string(status.message()); }

// The facts, without what the other case reports.
loader::ElfFacts Only(const loader::ElfFacts& facts, int number) {
  loader::ElfFacts out = facts;
  if (number == kSymbols) {
    out.executable_stack = out.text_relocations = out.static_tls = false;
    out.run_path.clear();
    epp_abi_note note{};
    note.abi_major = EPP_ABI_MAJOR;
    out.note = note;
  } else {
    out.exported = {EPP_PLUGIN_ENTRY};
    out.exported_count = 1;
    out.unique_symbol.clear();
    out.needed.clear();
  }
  return out;
}

}  // namespace

// One exported symbol, no unique one, no library that may not be needed, nothing undefined.
void CheckSymbols(CaseRun& run) {
  Findings& findings = run.findings;
  findings.Tested();
  if (!run.file.elf.ok()) return findings.Fail(Text(run.file.elf.status()));
  const loader::ElfFacts& facts = *run.file.elf;
  if (absl::Status s = loader::CheckElf(Only(facts, kSymbols)); !s.ok()) findings.Fail(Text(s));
  if (kSanitized) return;  // a sanitizer's symbols are the executable's

  // A library finds only what it and those that it needs define, not what is in this executable.
  const Doing doing(findings, "dlopen", "");
  void* const handle = dlopen(run.file.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const std::string why = dlerror();
    if (why.find("undefined symbol") != std::string::npos) findings.Fail(why);
    return;
  }
  for (const std::string& symbol : facts.undefined) {
    if (dlsym(handle, symbol.c_str()) == nullptr) {
      findings.Fail(StrCat("undefined symbol \"", symbol, "\"; link with -z defs"));
    }
  }
}

// No executable stack, text relocations, search path or large static TLS; a note that agrees with
// the record.
void CheckElfFacts(CaseRun& run) {
  Findings& findings = run.findings;
  findings.Tested();
  if (!run.file.elf.ok()) return findings.Fail(Text(run.file.elf.status()));
  const loader::ElfFacts& facts = *run.file.elf;
  if (absl::Status s = loader::CheckElf(Only(facts, kElf)); !s.ok()) findings.Fail(Text(s));
  if (!facts.note) return;
  const absl::StatusOr<std::unique_ptr<Subject>> subject = Open(run, run.file.path);
  if (!subject.ok()) return;
  const epp_abi_note& note = *facts.note;
  const epp_module& module = (*subject)->module();
  const auto same = [&](const char* what, uint32_t in_note, uint32_t in_record) {
    if (in_note == in_record) return;
    findings.Fail(StrCat(what, " is ", in_note, " in the note and ", in_record, " in the record"));
  };
  same("abi_major", note.abi_major, module.abi_major);
  same("abi_minor", note.abi_minor, module.abi_minor);
  same("abi_min_minor", note.abi_min_minor, module.abi_min_minor);
  same("flags", note.flags, module.flags);
}

}  // namespace epp::validate
