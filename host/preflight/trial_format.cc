#include "host/preflight/trial_format.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>

#include "host/base/memory_file.h"
#include "host/base/str_cat.h"

namespace epp::preflight {
namespace {

class Writer {
 public:
  explicit Writer(std::string* out) : out_(out) {}
  void Number(uint64_t value) { out_->append(reinterpret_cast<const char*>(&value), 8); }
  void Text(std::string_view text) {
    Number(text.size());
    out_->append(text);
  }

 private:
  std::string* out_;
};

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  uint64_t Number() {
    uint64_t value = 0;
    if (in_.size() < 8) return Fail();
    std::memcpy(&value, in_.data(), 8);
    in_.remove_prefix(8);
    return value;
  }
  std::string_view Text() {
    const uint64_t size = Number();
    if (size > in_.size()) {
      Fail();
      return {};
    }
    const std::string_view text = in_.substr(0, size);
    in_.remove_prefix(size);
    return text;
  }
  bool ok() const { return ok_; }

 private:
  uint64_t Fail() {
    ok_ = false;
    in_ = {};
    return 0;
  }
  std::string_view in_;
  bool ok_ = true;
};

// 0: no text; 1: the config itself; 2 and more: the files that it includes, in order.
uint64_t NumberOf(const config::SourceText* text, const config::SourceText& config) {
  if (text == nullptr) return 0;
  uint64_t number = 2;
  for (const auto& [path, included] : config.included) {
    if (included.text.get() == text) return number;
    ++number;
  }
  return 1;
}

std::shared_ptr<const config::SourceText> SourceOf(
    uint64_t number, const std::shared_ptr<const config::SourceText>& config) {
  if (number == 0) return nullptr;
  if (number >= 2 && number - 2 < config->included.size()) {
    return std::next(config->included.begin(), static_cast<ptrdiff_t>(number - 2))->second.text;
  }
  return config;
}

absl::Status WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return absl::InternalError(StrCat("memory file: ", strerror(errno)));
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> WriteJob(const Trial& trial, const TrialLimits& limits) {
  absl::StatusOr<UniqueFd> opened = OpenMemoryFile("epp-preflight", MemoryFileUse::kData);
  if (!opened.ok()) return opened.status();
  UniqueFd fd = *std::move(opened);
  std::string head;
  Writer w(&head);
  w.Number(limits.time_ns);
  w.Number(limits.memory_bytes);
  w.Number(static_cast<uint64_t>(getpid()));
  w.Text(trial.settings);
  w.Text(trial.own_plugins_dir);
  w.Text(trial.config->name);
  w.Text(trial.config->text);
  w.Number(trial.config->included.size());
  for (const auto& [path, included] : trial.config->included) {
    w.Text(path);
    w.Text(included.error);
    w.Number(included.text != nullptr);
    w.Text(included.text ? included.text->name : "");
    w.Text(included.text ? included.text->text : "");
  }
  w.Number(trial.quarantined_offers.size());
  for (const std::string& offers : trial.quarantined_offers) w.Text(offers);
  w.Number(trial.libraries.size());
  if (absl::Status s = WriteAll(fd.get(), head); !s.ok()) return s;
  for (const TrialLibrary& library : trial.libraries) {
    head.clear();
    w.Text(library.name);
    w.Text(library.path);
    w.Text(library.digest);
    w.Number(library.fresh);
    w.Number(library.serving);
    w.Number(library.bytes.size());
    if (absl::Status s = WriteAll(fd.get(), head); !s.ok()) return s;
    if (absl::Status s = WriteAll(fd.get(), library.bytes); !s.ok()) return s;
  }
  if (absl::Status s = SealMemoryFile(fd.get()); !s.ok()) return s;
  return fd;
}

absl::StatusOr<Trial> ReadJob(int fd, TrialLimits* limits) {
  struct stat st;
  if (fstat(fd, &st) != 0 || st.st_size <= 0) return absl::InvalidArgumentError("no job");
  void* memory = mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  if (memory == MAP_FAILED) return absl::InternalError("the job cannot be mapped");
  Reader r({static_cast<const char*>(memory), static_cast<size_t>(st.st_size)});
  Trial trial;
  limits->time_ns = r.Number();
  limits->memory_bytes = r.Number();
  limits->parent = static_cast<pid_t>(r.Number());
  trial.settings = r.Text();
  trial.own_plugins_dir = r.Text();
  config::SourceText config;
  config.name = r.Text();
  config.text = r.Text();
  const uint64_t included = r.Number();
  for (uint64_t i = 0; i < included && r.ok(); ++i) {
    config::SourceText::Included& file = config.included[std::string(r.Text())];
    file.error = r.Text();
    const bool usable = r.Number() != 0;
    config::SourceText text;
    text.name = r.Text();
    text.text = r.Text();
    if (usable) file.text = std::make_shared<const config::SourceText>(std::move(text));
  }
  trial.config = std::make_shared<const config::SourceText>(std::move(config));
  const uint64_t quarantined = r.Number();
  for (uint64_t i = 0; i < quarantined && r.ok(); ++i) {
    trial.quarantined_offers.emplace_back(r.Text());
  }
  const uint64_t count = r.Number();
  for (uint64_t i = 0; i < count && r.ok(); ++i) {
    TrialLibrary library;
    library.name = r.Text();
    library.path = r.Text();
    library.digest = r.Text();
    library.fresh = r.Number() != 0;
    library.serving = r.Number() != 0;
    library.bytes = r.Text();
    trial.libraries.push_back(std::move(library));
  }
  if (!r.ok()) return absl::InvalidArgumentError("the job is malformed");
  return trial;
}

std::string EncodeErrors(const config::Diagnostics& diagnostics, const config::SourceText& config) {
  std::string out;
  Writer w(&out);
  const auto mark = [&](const config::Mark& m) {
    w.Number(NumberOf(m.source.get(), config));
    w.Number(m.line);
    w.Number(m.column);
    w.Number(m.length);
  };
  w.Number(diagnostics.redacted().size());
  for (const config::Mark& m : diagnostics.redacted()) mark(m);
  for (const config::Diagnostic& d : diagnostics.all()) {
    if (out.size() > Report::kTextBytes / 2) break;
    w.Text(d.code);
    w.Number(d.severity == config::Severity::kError);
    w.Text(std::string_view(d.message).substr(0, 8192));
    w.Text(std::string_view(d.caret).substr(0, 1024));
    w.Text(std::string_view(d.hint).substr(0, 8192));
    mark(d.mark);
  }
  w.Text("");
  return out;
}

bool DecodeErrors(std::string_view text, const std::shared_ptr<const config::SourceText>& config,
                  config::Diagnostics& out) {
  Reader r(text);
  const auto mark = [&] {
    config::Mark m;
    m.source = SourceOf(r.Number(), config);
    m.line = static_cast<uint32_t>(r.Number());
    m.column = static_cast<uint32_t>(r.Number());
    m.length = static_cast<uint32_t>(r.Number());
    return m;
  };
  const uint64_t redacted = r.Number();
  for (uint64_t i = 0; i < redacted && r.ok(); ++i) out.Redact(mark());
  size_t errors = 0;
  for (;;) {
    const std::string code(r.Text());
    if (!r.ok()) return false;
    if (code.empty()) return errors > 0;
    const bool error = r.Number() != 0;
    const std::string message(r.Text());
    const std::string caret(r.Text());
    const std::string hint(r.Text());
    const config::Mark at = mark();
    if (!r.ok()) return false;
    if (error) {
      out.Error(at, code, message, caret, hint);
      ++errors;
    } else {
      out.Warning(at, code, message, caret, hint);
    }
  }
}

}  // namespace epp::preflight
