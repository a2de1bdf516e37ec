#include "host/scrape/scrape_loop.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <fstream>
#include <future>
#include <map>
#include <random>
#include <utility>

#include "absl/strings/str_format.h"
#include "host/base/clock.h"
#include "host/http/fetcher.h"
#include "host/loader/guard.h"
#include "host/pool/endpoints_file.h"
#include "host/scrape/sink.h"

namespace epp::scrape {
namespace {

constexpr std::string_view kSamplePayload = "prometheus-text";
constexpr size_t kBodyPadding = 64;
constexpr size_t kKeptBodyBytes = size_t{1} << 20;
constexpr std::streamoff kMaxPemBytes = 1 << 20;

std::string_view View(epp_str s) { return s.size ? std::string_view(s.data, s.size) : ""; }

uint64_t Now() { return Clock::Real().mono_ns(); }

absl::Status ReadPem(std::string_view path, std::string& out) {
  if (path.empty()) return absl::OkStatus();
  std::ifstream in{std::string(path), std::ios::binary | std::ios::ate};
  if (!in || in.tellg() > kMaxPemBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: not readable, or more than %d bytes", path, kMaxPemBytes));
  }
  in.seekg(0);
  out.assign(std::istreambuf_iterator<char>(in), {});
  return absl::OkStatus();
}

// A source with what its plan needs.
struct Prepared {
  Source source;
  std::string path;
  std::string plan_key;  // equal keys: the same fetches
  std::shared_ptr<const http::TlsClient> tls;
  uint64_t interval_ns = 0;
  uint64_t max_body_bytes = 0;
  bool sample = false;
};

absl::StatusOr<Prepared> Prepare(Source source, const ScrapeLoop::Options& options) {
  const epp_fetch_plan& plan = source.plan;
  Prepared out;
  const auto fail = [&](std::string_view what) {
    return absl::InvalidArgumentError(absl::StrFormat("source \"%s\": %s", source.name, what));
  };
  if (plan.port > 65535) return fail(absl::StrFormat("port is %d, want 1..65535", plan.port));
  out.path = View(plan.path);
  if (out.path.empty() || out.path[0] != '/') {
    return fail(absl::StrFormat("path is \"%s\", want one that begins with a slash", out.path));
  }
  for (const Extractor& extractor : source.extractors) {
    if (extractor.table->payload != View(plan.payload)) {
      return fail(absl::StrFormat("it delivers %s, but extractor %s reads %s", View(plan.payload),
                                  extractor.type, extractor.table->payload));
    }
  }
  http::TlsClientOptions tls;
  if (plan.flags & EPP_SOURCE_TLS) {
    tls.verify = (plan.flags & EPP_SOURCE_TLS_INSECURE) == 0;
    for (const auto& [file, pem] :
         {std::pair(plan.ca_file, &tls.ca_pem), std::pair(plan.cert_file, &tls.cert_pem),
          std::pair(plan.key_file, &tls.key_pem)}) {
      const absl::Status read = ReadPem(View(file), *pem);
      if (!read.ok()) return fail(std::string(read.message()));
    }
    auto client = http::TlsClient::Create(tls);
    if (!client.ok()) return fail(std::string(client.status().message()));
    out.tls = *std::move(client);
  }
  out.interval_ns = std::max(plan.interval_ns, options.tick_ns);
  out.max_body_bytes = plan.max_body_bytes != 0 ? plan.max_body_bytes : options.max_body_bytes;
  out.sample = View(plan.payload) == kSamplePayload;
  out.plan_key = absl::StrFormat("%d|%d|%d|%s|%s|%s|%s", plan.flags, plan.port, out.interval_ns,
                                 out.path, tls.ca_pem, tls.cert_pem, tls.key_pem);
  out.source = std::move(source);
  return out;
}

// Where an endpoint is asked.
std::pair<std::string, uint16_t> AddressOf(const pool::Endpoint& endpoint, uint32_t plan_port,
                                           bool metrics_labels) {
  const auto& fields = endpoint.fields();
  std::pair<std::string, uint16_t> at{fields.address, fields.port};
  if (metrics_labels) {
    for (const auto& [key, value] : fields.labels) {
      if (key == pool::kMetricsAddressLabel && !value.empty()) at.first = value;
      if (key == pool::kMetricsPortLabel) {
        uint16_t port = 0;
        const auto parsed = std::from_chars(value.data(), value.data() + value.size(), port);
        if (parsed.ec == std::errc() && port != 0) at.second = port;
      }
    }
  }
  if (plan_port != 0) at.second = static_cast<uint16_t>(plan_port);
  return at;
}

}  // namespace

// Everything but the constructor and the public functions runs on the fetcher's thread and needs
// no lock.
class ScrapeLoop::Impl : public pool::PoolListener, public std::enable_shared_from_this<Impl> {
 public:
  Impl(pool::Pool* pool, Options options, Observer* observer)
      : pool_(pool),
        options_(options),
        observer_(observer),
        random_(std::random_device()()),
        sources_(std::make_shared<std::vector<Prepared>>()) {}

