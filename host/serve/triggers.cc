#include "host/serve/triggers.h"

#include <sys/stat.h>
#include <time.h>

#include <fstream>
#include <random>
#include <string_view>
#include <utility>

#include "host/base/str_cat.h"
#include "host/loader/sha256.h"

namespace epp::serve {
namespace {

constexpr size_t kMaxConfigBytes = size_t{1} << 21;  // more is refused anyway
constexpr int64_t kLatelySeconds = 2;

bool BelongsToPlugins(std::string_view name) {
  return !name.starts_with('.') && (name.ends_with(".so") || name.ends_with(".toml"));
}

std::string DigestOf(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return "unreadable";
  std::string text(kMaxConfigBytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  return loader::Sha256Hex({text.data(), static_cast<size_t>(in.gcount())});
}

}  // namespace

Triggers::Triggers(const std::vector<std::string>& config_files,
                   std::vector<std::string> plugin_dirs, Options options, Fire fire)
    : options_(options), fire_(std::move(fire)), files_(config_files) {
  config_ = std::make_unique<FileWatch>(config_files,
                                        FileWatch::Options{.debounce_ns = options_.settle_ns},
                                        [this] { return ConfigChanged(); });
  config_->Start();
  plugins_ = std::make_unique<DirWatch>(std::move(plugin_dirs), &BelongsToPlugins,
                                        DirWatch::Options{.debounce_ns = options_.settle_ns},
                                        [this] { fire_("plugin directory change", Delay()); });
  plugins_->Start();
}

Triggers::~Triggers() = default;

void Triggers::Follow(const std::vector<std::string>& config_files) {
  {
    MutexLock lock(&mutex_);
    if (files_ == config_files) return;
    files_ = config_files;
  }
  config_->Follow(config_files);
}

// The first look always counts: a file may have changed between its reading and the watch.
bool Triggers::ConfigChanged() {
  std::string digests;
  {
    MutexLock lock(&mutex_);
    for (const std::string& file : files_) StrAppend(&digests, DigestOf(file), "\n");
  }
  if (digests == digest_) return false;
  digest_ = std::move(digests);
  fire_("file change", Delay());
  return false;
}

uint64_t Triggers::Delay() const {
  if (options_.jitter_ns == 0) return 0;
  std::random_device random;
  return std::uniform_int_distribution<uint64_t>(0, options_.jitter_ns)(random);
}

bool ChangedLately(const std::string& path) {
  if (path.empty()) return false;
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) {
    const size_t slash = path.rfind('/');
    const std::string dir = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    if (::stat(dir.c_str(), &file) != 0) return false;
  }
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  // Not the time of the content: copies may keep that of their original.
  const int64_t age = now.tv_sec - file.st_ctim.tv_sec;
  return age >= 0 && age <= kLatelySeconds;
}

}  // namespace epp::serve
