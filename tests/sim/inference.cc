#include "tests/sim/inference.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/sim/prompt.h"
#include "tests/sim/text.h"

namespace epp::sim {
namespace {

constexpr size_t kMaxLoraStates = 16;
// Far enough for any test, near enough for the clock's arithmetic.
constexpr auto kLongestSleep = std::chrono::hours(1);

double Seconds(SimTime time) { return std::chrono::duration<double>(time).count(); }

double UnixTime() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

const char* IdPrefix(ApiKind kind) {
  switch (kind) {
    case ApiKind::kCompletions:
      return "cmpl-";
    case ApiKind::kChat:
      return "chatcmpl-";
    case ApiKind::kMessages:
      return "msg_";
    case ApiKind::kResponses:
      return "resp_";
    case ApiKind::kEmbeddings:
      return "embd-";
    case ApiKind::kGenerate:
      return "gen-";
  }
  return "";
}

}  // namespace

struct Inference::Alarm {
  explicit Alarm(boost::asio::io_context& io) : timer(io) {}
  boost::asio::steady_timer timer;
};

struct Inference::Job {
  struct Progress {
    uint64_t engine_id = 0;
    uint32_t transferred_tokens = 0;
    SimTime scheduled = kNever;
    SimTime first_token{};
    SimTime last_token{};
    bool running = false;
    bool finished = false;
  };