  void Start() { pool_->AddListener(shared_from_this()); }
  void Stop() { pool_->RemoveListener(this); }

  absl::Status SetSources(std::vector<Source> sources) {
    auto prepared = std::make_shared<std::vector<Prepared>>();
    for (Source& source : sources) {
      absl::StatusOr<Prepared> one = Prepare(std::move(source), options_);
      if (!one.ok()) return one.status();
      prepared->push_back(*std::move(one));
    }
    const bool any =
        std::any_of(prepared->begin(), prepared->end(), [](const Prepared& p) { return p.sample; });
    if (!any) {
      for (Prepared& p : *prepared) p.sample = true;
    }
    // The former sources come back to this thread, to be destroyed here.
    RunOnLoop([&] {
      std::swap(sources_, prepared);
      for (auto& [id, entry] : entries_) Rewire(entry, *prepared);
    });
    return absl::OkStatus();
  }

  std::vector<FetchStatus> Status() {
    std::vector<FetchStatus> out;
    RunOnLoop([&] {
      for (const auto& [id, entry] : entries_) {
        for (const auto& job : entry.jobs) {
          FetchStatus status = job->status;
          status.endpoint_id = id;
          status.endpoint = View(entry.endpoint->abi().name);
          status.source = (*sources_)[job->source].source.name;
          out.push_back(std::move(status));
        }
      }
    });
    return out;
  }

  void Ping() {
    if (pinged_.exchange(true)) return;
    fetcher_.Post([this] {
      pinged_ = false;
      rounds_.fetch_add(1, std::memory_order_release);
    });
  }
  uint64_t rounds() const { return rounds_.load(std::memory_order_acquire); }

  // The pool's thread. A fetch or a call of an extractor may be running.
  void EndpointUpserted(const pool::Endpoint& endpoint) override {
    const epp_endpoint& abi = endpoint.abi();
    auto copy = std::make_shared<const pool::Endpoint>(abi.id, abi.slot, endpoint.fields());
    fetcher_.Post([this, copy = std::move(copy)]() mutable { Upsert(std::move(copy)); });
  }
  // Nobody chooses it any more, though frames may be held for long by those who rest.
  void EndpointLeft(const pool::Endpoint& endpoint) override { Forget(endpoint); }
  void EndpointRemoved(const pool::Endpoint& endpoint) override { Forget(endpoint); }

 private:
  void Forget(const pool::Endpoint& endpoint) {
    fetcher_.Post([this, id = endpoint.abi().id] {
      const auto at = entries_.find(id);
      if (at == entries_.end()) return;
      for (const auto& job : at->second.jobs) Drop(*job);
      entries_.erase(at);
    });
  }

  // One source at one endpoint. `dead` ones are known to callbacks only.
  struct Job {
    uint64_t endpoint_id = 0;
    size_t source = 0;  // index into sources_
    http::Fetcher::TargetId target = 0;
    std::pair<std::string, uint16_t> address;
    bool dead = false;
    uint64_t started_ns = 0;
    FetchStatus status;
  };
  struct Entry {
    std::shared_ptr<const pool::Endpoint> endpoint;
    std::vector<std::shared_ptr<Job>> jobs;  // by source
  };

