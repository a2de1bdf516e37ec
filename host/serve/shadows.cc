#include "host/serve/shadows.h"

#include <set>
#include <utility>

#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/runtime/state_transfer.h"
#include "host/telemetry/log.h"

namespace epp::serve {
namespace {

constexpr ConditionSpec kShadowRefused{"shadow-refused", 0};
constexpr size_t kDigestDigits = 8;
constexpr double kNsPerMinute = 60e9;

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// Tells the candidate's instances from the live ones of the same name.
class ShadowLog final : public loader::LogSink {
 public:
  bool Enabled(int32_t level) noexcept override { return log_.Enabled(level); }
  void Log(std::string_view type, std::string_view name, int32_t level,
           std::string_view message) noexcept override {
    log_.Log(type, StrCat("shadow.", name), level, message);
  }

 private:
  PluginLog log_;
};

telemetry::EppMetricsOptions MetricsOptions(uint32_t workers) {
  telemetry::EppMetricsOptions options;
  options.workers = static_cast<int>(workers);
  return options;
}

loader::HostServicesOptions HostOptions(Platform& platform, loader::LogSink* log,
                                        loader::MetricSink* metrics) {
  loader::HostServicesOptions options;
  options.worker_count = platform.workers();
  options.log = log;
  options.metrics = metrics;
  options.interner = &platform.pool().interner();
  options.extensions = &platform.hub();
  return options;
}

// Producers that learn from what they are told: the candidate's own.
std::vector<std::string> OwnProducers(const runtime::Generation& candidate) {
  std::vector<std::string> names;
  for (size_t i = 0; i < candidate.instances().size(); ++i) {
    const loader::Instance& instance = *candidate.instances()[i];
    if (!candidate.shared(i) && scheduling::IsProducer(instance.type()) &&
        instance.type().Implements(EPP_PRE_REQUEST_ID)) {
      names.push_back(instance.name());
    }
  }
  return names;
}

// Attributes that the candidate would scrape and the live generation does not.
std::vector<std::string> Unfed(const runtime::Generation& candidate,
                               const runtime::Generation& live, pool::Pool& pool) {
  std::set<pool::AttributeId> fed;
  for (const runtime::DataSource& source : live.sources()) {
    for (const runtime::Extractor& e : source.extractors) {
      fed.insert(e.attributes.begin(), e.attributes.end());
    }
  }
  std::set<std::string> keys;
  for (const runtime::DataSource& source : candidate.sources()) {
    for (const runtime::Extractor& e : source.extractors) {
      for (const pool::AttributeId id : e.attributes) {
        if (!fed.contains(id)) keys.insert(pool.attributes().info(id).key);
      }
    }
  }
  return {keys.begin(), keys.end()};
}

}  // namespace

// Where the candidates' own instances log and count.
struct Shadows::Aside {
  explicit Aside(Platform& platform)
      : registry(static_cast<int>(platform.workers())),
        epp_metrics(&registry, MetricsOptions(platform.workers())),
        metrics(&registry),
        host(HostOptions(platform, &log, &metrics)) {}

  telemetry::Registry registry;
  telemetry::EppMetrics epp_metrics;
  ShadowLog log;
  PluginMetrics metrics;
  loader::HostServices host;
};

// The last user of a candidate may be a worker, which must not run a plugin's destroy.
struct Shadows::Graveyard {
  std::mutex mutex;
  std::vector<std::unique_ptr<shadow::Candidate>> dead;

