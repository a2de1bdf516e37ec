#include "host/cli/load.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "host/base/str_cat.h"

namespace epp::cli {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 20;

}  // namespace

absl::StatusOr<std::shared_ptr<const config::SourceText>> ReadText(const std::string& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string content(kMaxTextBytes + 1, '\0');
  if (in) in.read(content.data(), static_cast<std::streamsize>(content.size()));
  // A directory opens, but does not read.
  if (!in.is_open() || in.bad()) {
    const char* why = errno != 0 ? std::strerror(errno) : "unreadable";
    return absl::NotFoundError(StrCat(path, ": cannot be read: ", why));
  }
  content.resize(static_cast<size_t>(in.gcount()));
  if (content.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(StrCat(path, ": larger than 1 MiB"));
  }
  return std::make_shared<const config::SourceText>(config::SourceText{path, std::move(content)});
}

absl::StatusOr<std::unique_ptr<ServeCommandLine>> LoadServeCommandLine(
    const std::vector<std::string>& arguments, config::Diagnostics& out) {
  absl::StatusOr<std::unique_ptr<ServeCommandLine>> line = ParseServeArguments(arguments);
  if (!line.ok() || (*line)->flags.settings_file.empty()) return line;
  const auto text = ReadText((*line)->flags.settings_file);
  if (!text.ok()) return text.status();
  (*line)->settings.ApplyFile(*text, out);
  return line;
}

}  // namespace epp::cli