  // Runs `fn` on the loop's thread and waits for it.
  void RunOnLoop(const std::function<void()>& fn) {
    std::promise<void> done;
    fetcher_.Post([&] {
      fn();
      done.set_value();
    });
    done.get_future().wait();
  }

  void Upsert(std::shared_ptr<const pool::Endpoint> endpoint) {
    Entry& entry = entries_[endpoint->abi().id];
    entry.endpoint = std::move(endpoint);
    Rewire(entry, *sources_);
  }

  // Makes the jobs of an endpoint fit sources_; `former` are the sources that they belong to. A job
  // whose plan and address stay goes on as it is.
  void Rewire(Entry& entry, const std::vector<Prepared>& former) {
    std::vector<std::shared_ptr<Job>> old = std::exchange(entry.jobs, {});
    for (size_t s = 0; s < sources_->size(); ++s) {
      const Prepared& prepared = (*sources_)[s];
      const auto address =
          AddressOf(*entry.endpoint, prepared.source.plan.port, options_.metrics_labels);
      std::shared_ptr<Job> job;
      for (auto& candidate : old) {
        if (candidate == nullptr || former[candidate->source].plan_key != prepared.plan_key ||
            candidate->address != address) {
          continue;
        }
        job = std::exchange(candidate, nullptr);
        break;
      }
      if (job != nullptr) {
        job->source = s;
      } else {
        job = std::make_shared<Job>();
        job->endpoint_id = entry.endpoint->abi().id;
        job->source = s;
        job->address = address;
        http::FetchTarget target;
        target.host = address.first;
        target.port = address.second;
        target.path = prepared.path;
        target.tls = prepared.tls;
        job->target = fetcher_.Add(std::move(target));
        Fetch(job);
      }
      entry.jobs.push_back(std::move(job));
    }
    for (const auto& job : old) {
      if (job != nullptr) Drop(*job);
    }
  }

  void Drop(Job& job) {
    job.dead = true;
    fetcher_.Remove(job.target);
  }

  void Fetch(const std::shared_ptr<Job>& job) {
    if (job->dead) return;
    job->started_ns = Now();
    ++job->status.fetches;
    fetcher_.Fetch(job->target, options_.timeout_ns, (*sources_)[job->source].max_body_bytes,
                   [this, job](const http::FetchResult& result) {
                     if (!job->dead) Fetched(job, result);
                   });
  }

  void Fetched(const std::shared_ptr<Job>& job, const http::FetchResult& result) {
    if (result.error == http::FetchError::kCancelled) return;
    const Prepared& prepared = (*sources_)[job->source];
    FetchStatus& status = job->status;
    bool polled = false;
    if (result.error != http::FetchError::kNone) {
      status.last_error =
          absl::StrFormat("%s: %s", http::FetchErrorName(result.error), result.detail);
    } else if (result.status != 200) {
      status.last_error = absl::StrFormat("HTTP status %d, want 200", result.status);
    } else {
      polled = true;
    }
    bool good = false;
    if (!polled) {
      if (observer_ != nullptr) observer_->PollFailed(prepared.source.type);
    } else {
      good = Extract(*job, prepared, result);
    }
    if (good) {
      status.last_good_ns = Now();
      status.failures_in_a_row = 0;
      status.last_error.clear();
    } else {
      ++status.failures;
      ++status.failures_in_a_row;
      // A page that is there but unreadable does not make the endpoint unreachable.
      if (!polled && prepared.sample &&
          (result.error == http::FetchError::kConnect ||
           status.failures_in_a_row >= options_.unreachable_after)) {
        pool_->SetUnreachable(job->endpoint_id);
      }
    }
    const uint64_t due = job->started_ns + Delay(prepared, status);
    fetcher_.RunAt(due, [this, job] { Fetch(job); });
  }

