// epp plugin new: a project that builds, passes its own test and can be changed from there.
#include "host/cli/new_plugin.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <ostream>
#include <utility>

#include "CLI/CLI.hpp"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/base/unique_fd.h"
#include "host/cli/command.h"
#include "host/cli/embedded_files.h"
#include "host/cli/load.h"

namespace epp::cli {
namespace {

struct Kind {
  std::string_view name;
  std::string_view doc;     // of the type, until its author has a better one
  std::string_view suffix;  // of the class
};
constexpr std::array<Kind, 5> kKinds = {{
    {"filter", "Keeps endpoints whose waiting queue is short.", "Filter"},
    {"scorer", "Prefers endpoints where few requests wait.", "Scorer"},
    {"picker", "Picks the endpoint with the highest total.", "Picker"},
    {"scraper", "Fetches and reads a status page of the endpoint.", "Scraper"},
    {"producer", "Counts the requests that still fit on an endpoint.", "Producer"},
}};

// Targets that CMake makes itself.
constexpr std::array<std::string_view, 7> kReserved = {"all",     "clean",   "depend", "help",
                                                       "install", "package", "test"};

constexpr size_t kMaxName = 63;

bool IsLower(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

absl::Status CheckName(std::string_view name) {
  if (name.empty() || name.size() > kMaxName || !IsLower(name[0]) ||
      !std::all_of(name.begin(), name.end(), [](char c) { return IsLower(c) || c == '-'; })) {
    return absl::InvalidArgumentError(StrCat("NAME is \"", name,
                                             "\", want a lower-case letter or digit and up to ",
                                             kMaxName - 1, " more of them or hyphens"));
  }
  if (std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end()) {
    return absl::InvalidArgumentError(
        StrCat("NAME is \"", name, "\", which CMake uses for a target of its own"));
  }
  return absl::OkStatus();
}

// "gpu-heat" as a scorer is GpuHeatScorer. Always longer than the suffix, so that it differs from
// what the SDK and the languages define.
std::string ClassName(std::string_view name, std::string_view suffix) {
  std::string out;
  bool start = true;
  for (const char c : name) {
    if (c != '-') out += start && c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
    start = c == '-';
  }
  if (out[0] <= '9' || out == suffix) out = StrCat("My", out);
  if (!out.ends_with(suffix)) StrAppend(&out, suffix);
  return out;
}

const std::string_view* FindFile(std::string_view name) {
  for (const EmbeddedFile& file : EmbeddedFiles()) {
    if (file.name == name) return &file.text;
  }
  return nullptr;
}

// `text` with its placeholders replaced, in this order, everywhere.
std::string Filled(std::string_view text,
                   const std::vector<std::pair<std::string_view, std::string_view>>& values) {
  std::string out(text);
  for (const auto& [from, to] : values) {
    for (size_t at = 0; (at = out.find(from, at)) != out.npos; at += to.size()) {
      out.replace(at, from.size(), to);
    }
  }
  return out;
}

std::string JoinWords(const auto& words) {
  std::string out;
  for (const std::string_view word : words) StrAppend(&out, out.empty() ? "" : ", ", word);
  return out;
}

class NewPlugin final : public Command {
 public:
  explicit NewPlugin(std::string_view name)
      : Command(name, "Writes the project of a new plugin: source, test, build, manifest, README",
                StrCat("  epp ", name, " scorer gpu-heat-scorer\n", "  epp ", name,
                       " filter zone-filter --lang rust ~/src/zone-filter\n")) {
    app().add_option("KIND", kind_, JoinWords(kNewKinds))->required();
    app().add_option("NAME", plugin_, "of the plugin type and its library")->required();
    app().add_option("DIR", folder_, "where to; default: NAME in the current folder");
    app()
        .add_option("--lang", language_, "cpp, c or rust")
        ->check(
            CLI::IsMember(std::vector<std::string>(kNewLanguages.begin(), kNewLanguages.end())));
    AddJsonFlag();
  }

 private:
  int Run(Io& io) override {
    const auto files = NewProject(kind_, plugin_, language_);
    if (!files.ok()) return Fail(io, kUsage, "EPP-CLI-USAGE", View(files.status()));
    const std::string folder = folder_.empty() ? plugin_ : folder_;
    if (const absl::Status status = WriteProject(folder, *files); !status.ok()) {
      return Fail(io, kNo, "EPP-CLI-NOT-WRITTEN", View(status));
    }
    if (json()) {
      Json(io, folder, *files);
    } else {
      Text(io, folder, *files);
    }
    return kDone;
  }

  void Text(Io& io, const std::string& folder, const std::vector<ProjectFile>& files) const {
    for (const ProjectFile& file : files) io.out << folder << "/" << file.path << "\n";
    io.err << "next, as its README says:\n  cd " << folder << "\n";
    if (language_ == "rust") {
      io.err << "  cargo test --offline && cargo build --release --offline\n";
    } else {
      io.err << "  cmake -S . -B build -DCMAKE_BUILD_TYPE=Release\n"
                "  cmake --build build && ctest --test-dir build\n";
    }
  }

  void Json(Io& io, const std::string& folder, const std::vector<ProjectFile>& files) const {
    std::string out;
    JsonWriter w(&out);
    w.BeginObject();
    w.Field("schema", "epp.plugin-new/1").Field("kind", kind_).Field("name", plugin_);
    w.Field("lang", language_).Field("dir", folder);
    w.Key("files").BeginArray();
    for (const ProjectFile& file : files) w.Value(file.path);
    w.EndArray();
    w.EndObject();
    io.out << out << "\n";
  }

  std::string kind_;
  std::string plugin_;
  std::string folder_;
  std::string language_ = "cpp";
};

absl::Status Errno(const std::string& what) {
  const int code = errno;
  return absl::ErrnoToStatus(code, what);
}

absl::Status WriteNew(const std::string& path, std::string_view text) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!fd) return Errno(path);
  while (!text.empty()) {
    const ssize_t n = write(fd.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Errno(path);
    text.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<ProjectFile>> NewProject(std::string_view kind, std::string_view name,
                                                    std::string_view language) {
  const auto* info =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& k) { return k.name == kind; });
  if (info == kKinds.end()) {
    return absl::InvalidArgumentError(
        StrCat("KIND is \"", kind, "\", want one of ", JoinWords(kNewKinds)));
  }
  if (absl::Status status = CheckName(name); !status.ok()) return status;

  const std::string source = language == "cpp" ? "cc" : language == "c" ? "c" : "rs";
  std::vector<std::pair<std::string, std::string>> wanted = {
      // template -> file
      {StrCat("readme/", kind, ".md"), "README.md"},
      {"plugin.toml", "plugin.toml"}};
  if (language == "rust") {
    wanted.insert(wanted.end(), {{StrCat("rust/", kind, ".rs"), "src/lib.rs"},
                                 {"rust/src/plugin.rs", "src/plugin.rs"},
                                 {"rust/src/abi.rs", "src/abi.rs"},
                                 {"rust/src/testing.rs", "src/testing.rs"},
                                 {"rust/build.rs", "build.rs"},
                                 {"rust/Cargo.toml", "Cargo.toml"},
                                 {"rust/gitignore", ".gitignore"}});
  } else {
    wanted.insert(wanted.end(),
                  {{StrCat(language, "/", kind, ".", source), StrCat("plugin.", source)},
                   {StrCat("test/", kind, "_test.cc"), "plugin_test.cc"},
                   {StrCat(language, "/CMakeLists.txt"), "CMakeLists.txt"},
                   {"gitignore", ".gitignore"}});
  }

  const std::string_view* build = FindFile(StrCat("readme/build_", language, ".md"));
  const std::string class_name = ClassName(name, info->suffix);
  const std::string crate = name[0] <= '9' ? StrCat("epp-", name) : std::string(name);
  std::vector<ProjectFile> files;
  for (const auto& [from, to] : wanted) {
    const std::string_view* text = FindFile(from);
    if (text == nullptr || build == nullptr) {
      return absl::InvalidArgumentError(
          StrCat("there is no template of a ", kind, " in ", language, ", only in cpp"));
    }
    files.push_back({to, Filled(*text, {{"@BUILD@", *build},
                                        {"@NAME@", name},
                                        {"@CLASS@", class_name},
                                        {"@DOC@", info->doc},
                                        {"@CRATE@", crate}})});
  }
  return files;
}

absl::Status WriteProject(const std::string& folder, const std::vector<ProjectFile>& files) {
  namespace fs = std::filesystem;
  for (const ProjectFile& file : files) {
    const std::string path = StrCat(folder, "/", file.path);
    std::error_code ignored;
    if (fs::exists(fs::symlink_status(path, ignored))) {
      return absl::AlreadyExistsError(StrCat(path, " exists; nothing was written"));
    }
  }
  for (const ProjectFile& file : files) {
    const fs::path path = fs::path(folder) / file.path;
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    if (error) {
      return absl::InternalError(StrCat(path.parent_path().string(), ": ", error.message()));
    }
    if (absl::Status status = WriteNew(path.string(), file.text); !status.ok()) return status;
  }
  return absl::OkStatus();
}

std::unique_ptr<Command> MakePluginNew() { return std::make_unique<NewPlugin>("plugin new"); }
std::unique_ptr<Command> MakeNewPlugin() { return std::make_unique<NewPlugin>("new-plugin"); }

}  // namespace epp::cli
