#include "plugins/producers/token/local.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <map>
#include <utility>

#include "plugins/common/json_text.hpp"
#include "plugins/producers/token/render.h"
#include "plugins/producers/token/tokenizer/fields.h"
#include "plugins/producers/token/tokenizer/tokenizer.h"

namespace token_producer {
namespace {

constexpr auto kLookEvery = std::chrono::seconds(5);
constexpr size_t kMaxEntries = 64;
constexpr size_t kKeepTextBytes = 1 << 20;

// What tells one version of a file from another.
struct Identity {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t seconds = 0, nanoseconds = 0;
  bool operator==(const Identity&) const = default;
};

Identity Of(const struct stat& s) {
  return {s.st_dev, s.st_ino, static_cast<uint64_t>(s.st_size), s.st_mtim.tv_sec,
          s.st_mtim.tv_nsec};
}

epp::Status ReadFile(const std::string& path, std::string& out, Identity& identity) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  const auto failed = [&](const std::string& why) {
    if (fd >= 0) close(fd);
    return epp::Status(EPP_NOT_FOUND, path + ": " + why);
  };
  if (fd < 0) return failed(std::strerror(errno));
  struct stat s;
  if (fstat(fd, &s) != 0) return failed(std::strerror(errno));
  if (!S_ISREG(s.st_mode)) return failed("not a regular file");
  if (static_cast<uint64_t>(s.st_size) > Tokenizer::kMaxFileBytes) {
    return failed("larger than 128 MiB");
  }
  identity = Of(s);
  out.resize(static_cast<size_t>(s.st_size));
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = read(fd, out.data() + done, out.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed(n < 0 ? std::strerror(errno) : "became shorter while it was read");
    done += static_cast<size_t>(n);
  }
  close(fd);
  return {};
}

}  // namespace

struct Local::File {
  Identity identity;
  Tokenizer tokenizer;
};

struct Local::Entry {
  std::string model, path;  // no model: of every model without an entry
  ChatTemplate chat = ChatTemplate::kNone;
  std::mutex mutex;
  std::shared_ptr<const File> file;  // guarded by mutex
  Identity refused;                  // the last version that could not be loaded; one thread's
  std::atomic<uint64_t> version{1};  // grows after file has changed
};

struct Local::Held {
  uint64_t version = 0;
  std::shared_ptr<const File> file;
  Tokenizer::Memory memory;
};

Local::Local(const epp::Host& host) : host_(host) {}

// Every instance that names the same version of a file has the same tokenizer.
epp::Status Local::Load(const std::string& path, std::shared_ptr<const File>& out) {
  struct Shared {
    std::mutex mutex;
    std::map<std::string, std::weak_ptr<const File>> files;
  };
  static Shared* const shared = new Shared;  // lives as long as the library
  const std::lock_guard lock(shared->mutex);
  std::weak_ptr<const File>& known = shared->files[path];
  out = known.lock();
  struct stat s;
  if (out != nullptr && stat(path.c_str(), &s) == 0 && Of(s) == out->identity) return {};
  std::string text;
  auto file = std::make_shared<File>();
  if (epp::Status status = ReadFile(path, text, file->identity); !status.ok()) return status;
  if (epp::Status status = Tokenizer::Load(text, file->tokenizer); !status.ok()) {
    return {status.code(), path + ": " + std::string(status.message())};
  }
  out = std::move(file);
  known = out;
  return {};
}

epp::Status Local::Read(std::string_view json) {
  std::vector<std::string_view> items;
  if (epp::Status s = Fields::ReadArray(json, "local.tokenizers", items); !s.ok()) return s;
  if (items.empty() || items.size() > kMaxEntries) {
    return epp::Status::Invalid("local.tokenizers has " + std::to_string(items.size()) +
                                " entries, want 1 to 64");
  }
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string where = "local.tokenizers[" + std::to_string(i) + "]";
    Fields f;
    if (epp::Status s = Fields::Read(items[i], where, f); !s.ok()) return s;
    if (epp::Status s = f.Only({"path", "model", "chatTemplate"}); !s.ok()) return s;
    auto entry = std::make_unique<Entry>();
    std::string chat;
    f.Get("path", entry->path);
    f.Get("model", entry->model);
    f.Get("chatTemplate", chat);
    if (!f.status().ok()) return epp::Status::Invalid(std::string(f.status().message()));
    if (!entry->path.starts_with('/')) {
      return epp::Status::Invalid(std::string(f.Wrong("path", "an absolute path").message()));
    }
    if (!chat.empty() && !FindChatTemplate(chat, entry->chat)) {
      return epp::Status::Invalid(std::string(f.Wrong("chatTemplate", kChatTemplates).message()));
    }
    for (const auto& other : entries_) {
      if (other->model != entry->model) continue;
      return epp::Status::Invalid(std::string(
          f.Wrong("model", "a model that no other entry has, and one entry without").message()));
    }
    if (epp::Status s = Load(entry->path, entry->file); !s.ok()) {
      return {s.code(), where + ".path: " + std::string(s.message())};
    }
    entries_.push_back(std::move(entry));
  }
  return {};
}