  // From the start of one fetch to that of the next.
  uint64_t Delay(const Prepared& prepared, const FetchStatus& status) {
    uint64_t delay = prepared.interval_ns;
    if (status.failures_in_a_row != 0 && delay < options_.max_backoff_ns) {
      const uint32_t doublings = std::min<uint32_t>(status.failures_in_a_row, 20);
      delay = std::min(delay << doublings, options_.max_backoff_ns);
    }
    // Endpoints that joined together spread out: anywhere in the first period, then a tenth around.
    const double unit = std::uniform_real_distribution<double>(0, 1)(random_);
    const double factor = status.fetches == 1 ? 0.1 + 0.9 * unit : 0.9 + 0.2 * unit;
    return static_cast<uint64_t>(static_cast<double>(delay) * factor);
  }

  // True when the page counts as a good sample for one of the extractors, or nobody reads it.
  bool Extract(Job& job, const Prepared& prepared, const http::FetchResult& result) {
    const Entry& entry = entries_.at(job.endpoint_id);
    // Extractors may read a little beyond the body, up to zeros.
    if (body_.capacity() > kKeptBodyBytes && result.body.size() < kKeptBodyBytes / 2) {
      body_ = std::vector<char>();
    }
    body_.resize(result.body.size() + kBodyPadding);
    if (!result.body.empty()) std::memcpy(body_.data(), result.body.data(), result.body.size());
    std::memset(body_.data() + result.body.size(), 0, kBodyPadding);
    epp_scrape in{};
    in.struct_size = sizeof(in);
    in.endpoint = &entry.endpoint->abi();
    in.body = {body_.data(), result.body.size()};
    in.content_type = {result.content_type.data(), result.content_type.size()};
    in.now_ns = Now();

    bool good = prepared.source.extractors.empty();
    sink_.Clear();
    for (const Extractor& extractor : prepared.source.extractors) {
      if (extractor.guard != nullptr && extractor.guard->stuck()) continue;
      epp_error err{sizeof(epp_error), EPP_OK, {}};
      const epp_sink* sink = sink_.For(extractor);
      epp_status code;
      if (extractor.guard != nullptr) {
        const loader::InFlight inside(*extractor.guard, loader::Entry::kScraper, in.now_ns);
        code = extractor.table->scrape(extractor.self, &in, sink, &err);
      } else {
        code = extractor.table->scrape(extractor.self, &in, sink, &err);
      }
      good |= code == EPP_OK;
      if (code == EPP_OK && sink_.refused() == 0) continue;
      err.message[sizeof(err.message) - 1] = '\0';
      job.status.last_error = absl::StrFormat(
          "%s: %s", extractor.type,
          code == EPP_OK ? "wrote attributes that it does not declare" : err.message);
      if (observer_ != nullptr) {
        observer_->ExtractFailed(prepared.source.type, extractor.type);
      }
    }
    pool_->Update(job.endpoint_id, sink_.values(), good && prepared.sample);
    return good;
  }

  pool::Pool* const pool_;
  const Options options_;
  Observer* const observer_;
  std::minstd_rand random_;
  Sink sink_;
  std::vector<char> body_;
  std::map<uint64_t, Entry> entries_;
  std::shared_ptr<std::vector<Prepared>> sources_;
  std::atomic<bool> pinged_{false};
  std::atomic<uint64_t> rounds_{0};  // written by the loop only
  http::Fetcher fetcher_;            // last: once it is gone nothing runs any more
};

ScrapeLoop::ScrapeLoop(pool::Pool* pool, Options options, Observer* observer)
    : impl_(std::make_shared<Impl>(pool, options, observer)) {
  impl_->Start();
}

ScrapeLoop::~ScrapeLoop() { impl_->Stop(); }

absl::Status ScrapeLoop::SetSources(std::vector<Source> sources) {
  return impl_->SetSources(std::move(sources));
}

std::vector<FetchStatus> ScrapeLoop::status() const { return impl_->Status(); }

void ScrapeLoop::Ping() { impl_->Ping(); }

uint64_t ScrapeLoop::rounds() const { return impl_->rounds(); }

}  // namespace epp::scrape