  void Clear() {
    std::vector<std::unique_ptr<shadow::Candidate>> now;
    {
      std::lock_guard lock(mutex);
      now.swap(dead);
    }
  }
};

struct Shadows::Session {
  ShadowOrder order;
  std::string digest;
  uint64_t started_ns = 0;
  uint64_t started_unix_ns = 0;
  uint64_t ended_ns = 0;  // 0: runs
  std::string ended;
  uint64_t rebuilds = 0;
  uint64_t generation = 0;          // the live one
  std::set<std::string> inherited;  // instances that began with what the live one had learned
  std::vector<shadow::OwnProducer> own_producers;
  std::vector<std::string> unfed;
  std::shared_ptr<shadow::Ledger> ledger;
  std::shared_ptr<shadow::Candidate> candidate;  // null when it is over
};

Shadows::Shadows(Parts parts)
    : parts_(std::move(parts)), graveyard_(std::make_shared<Graveyard>()) {
  CountInto(parts_.platform->registry());
}

Shadows::~Shadows() {
  callbacks_.clear();
  slot_.Publish(nullptr, 0);
  session_.reset();
  graveyard_->Clear();
}

void Shadows::Work(const std::shared_ptr<const runtime::Generation>& live) {
  std::vector<Asked> asked;
  {
    std::lock_guard lock(mutex_);
    asked.swap(asked_);
  }
  for (const Asked& one : asked) one.done(Answer(one, *live));
  FollowConfig(*live);
  Follow(*live);
  graveyard_->Clear();
}

bool Shadows::running() const { return session_ && session_->candidate; }

Shadows::Built Shadows::Build(const Session& session, const runtime::Generation& live,
                              config::Diagnostics& out) {
  if (!parts_.prove(session.order.text, out)) return {};
  if (!aside_) aside_ = std::make_unique<Aside>(*parts_.platform);
  const Platform::Aside aside{&live, &aside_->host, &aside_->epp_metrics};
  const runtime::Generation* const former =
      session.candidate ? &session.candidate->generation() : nullptr;
  std::unique_ptr<runtime::Generation> built =
      parts_.platform->Build(0, session.order.text, out, former, &aside);
  if (!built) return {};
  built->AttachToPool();
  Built result;
  result.inherited =
      runtime::StateCarrier(&aside_->epp_metrics).Copy(former ? *former : live, *built).plugins;
  // Columns that nobody read so far must be in the frame before the candidate sees a request.
  parts_.platform->pool().Publish();
  result.candidate = std::shared_ptr<shadow::Candidate>(
      new shadow::Candidate(std::move(built), live.serving(), session.ledger, parts_.clock),
      [graveyard = graveyard_](shadow::Candidate* dead) {
        std::lock_guard lock(graveyard->mutex);
        graveyard->dead.emplace_back(dead);
      });
  return result;
}

void Shadows::Adopt(Session& session, Built built, const runtime::Generation& live) {
  const runtime::Generation& candidate = built.candidate->generation();
  session.inherited.insert(built.inherited.begin(), built.inherited.end());
  session.own_producers.clear();
  for (std::string& name : OwnProducers(candidate)) {
    const bool inherited = session.inherited.contains(name);
    session.own_producers.push_back({std::move(name), inherited});
  }
  session.unfed = Unfed(candidate, live, parts_.platform->pool());
  session.generation = live.serving().number;
  session.candidate = std::move(built.candidate);
  slot_.Publish(session.candidate, session.order.sample);
}

bool Shadows::Begin(ShadowOrder order, const runtime::Generation& live, config::Diagnostics& out) {
  auto session = std::make_unique<Session>();
  session->order = std::move(order);
  const std::shared_ptr<const config::SourceText>& text = session->order.text;
  session->digest = Platform::DigestOf(*text);
  session->ledger = std::make_shared<shadow::Ledger>(parts_.platform->workers(), parts_.cpu_share);
  if (text->text.find_first_not_of(" \t\r\n") == std::string::npos) {
    out.Error({text, 1, 1}, "EPP-CFG-EMPTY", "the text is empty, want an EndpointPickerConfig");
    return false;
  }
  Built built = Build(*session, live, out);
  if (!built.candidate) return false;
  End("another was started");
  session->started_ns = parts_.clock->mono_ns();
  session->started_unix_ns = parts_.clock->unix_ns();
  EPP_LOG_EXEMPT(kInfo, "shadow", "shadow started",
                 {{"file", text->name},
                  {"digest", session->digest.substr(0, kDigestDigits)},
                  {"sample", session->order.sample},
                  {"seconds", session->order.planned_ns / 1'000'000'000}});
  parts_.conditions->Set(kShadowRefused, false);
  std::lock_guard lock(mutex_);
  past_ = Totals();
  session_ = std::move(session);
  Adopt(*session_, std::move(built), live);
  return true;
}

bool Shadows::End(std::string why) {
  parts_.conditions->Set(kShadowRefused, false);
  std::lock_guard lock(mutex_);
  if (!running()) return false;
  slot_.Publish(nullptr, 0);
  session_->candidate.reset();
  session_->ended_ns = parts_.clock->mono_ns();
  session_->ended = std::move(why);
  const shadow::Summary sum = session_->ledger->tally.Totals();
  EPP_LOG_EXEMPT(kInfo, "shadow", "shadow ended",
                 {{"file", session_->order.text->name},
                  {"digest", session_->digest.substr(0, kDigestDigits)},
                  {"why", session_->ended},
                  {"decisions", sum.decisions()},
                  {"agree", sum.agree},
                  {"shed", sum.shed}});
  return true;
}

void Shadows::Follow(const runtime::Generation& live) {
  uint64_t number = 0;
  bool over = false;
  {
    std::lock_guard lock(mutex_);
    if (!running()) return;
    const Session& s = *session_;
    over = s.order.planned_ns != 0 && parts_.clock->mono_ns() - s.started_ns >= s.order.planned_ns;
    number = s.generation;
  }
  if (over) {
    End("its time is over");
    return;
  }
  if (number == live.serving().number) return;
  config::Diagnostics diagnostics;
  // Only this thread changes the session, so it may be read without the lock.
  Built built = Build(*session_, live, diagnostics);
  if (!built.candidate) {
    const std::string why = StrCat("it is refused beside generation ", live.serving().number, ": ",
                                   FirstLine(diagnostics.Render()));
    const std::string file = session_->order.text->name;
    End(why);
    parts_.conditions->Set(kShadowRefused, true, StrCat("the shadow ", file, " ended: ", why));
    return;
  }
  std::lock_guard lock(mutex_);
  ++session_->rebuilds;
  Adopt(*session_, std::move(built), live);
}

// Keeps the shadow that the config names running, where no operator has begun another.
void Shadows::FollowConfig(const runtime::Generation& live) {
  if (looked_beside_ != live.serving().number) look_ = true;
  looked_beside_ = live.serving().number;
  // Only this thread changes the session, so it may be read without the lock.
  const bool runs = running();
  if (runs && !session_->order.from_config) {
    look_ = true;
    return;
  }
  if (!std::exchange(look_, false)) return;
  const std::optional<config::ShadowSpec>& spec = live.config().shadow;
  if (!spec) {
    if (runs) End("the config names it no more");
    return;
  }
  config::Diagnostics diagnostics;
  const auto text = ReadConfigFile(spec->file);
  if (!text.ok()) {
    diagnostics.Error({}, "EPP-CFG-READ",
                      {text.status().message().data(), text.status().message().size()});
  } else if (runs && session_->order.sample == spec->sample &&
             session_->digest == Platform::DigestOf(**text)) {
    parts_.conditions->Set(kShadowRefused, false);  // it was mended by taking a change back
    return;
  } else if (Begin({*text, spec->sample, 0, true}, live, diagnostics)) {
    return;
  }
  const std::string why = FirstLine(diagnostics.Render());
  EPP_LOG_EXEMPT(kError, "shadow", "shadow of the config refused",
                 {{"errors", diagnostics.Render()}});
  parts_.conditions->Set(kShadowRefused, true,
                         StrCat("the shadow that the config names was refused: ", why));
}

void Shadows::StartShadow(admin::ShadowAsk ask, Done done) {
  {
    std::lock_guard lock(mutex_);
    asked_.push_back({std::move(ask), std::move(done)});
  }
  parts_.wake();
}

void Shadows::StopShadow(Done done) {
  {
    std::lock_guard lock(mutex_);
    asked_.push_back({std::nullopt, std::move(done)});
  }
  parts_.wake();
}

admin::ShadowAnswer Shadows::Answer(const Asked& asked, const runtime::Generation& live) {
  admin::ShadowAnswer answer;
  const auto refuse = [&answer](std::string_view code, const std::string& text) {
    answer.refused = true;
    answer.text = text;
    JsonWriter w(&answer.json);
    w.BeginObject();
    w.Field("schema", "epp.error/1").Field("code", code).Field("detail", text).EndObject();
  };
  if (!asked.start) {
    if (!End("stopped")) {
      refuse("EPP-ADM-NO-SHADOW", "no shadow runs\n");
      return answer;
    }
    answer.json = ShadowJson();
    answer.text = ShadowText();
    return answer;
  }
  const admin::ShadowAsk& ask = *asked.start;
  {
    std::lock_guard lock(mutex_);
    if (running() && !session_->order.from_config) {
      refuse("EPP-ADM-SHADOW-RUNS",
             StrCat("a shadow runs already: ", session_->order.text->name, " digest ",
                    session_->digest.substr(0, kDigestDigits), "; epp shadow stop ends it\n"));
      return answer;
    }
  }
  config::Diagnostics diagnostics;
  ShadowOrder order{
      std::make_shared<const config::SourceText>(config::SourceText{ask.file, ask.text}),
      ask.sample, static_cast<uint64_t>(ask.minutes * kNsPerMinute), false};
  const uint64_t planned_s = order.planned_ns / 1'000'000'000;
  if (!Begin(std::move(order), live, diagnostics)) {
    refuse("EPP-ADM-SHADOW-REFUSED", StrCat(diagnostics.Render(), "refused; nothing changed\n"));
    return answer;
  }
  answer.json = ShadowJson();
  answer.text = StrCat(diagnostics.Render(), ShadowText(), "ends by itself in ",
                       planned_s < 120 ? StrCat(planned_s, " s") : StrCat(planned_s / 60, " min"),
                       "; epp shadow shows what it found, epp shadow stop ends it\n");
  return answer;
}

shadow::Report Shadows::Report() const {
  shadow::Report report;
  std::shared_ptr<shadow::Ledger> ledger;
  {
    std::lock_guard lock(mutex_);
    if (!session_) return report;
    const Session& s = *session_;
    report.state = s.candidate ? shadow::Report::State::kRunning : shadow::Report::State::kEnded;
    report.from_config = s.order.from_config;
    report.ended = s.ended;
    report.file = s.order.text->name;
    report.digest = s.digest.substr(0, kDigestDigits);
    report.sample = s.order.sample;
    report.started_unix_ns = s.started_unix_ns;
    report.elapsed_ns = (s.ended_ns ? s.ended_ns : parts_.clock->mono_ns()) - s.started_ns;
    report.planned_ns = s.order.planned_ns;
    report.generation = s.generation;
    report.rebuilds = s.rebuilds;
    report.own_producers = s.own_producers;
    report.unfed = s.unfed;
    ledger = s.ledger;
  }
  report.workers = parts_.platform->workers();
  report.endpoints = parts_.platform->pool().current()->size();
  report.summary = ledger->tally.Sum();
  for (const shadow::Picks& picks : report.summary.picks) {
    report.names.push_back(picks.endpoint ? parts_.names->Endpoint(picks.endpoint).name : "others");
  }
  return report;
}

shadow::Summary Shadows::Totals() const {
  shadow::Summary all = past_;
  if (!session_) return all;
  const shadow::Summary now = session_->ledger->tally.Totals();
  all.agree += now.agree;
  all.differ += now.differ;
  all.failed += now.failed;
  all.shed += now.shed;
  all.cpu_ns += now.cpu_ns;
  all.live_cached_tokens += now.live_cached_tokens;
  all.candidate_cached_tokens += now.candidate_cached_tokens;
  return all;
}

void Shadows::CountInto(telemetry::Registry& registry) {
  const auto add = [&](telemetry::FamilySpec spec,
                       std::function<void(const shadow::Summary&, const telemetry::Emit&)> emit) {
    auto callback = registry.CounterCallback(
        std::move(spec), [this, emit = std::move(emit)](const telemetry::Emit& out) {
          shadow::Summary totals;
          {
            std::lock_guard lock(mutex_);
            totals = Totals();
          }
          emit(totals, out);
        });
    if (callback.ok()) callbacks_.push_back(*std::move(callback));
  };
  add({"epp_shadow_requests_total",
       "Sampled requests: the same endpoint, another one, left out for the CPU budget, failed.",
       {"result"}},
      [](const shadow::Summary& s, const telemetry::Emit& out) {
        out({"agree"}, static_cast<double>(s.agree));
        out({"differ"}, static_cast<double>(s.differ));
        out({"shed"}, static_cast<double>(s.shed));
        out({"error"}, static_cast<double>(s.failed));
      });
  add({"epp_shadow_cpu_seconds_total", "CPU time of shadow decisions."},
      [](const shadow::Summary& s, const telemetry::Emit& out) {
        out({}, static_cast<double>(s.cpu_ns) * 1e-9);
      });
  add({"epp_shadow_cached_tokens_total",
       "Input tokens predicted to be cached where each config sent the request.",
       {"side"}},
      [](const shadow::Summary& s, const telemetry::Emit& out) {
        out({"live"}, static_cast<double>(s.live_cached_tokens));
        out({"candidate"}, static_cast<double>(s.candidate_cached_tokens));
      });
}

}  // namespace epp::serve