epp::Status Local::Create(const epp::Host& host, std::string_view json, size_t threads,
                          std::unique_ptr<Local>& out) {
  std::unique_ptr<Local> made(new Local(host));
  if (epp::Status status = made->Read(json); !status.ok()) return status;
  made->workers_ = std::max(host.workers(), 1u);
  made->held_.resize(made->workers_ + threads);
  for (auto& held : made->held_) held.resize(made->entries_.size());
  // Signals are the host's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  for (size_t i = 0; i < threads; ++i) {
    made->threads_.emplace_back([local = made.get(), i] { local->Run(i); });
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  out = std::move(made);
  return {};
}

Local::~Local() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void Local::Run(size_t thread) const {
  auto& held = held_[workers_ + thread];
  auto look = std::chrono::steady_clock::now() + kLookEvery;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (queue_.empty()) changed_.wait_until(lock, look);
    if (!stopping_ && !queue_.empty()) {
      const Job job = std::move(queue_.front());
      queue_.pop_front();
      queued_bytes_ -= job.encoding->text.size();
      lock.unlock();
      if (!job.encoding->cancelled.load(std::memory_order_relaxed)) {
        try {
          EncodeWith(held[job.encoding->tokenizer], *job.encoding);
        } catch (const std::exception& e) {
          job.encoding->status = epp::Status(EPP_RESOURCE_EXHAUSTED, e.what());
        }
        job.done();
      }
      lock.lock();
    }
    if (const auto now = std::chrono::steady_clock::now(); now >= look) {
      look = now + kLookEvery;
      if (thread != 0) continue;
      lock.unlock();
      try {
        Refresh();
      } catch (const std::exception& e) {
        host_.Log(EPP_LOG_WARN, std::string("looking for changed tokenizers: ") + e.what());
      }
      lock.lock();
    }
  }
}

void Local::Refresh() const {
  for (const auto& entry : entries_) {
    std::shared_ptr<const File> now;
    {
      const std::lock_guard lock(entry->mutex);
      now = entry->file;
    }
    struct stat s;
    if (stat(entry->path.c_str(), &s) != 0) continue;
    const Identity seen = Of(s);
    if (seen == now->identity || seen == entry->refused) continue;
    std::shared_ptr<const File> file;
    if (epp::Status status = Load(entry->path, file); !status.ok()) {
      entry->refused = seen;
      host_.Log(EPP_LOG_WARN,
                "a tokenizer has changed and cannot be loaded, the one before stays: " +
                    std::string(status.message()));
      continue;
    }
    {
      const std::lock_guard lock(entry->mutex);
      entry->file = std::move(file);
    }
    entry->version.fetch_add(1, std::memory_order_release);
    host_.Log(EPP_LOG_INFO, "a tokenizer has changed and was loaded: " + entry->path);
  }
}