  std::shared_ptr<Connection> connection;
  ApiAnswer answer;
  Delivery delivery;
  uint64_t log_number = 0;
  std::string adapter;
  SimTime arrival{};
  std::vector<Progress> progress;  // one per choice
  size_t unfinished = 0;
  bool stream_started = false;
  uint32_t tokens_sent = 0;
  KvLeg leg;
  PromptFacts prompt;
};

struct Inference::Waiter {
  Waiter(boost::asio::io_context& io, std::unique_ptr<Job> waiting)
      : timer(io), job(std::move(waiting)) {}
  boost::asio::steady_timer timer;
  std::unique_ptr<Job> job;
};

void Deliver(Connection* connection, const std::string& server, const Delivery& delivery,
             HttpResponse response) {
  response.headers.emplace_back("x-sim-server", server);
  if (delivery.content_type) response.content_type = *delivery.content_type;
  const size_t half = response.body.size() / 2;
  connection->Respond(std::move(response), delivery.truncate_after ? half : Connection::kWholeBody);
}

Inference::Inference(boost::asio::io_context& io, const ServerOptions& options, RequestLog* log,
                     TransferHub* hub, uint64_t incarnation)
    : options_(options),
      log_(log),
      io_(io),
      engine_(options.engine),
      transfers_(hub, options, incarnation),
      alarm_(std::make_shared<Alarm>(io)),
      epoch_(std::chrono::steady_clock::now()),
      started_s_(static_cast<int64_t>(UnixTime())) {
  transfers_.Join(
      [this](std::span<const uint64_t> hashes) { return engine_.CachedBlocks(hashes); });
}

Inference::~Inference() = default;

SimTime Inference::Now() const {
  const std::chrono::duration<double, std::nano> real = std::chrono::steady_clock::now() - epoch_;
  return SimTime(static_cast<int64_t>(real.count() * options_.speed));
}

void Inference::Drive() {
  std::vector<EngineEvent> events;
  engine_.Advance(Now(), &events);
  for (const EngineEvent& event : events) OnEvent(event);
  Arm();
}

void Inference::Arm() {
  const SimTime next = engine_.NextEventTime();
  if (next == kNever) {
    alarm_->timer.cancel();
    return;
  }
  const std::chrono::duration<double, std::nano> real(static_cast<double>(next.count()) /
                                                      options_.speed);
  // One more nanosecond: rounding must not wake it just before the event.
  const auto due = epoch_ +
                   std::chrono::nanoseconds(static_cast<int64_t>(std::min(real.count(), 9e18))) +
                   std::chrono::nanoseconds(1);
  alarm_->timer.expires_at(std::min(due, std::chrono::steady_clock::now() + kLongestSleep));
  // The alarm may already have gone off when this object goes away.
  alarm_->timer.async_wait(
      [this, alive = std::weak_ptr(alarm_)](const boost::system::error_code& cancelled) {
        if (!cancelled && !alive.expired()) Drive();
      });
}

absl::Status Inference::Plan(ApiAnswer* answer, bool one_token) const {
  const ApiRequest& request = answer->request;
  for (const std::string& prompt : request.prompts) {
    ApiChoice choice;
    choice.prompt_tokens = CountTokens(prompt);
    const uint64_t limit = engine_.MaxRequestTokens();
    uint64_t tokens = 0;
    if (request.kind != ApiKind::kEmbeddings) {
      tokens = std::max<uint64_t>(options_.output_tokens, 1);
      if (request.ignore_eos) tokens = request.max_tokens.value_or(static_cast<uint32_t>(tokens));
      tokens = std::max<uint64_t>(tokens, request.min_tokens);
      if (request.max_tokens) tokens = std::min<uint64_t>(tokens, *request.max_tokens);
      if (!request.max_tokens && choice.prompt_tokens < limit) {
        tokens = std::min(tokens, limit - choice.prompt_tokens);
      }
      if (one_token) tokens = std::min<uint64_t>(tokens, 1);
      choice.reached_limit = request.max_tokens && tokens == *request.max_tokens;
    }
    if (choice.prompt_tokens + tokens > limit) {
      return absl::InvalidArgumentError(absl::StrCat(
          "This model's maximum context length is ", limit, " tokens. However, you requested ",
          choice.prompt_tokens + tokens, " tokens (", choice.prompt_tokens, " in the prompt, ",
          tokens, " in the completion)."));
    }
    choice.text = OutputText(HashText(prompt), 0, static_cast<uint32_t>(tokens));
    answer->choices.push_back(std::move(choice));
  }
  return absl::OkStatus();
}

void Inference::Start(const std::shared_ptr<Connection>& connection, ApiRequest request,
                      Delivery delivery, uint64_t log_number) {
  auto job = std::make_unique<Job>();
  job->connection = connection;
  job->delivery = std::move(delivery);
  job->log_number = log_number;
  ApiAnswer& answer = job->answer;
  answer.model = request.model.empty() ? options_.models.front() : request.model;
  answer.id = request.request_id.empty()
                  ? absl::StrCat(IdPrefix(request.kind), options_.name, "-", next_answer_++)
                  : request.request_id;
  answer.server = options_.name;
  answer.created_s = static_cast<int64_t>(UnixTime());
  answer.request = std::move(request);
  const bool is_adapter =
      std::find(options_.loras.begin(), options_.loras.end(), answer.model) != options_.loras.end();
  if (is_adapter) job->adapter = answer.model;
  answer.hands_over = options_.transfer.kv != KvConnector::kAny;
  if (absl::Status status = PlanTransfer(job.get()); !status.ok()) return RefuseAs(*job, status);
  if (Declines(job.get())) return;
  absl::StatusOr<std::string> media = transfers_.TakeMedia(job->leg, answer.request, job->prompt);
  if (!media.ok()) return RefuseAs(*job, media.status());
  answer.ec_params = *std::move(media);
  if (transfers_.MustWait(job->leg)) return Await(std::move(job));
  Launch(std::move(job));
}

absl::Status Inference::PlanTransfer(Job* job) {
  ApiAnswer& answer = job->answer;
  absl::StatusOr<KvLeg> leg = transfers_.Read(answer.request);
  if (!leg.ok()) return leg.status();
  job->leg = *std::move(leg);
  const bool prefills = job->leg.kind == KvLeg::Kind::kPrefill;
  if (LoggedRequest* entry = log_->Find(job->log_number); entry && answer.hands_over) {
    entry->leg = prefills ? "prefill" : job->leg.kind == KvLeg::Kind::kDecode ? "decode" : "";
  }
  // SGLang's prefill side stops by itself.
  const bool stops = prefills && options_.transfer.kv == KvConnector::kSglang;
  if (absl::Status status = Plan(&answer, stops); !status.ok()) return status;

  PromptFacts& prompt = job->prompt;
  const uint64_t salt = HashText(absl::StrCat(job->adapter, "\n", answer.request.cache_salt));
  std::string all;
  for (size_t i = 0; i < answer.choices.size(); ++i) {
    prompt.tokens += answer.choices[i].prompt_tokens;
    absl::StrAppend(&all, answer.request.prompts[i], "\n");
  }
  prompt.hash = HashText(all) ^ salt;
  prompt.block_tokens = engine_.config().block_tokens;
  prompt.block_hashes = BlockHashes(answer.request.prompts.front(), prompt.block_tokens, salt);
  return absl::OkStatus();
}

bool Inference::Declines(Job* job) {
  ApiAnswer& answer = job->answer;
  if (options_.transfer.kv != KvConnector::kSharedStorage || !answer.request.cache_hit_threshold) {
    return false;
  }
  const PromptFacts& prompt = job->prompt;
  const uint32_t own = engine_.CachedBlocks(prompt.block_hashes) * prompt.block_tokens;
  const double cached = std::max(own, transfers_.Stored(prompt));
  if (cached >= *answer.request.cache_hit_threshold * prompt.tokens) return false;
  transfers_.CountDeclined();
  answer.declined = true;
  Connection* const connection = job->connection.get();
  if (!answer.request.stream) {
    Deliver(connection, options_.name, job->delivery, Response(*job, 200, PlainBody(answer)));
    return true;
  }
  StartStream(*job);
  connection->WriteChunk(StreamStart(answer) + StreamFinish(answer, 0) + StreamEnd(answer));
  connection->EndStream();
  return true;
}

void Inference::Await(std::unique_ptr<Job> job) {
  Connection* const connection = job->connection.get();
  const auto waiter = std::make_shared<Waiter>(io_, std::move(job));
  waiting_[connection] = waiter;
  waiter->timer.expires_after(std::chrono::milliseconds(options_.transfer.wait_ms));
  // Also runs when the blocks have come; not after the client has gone.
  waiter->timer.async_wait(
      [this, connection, alive = std::weak_ptr(waiter)](const boost::system::error_code&) {
        const auto still = alive.lock();
        if (still == nullptr) return;
        waiting_.erase(connection);
        Launch(std::move(still->job));
      });
  transfers_.Wait(waiter->job->leg, [alive = std::weak_ptr(waiter)] {
    if (const auto still = alive.lock()) still->timer.cancel();
  });
}

void Inference::Launch(std::unique_ptr<Job> job) {
  const auto connection = job->connection;
  const ApiAnswer& answer = job->answer;
  const absl::StatusOr<uint32_t> transferred = transfers_.Take(job->leg, job->prompt);
  if (!transferred.ok()) return RefuseAs(*job, transferred.status());
  uint32_t left = *transferred;

  job->arrival = Now();
  // Blocks are shared within one adapter and one salt only.
  const uint64_t salt = HashText(absl::StrCat(job->adapter, "\n", answer.request.cache_salt));
  for (size_t i = 0; i < answer.choices.size(); ++i) {
    const ApiChoice& choice = answer.choices[i];
    EngineRequest work;
    work.id = next_id_++;
    work.prompt_tokens = choice.prompt_tokens;
    work.output_tokens = static_cast<uint32_t>(choice.text.size() / kBytesPerToken);
    work.block_hashes =
        BlockHashes(answer.request.prompts[i] + choice.text, engine_.config().block_tokens, salt);
    work.transferred_tokens = std::min(left, choice.prompt_tokens);
    left -= work.transferred_tokens;
    job->progress.push_back({.engine_id = work.id, .transferred_tokens = work.transferred_tokens});
    parts_[work.id] = {.job = job.get(), .choice = i};
    metrics_.prompt_tokens.Observe(choice.prompt_tokens);
    if (answer.request.max_tokens) metrics_.max_tokens.Observe(*answer.request.max_tokens);
    // Plan has checked what Submit refuses.
    if (absl::Status status = engine_.Submit(std::move(work), job->arrival); !status.ok()) {
      for (const auto& progress : job->progress) {
        engine_.Cancel(progress.engine_id);
        parts_.erase(progress.engine_id);
      }
      return RefuseAs(*job, status);
    }
  }
  if (LoggedRequest* entry = log_->Find(job->log_number)) {
    entry->prompt_tokens = job->prompt.tokens;
    entry->transferred_tokens = *transferred;
  }
  job->unfinished = job->progress.size();
  CountAdapter(job->adapter, static_cast<int>(job->unfinished), 0);
  Job* const started = job.get();
  jobs_[connection.get()] = std::move(job);
  if (answer.request.stream && answer.request.kind != ApiKind::kEmbeddings) {
    StartStream(*started);
    if (started->delivery.truncate_after == 0u) {
      connection->CloseWhenWritten({});
      return;
    }
  }
  Arm();
}

void Inference::StartStream(const Job& job) {
  HttpResponse head = Response(job, 200, {});
  head.content_type = job.delivery.content_type.value_or("text/event-stream; charset=utf-8");
  head.headers.emplace_back("x-sim-server", options_.name);
  job.connection->StartStream(head);
}

void Inference::RefuseAs(const Job& job, const absl::Status& status) {
  // Blocks that are not there are the engine's failure, a bad request is the client's.
  const bool clients = status.code() == absl::StatusCode::kInvalidArgument;
  if (LoggedRequest* entry = log_->Find(job.log_number)) {
    entry->error = FromAbsl(status.message());
  }
  Refuse(job.connection.get(), job, clients ? 400 : 500, FromAbsl(status.message()));
}

HttpResponse Inference::Response(const Job& job, int status, std::string body) const {
  if (LoggedRequest* entry = log_->Find(job.log_number)) entry->status = status;
  return {.status = status, .headers = {}, .body = std::move(body)};
}

void Inference::Refuse(Connection* connection, const Job& job, int status,
                       std::string_view message) {
  Deliver(connection, options_.name, job.delivery,
          Response(job, status, ErrorBody(job.answer.request.kind, status, message)));
}

void Inference::OnEvent(const EngineEvent& event) {
  const auto part = parts_.find(event.request);
  if (part == parts_.end()) return;  // dropped by an earlier event of the same batch
  Job* const job = part->second.job;
  const size_t choice = part->second.choice;
  Job::Progress& progress = job->progress[choice];
  switch (event.kind) {
    case EngineEvent::Kind::kScheduled:
      progress.running = true;
      CountAdapter(job->adapter, -1, 1);
      if (progress.scheduled != kNever) return;
      progress.scheduled = event.at;
      metrics_.queue_time.Observe(Seconds(event.at - job->arrival));
      job->answer.choices[choice].cached_tokens = event.cached_tokens;
      // As vLLM counts: what came from elsewhere was not computed either.
      if (job->answer.hands_over) {
        job->answer.choices[choice].cached_tokens =
            std::max(event.cached_tokens, progress.transferred_tokens);
      }
      if (LoggedRequest* entry = log_->Find(job->log_number)) {
        entry->cached_tokens += event.cached_tokens;
      }
      return;
    case EngineEvent::Kind::kPreempted:
      progress.running = false;
      CountAdapter(job->adapter, 1, -1);
      return;
    case EngineEvent::Kind::kFirstToken:
    case EngineEvent::Kind::kToken:
      return OnToken(job, choice, event);
    case EngineEvent::Kind::kFinished:
      return OnFinished(job, choice, event);
  }
}

void Inference::OnToken(Job* job, size_t choice, const EngineEvent& event) {
  Job::Progress& progress = job->progress[choice];
  if (event.kind == EngineEvent::Kind::kFirstToken) {
    progress.first_token = event.at;
    metrics_.time_to_first_token.Observe(Seconds(event.at - job->arrival));
    metrics_.prefill_time.Observe(Seconds(event.at - progress.scheduled));
  } else {
    metrics_.inter_token_latency.Observe(Seconds(event.at - progress.last_token));
  }
  progress.last_token = event.at;
  job->answer.choices[choice].output_tokens = event.tokens;
  if (LoggedRequest* entry = log_->Find(job->log_number)) ++entry->output_tokens;
  if (!job->answer.request.stream) return;
  std::string events;
  if (!std::exchange(job->stream_started, true)) events = StreamStart(job->answer);
  events += StreamToken(job->answer, choice);
  job->connection->WriteChunk(events);
  if (++job->tokens_sent == job->delivery.truncate_after) {
    const auto connection = job->connection;
    Drop(job);
    connection->CloseWhenWritten({});
  }
}

void Inference::OnFinished(Job* job, size_t choice, const EngineEvent& event) {
  Job::Progress& progress = job->progress[choice];
  const ApiChoice& done = job->answer.choices[choice];
  progress.finished = true;
  parts_.erase(progress.engine_id);
  CountAdapter(job->adapter, 0, -1);
  ++(done.reached_limit ? metrics_.finished_length : metrics_.finished_stop);
  metrics_.e2e_latency.Observe(Seconds(event.at - job->arrival));
  metrics_.generation_tokens.Observe(done.output_tokens);
  if (done.output_tokens > 1) {
    const double decode = Seconds(event.at - progress.first_token);
    metrics_.decode_time.Observe(decode);
    metrics_.time_per_output_token.Observe(decode / (done.output_tokens - 1));
  }
  if (job->stream_started) job->connection->WriteChunk(StreamFinish(job->answer, choice));
  if (--job->unfinished == 0) Complete(job);
}

void Inference::Complete(Job* job) {
  const auto node = jobs_.extract(job->connection.get());
  job->answer.kv_params =
      transfers_.Finish(job->leg, job->answer.request, job->prompt, job->answer.id,
                        job->answer.choices.front().reached_limit);
  if (job->stream_started) {
    // A stream shorter than the fault allows still must not end well.
    if (job->delivery.truncate_after) return job->connection->CloseWhenWritten({});
    job->connection->WriteChunk(StreamEnd(job->answer));
    return job->connection->EndStream();
  }
  Deliver(job->connection.get(), options_.name, job->delivery,
          Response(*job, 200, PlainBody(job->answer)));
}

void Inference::Abandon(Connection* connection) {
  waiting_.erase(connection);
  const auto it = jobs_.find(connection);
  if (it == jobs_.end()) return;
  Drop(it->second.get());
  Arm();
}

void Inference::Drop(Job* job) {
  for (const Job::Progress& progress : job->progress) {
    if (progress.finished) continue;
    engine_.Cancel(progress.engine_id);
    parts_.erase(progress.engine_id);
    CountAdapter(job->adapter, progress.running ? 0 : -1, progress.running ? -1 : 0);
    ++metrics_.finished_abort;
  }
  jobs_.erase(job->connection.get());
}

void Inference::CountAdapter(const std::string& adapter, int waiting, int running) {
  if (adapter.empty()) return;
  AdapterUse& use = adapters_[adapter];
  use.waiting += waiting;
  use.running += running;
  LoraState state;
  const auto append = [](const std::string& name, std::string* list) {
    absl::StrAppend(list, list->empty() ? "" : ",", name);
  };
  for (const auto& [name, count] : adapters_) {
    if (count.running > 0) append(name, &state.running);
    if (count.waiting > 0) append(name, &state.waiting);
  }
  // The newest state is the one with the greatest time, so times must differ.
  state.since_s = UnixTime();
  for (const LoraState& old : lora_states_) {
    state.since_s = std::max(state.since_s, old.since_s + 1e-6);
  }
  std::erase_if(lora_states_, [&state](const LoraState& old) {
    return old.running == state.running && old.waiting == state.waiting;
  });
  if (lora_states_.size() >= kMaxLoraStates) lora_states_.erase(lora_states_.begin());
  lora_states_.push_back(std::move(state));
}

std::string Inference::Metrics(const PinnedMetrics& pinned) {
  MetricsPage page;
  page.engine = stats();
  page.model = options_.models.front();
  page.waiting = pinned.waiting.value_or(page.engine.waiting);
  page.running = pinned.running.value_or(page.engine.running);
  page.kv_usage = pinned.kv.value_or(page.engine.KvUsage());
  page.config = engine_.config();
  page.max_lora = options_.loras.empty() ? 0 : options_.max_loras;
  page.lora = lora_states_;
  if (page.lora.empty()) page.lora.push_back({.running = "", .waiting = "", .since_s = 0});
  page.lora.front().since_s = std::max<double>(page.lora.front().since_s, 1);
  page.started_s = static_cast<double>(started_s_);
  page.min_bytes = options_.metrics_bytes;
  return RenderMetrics(page, metrics_);
}

EngineStats Inference::stats() {
  Drive();
  return engine_.stats();
}

}  // namespace epp::sim
