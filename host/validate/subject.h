// The library under test, and instances of its types.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "epp/abi.h"
#include "host/config/document.h"
#include "host/config/endpoint_picker_config.h"
#include "host/loader/elf_inspect.h"
#include "host/loader/record_lint.h"
#include "host/validate/check_host.h"

namespace epp::validate {

// How the types of a library are configured when they are checked: a file of --params, or
// [check.TYPE] of the plugin.toml beside the library, with `params` and `start`.
class Samples {
 public:
  // `params_file` may be empty. Errors: unreadable, not a map of maps.
  static absl::StatusOr<Samples> Read(const std::string& params_file,
                                      const std::string& library_path);
  // Null when there is none.
  const config::Node* Parameters(std::string_view type) const;
  // A service may be started: it opens nothing that would disturb others.
  bool MayStart(std::string_view type) const { return start_.contains(std::string(type)); }

 private:
  std::map<std::string, config::Node, std::less<>> parameters_;
  std::map<std::string, bool, std::less<>> start_;
};

// A library's file, of which no code has run.
struct LibraryFile {
  std::string path;  // absolute
  std::string name;  // without folder and .so
  std::string bytes;
  absl::StatusOr<loader::ElfFacts> elf = absl::UnknownError("");
  Samples samples;
};
absl::StatusOr<LibraryFile> ReadLibraryFile(const std::string& path,
                                            const std::string& params_file);

// Values for create, in the order of the type's parameters.
struct Parameters {
  std::vector<epp_value> values;
  std::shared_ptr<const config::ParamValues> decoded;  // what the values point into
};
// The sample of the type, else its defaults, with something plausible for what is required.
absl::StatusOr<Parameters> ParametersFor(const epp_plugin_type& type, const Samples& samples);

// The library in this process. It stays mapped, except where a case unmaps it.
class Subject {
 public:
  // Errors: what dlopen says; "no entry"; what is wrong with the record.
  static absl::StatusOr<std::unique_ptr<Subject>> Open(const LibraryFile& file,
                                                       const std::string& path);
  static absl::StatusOr<std::unique_ptr<Subject>> Open(const LibraryFile& file) {
    return Open(file, file.path);
  }

  const LibraryFile& file() const { return *file_; }
  void* handle() const { return handle_; }
  const epp_module& module() const { return *module_; }
  const loader::Image& image() const { return *image_; }
  std::span<const epp_plugin_type* const> types() const {
    return {module_->types, module_->type_count};
  }

 private:
  const LibraryFile* file_ = nullptr;
  void* handle_ = nullptr;
  const epp_module* module_ = nullptr;
  std::optional<loader::Image> image_;
};

// One instance, created and destroyed through its type's record.
class Instance {
 public:
  Instance(const epp_plugin_type& type, CheckHost& host, std::span<const epp_value> values,
           const Layout& layout = {});
  ~Instance() { Destroy(); }
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  void Destroy();
  bool ok() const { return self_ != nullptr; }
  epp_status status() const { return status_; }
  const std::string& error() const { return error_; }
  void* self() const { return self_; }
  const epp_plugin_type& type() const { return type_; }
  CheckHost& host() { return host_; }

  template <class Table>
  const Table* Get(const char* id) {
    return static_cast<const Table*>(Interface(id));
  }
  const void* Interface(const char* id);
  const std::vector<const epp_attr_spec*>& consumes() const { return consumes_; }
  const std::vector<const epp_attr_spec*>& produces() const { return produces_; }
  // The keys of labels that it consumes.
  std::vector<std::string> LabelKeys() const;

 private:
  const epp_plugin_type& type_;
  CheckHost& host_;
  void* self_ = nullptr;
  epp_status status_ = EPP_OK;
  std::string error_;
  std::vector<const epp_attr_spec*> consumes_, produces_;
};

}  // namespace epp::validate