Unrendered Local::Prepare(const epp_request& request, Encoding& out) const {
  const epp_parsed& parsed = *request.parsed;
  std::string_view model = epp::View(request.target_model);
  if (model.empty()) model = epp::View(request.model);
  size_t i = 0, general = entries_.size();
  for (; i < entries_.size() && entries_[i]->model != model; ++i) {
    if (entries_[i]->model.empty()) general = i;
  }
  if (i == entries_.size()) i = general;
  if (i == entries_.size()) return "model";
  out.tokenizer = i;
  const std::string_view body = epp::View(request.body);
  if (parsed.api == EPP_API_CHAT || parsed.api == EPP_API_MESSAGES) {
    std::string chat;
    if (parsed.api == EPP_API_MESSAGES) {
      if (!ChatFromMessages(body, "\"\"", chat).ok()) return "body";
    }
    if (Unrendered why =
            RenderChat(chat.empty() ? body : chat, entries_[i]->chat, out.text, out.special)) {
      return why;
    }
    out.ends.push_back(out.text.size());
    return nullptr;
  }
  if (parsed.api != EPP_API_COMPLETIONS) return "api";
  out.special = AddSpecialTokens(body, true);
  uint32_t prompt = 0;
  for (uint32_t s = 0; s < parsed.segment_count; ++s) {
    const epp_segment& segment = parsed.segments[s];
    if (segment.kind != EPP_SEGMENT_TEXT) return "content";
    while (prompt < segment.prompt && prompt + 1 < parsed.prompt_count) {
      out.ends.push_back(out.text.size());
      ++prompt;
    }
    const std::string_view bytes = epp::View(segment.bytes);
    if (segment.flags & EPP_SEGMENT_ESCAPED) {
      const size_t before = out.text.size();
      out.text.resize(before + bytes.size());
      out.text.resize(static_cast<size_t>(epp::json::Unescape(bytes, out.text.data() + before) -
                                          out.text.data()));
    } else {
      out.text += bytes;
    }
  }
  for (; prompt < parsed.prompt_count; ++prompt) out.ends.push_back(out.text.size());
  return nullptr;
}

void Local::EncodeWith(Held& held, Encoding& encoding) const {
  Entry& entry = *entries_[encoding.tokenizer];
  if (held.version != entry.version.load(std::memory_order_acquire)) {
    held = Held();
    held.version = entry.version.load(std::memory_order_acquire);
    const std::lock_guard lock(entry.mutex);
    held.file = entry.file;
  }
  const std::string_view text = encoding.text;
  for (size_t p = 0; p + 1 < encoding.ends.size(); ++p) {
    encoding.status = held.file->tokenizer.Encode(
        text.substr(encoding.ends[p], encoding.ends[p + 1] - encoding.ends[p]), encoding.special,
        held.memory, encoding.ids);
    if (!encoding.status.ok()) return;
    encoding.offsets.push_back(encoding.ids.size());
  }
  if (encoding.text.capacity() > kKeepTextBytes) std::string().swap(encoding.text);
}

void Local::Encode(uint32_t worker, Encoding& encoding) const {
  EncodeWith(held_[worker % workers_][encoding.tokenizer], encoding);
}

bool Local::Enqueue(std::shared_ptr<Encoding> encoding, epp::Completion done) const {
  {
    const std::lock_guard lock(mutex_);
    const size_t bytes = encoding->text.size();
    // A single large prompt may exceed the bound alone.
    if (queue_.size() >= kMaxQueue ||
        (queued_bytes_ > 0 && queued_bytes_ + bytes > kMaxQueueBytes)) {
      return false;
    }
    queued_bytes_ += bytes;
    queue_.push_back({std::move(encoding), done});
  }
  changed_.notify_one();
  return true;
}

epp::Status Local::Write(const Encoding& encoding, const epp::Call& call,
                         epp_tokenized_prompt& out) {
  if (!encoding.status.ok()) {
    return {encoding.status.code(), std::string(encoding.status.message())};
  }
  const size_t bytes = encoding.ids.size() * sizeof(uint32_t);
  auto* const ids = static_cast<uint32_t*>(
      call.raw().alloc(call.raw().arena, std::max<size_t>(bytes, 1), alignof(uint32_t)));
  auto* const offsets = call.Alloc<uint64_t>(encoding.offsets.size());
  if (ids == nullptr || offsets == nullptr) {
    return {EPP_RESOURCE_EXHAUSTED, "the tokens of this prompt need " + std::to_string(bytes) +
                                        " bytes, more than there are"};
  }
  if (bytes > 0) std::memcpy(ids, encoding.ids.data(), bytes);
  std::copy(encoding.offsets.begin(), encoding.offsets.end(), offsets);
  out.prompt_count = static_cast<uint32_t>(encoding.offsets.size() - 1);
  out.tokens = ids;
  out.offsets = offsets;
  return {};
}

}  // namespace token_producer
