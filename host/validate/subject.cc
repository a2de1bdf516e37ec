#include "host/validate/subject.h"

#include <dlfcn.h>
#include <link.h>

#include <exception>
#include <utility>

#include "host/base/str_cat.h"
#include "host/validate/case_numbers.h"

namespace epp::validate {

absl::StatusOr<std::unique_ptr<Subject>> Subject::Open(const LibraryFile& file,
                                                       const std::string& path) {
  auto subject = std::make_unique<Subject>();
  subject->file_ = &file;
  try {
    subject->handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  } catch (const std::exception& e) {
    return absl::InternalError(StrCat("an initialiser threw an exception: \"", e.what(), "\""));
  } catch (...) {
    return absl::InternalError("an initialiser threw an exception");
  }
  if (subject->handle_ == nullptr) {
    return absl::FailedPreconditionError(StrCat("cannot be loaded: ", dlerror()));
  }
  using Entry = const epp_module* (*)(uint32_t, uint32_t);
  const auto entry = reinterpret_cast<Entry>(dlsym(subject->handle_, EPP_PLUGIN_ENTRY));
  link_map* map = nullptr;
  if (entry == nullptr || dlinfo(subject->handle_, RTLD_DI_LINKMAP, &map) != 0) {
    return absl::FailedPreconditionError("does not export " EPP_PLUGIN_ENTRY);
  }
  try {
    subject->module_ = entry(EPP_ABI_MAJOR, EPP_ABI_MINOR);
  } catch (...) {
    return absl::InternalError("its entry function threw an exception");
  }
  if (subject->module_ == nullptr) {
    return absl::FailedPreconditionError("its entry function declined this host");
  }
  if (!file.elf.ok()) return file.elf.status();
  subject->image_.emplace(map->l_addr, file.elf->segments);
  // A note that is missing or differs is another finding than a record that leads nowhere.
  epp_abi_note note{};
  note.abi_major = EPP_ABI_MAJOR;
  if (subject->image_->HasData(subject->module_, sizeof(epp_module))) {
    note.abi_major = subject->module_->abi_major;
    note.abi_minor = subject->module_->abi_minor;
    note.abi_min_minor = subject->module_->abi_min_minor;
    note.flags = subject->module_->flags;
  }
  if (absl::Status s = loader::LintRecord(subject->module_, *subject->image_, note, file.name);
      !s.ok()) {
    return s;
  }
  return subject;
}

Instance::Instance(const epp_plugin_type& type, CheckHost& host, std::span<const epp_value> values,
                   const Layout& layout)
    : type_(type), host_(host) {
  Findings& findings = host.findings();
  Memory memory(layout);
  auto* const error = memory.Struct<epp_error>("epp_error");
  host.SetCreating(true);
  self_ = Invoke(findings, "create", type.name, type.create, host.table(), Str("checked"),
                 values.data(), error);
  host.SetCreating(false);
  if (memory.Overwritten() != nullptr) {
    findings.Breach(kNewerHost,
                    StrCat("create of ", type.name, " wrote behind what it knows of epp_error"));
  }
  if (self_ == nullptr) {
    status_ = error->code == EPP_OK ? EPP_INTERNAL : error->code;
    error_ = MessageOf(*error);
    CheckError(findings, "create", type.name, status_, *error);
    return;
  }
  consumes_.assign(type.consumes, type.consumes + type.consumes_count);
  produces_.assign(type.produces, type.produces + type.produces_count);
  const auto* const own = Get<epp_attributes>(EPP_ATTRIBUTES_ID);
  if (own == nullptr) return;
  uint32_t n = 0;
  const epp_attr_spec* const* specs =
      Invoke(findings, "consumes", type.name, own->consumes, self_, &n);
  consumes_.assign(specs, specs + n);
  n = 0;
  specs = Invoke(findings, "produces", type.name, own->produces, self_, &n);
  produces_.assign(specs, specs + n);
}

std::vector<std::string> Instance::LabelKeys() const {
  constexpr std::string_view kLabel = "label/";
  std::vector<std::string> keys;
  for (const epp_attr_spec* spec : consumes_) {
    const std::string_view key = spec->key;
    if (key.starts_with(kLabel)) keys.emplace_back(key.substr(kLabel.size()));
  }
  return keys;
}

void Instance::Destroy() {
  if (self_ == nullptr) return;
  Invoke(host_.findings(), "destroy", type_.name, type_.destroy, std::exchange(self_, nullptr));
}

const void* Instance::Interface(const char* id) {
  return Invoke(host_.findings(), "get_interface", type_.name, type_.get_interface, self_, id);
}

}  // namespace epp::validate
