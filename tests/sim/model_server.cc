#include "tests/sim/model_server.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdio>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/sim/text.h"

namespace epp::sim {
namespace {

constexpr char kPlainText[] = "text/plain; charset=utf-8";
constexpr char kMetricsText[] = "text/plain; version=0.0.4; charset=utf-8";

HttpResponse Json(int status, std::string body) {
  return {.status = status, .headers = {}, .body = std::move(body)};
}

HttpResponse Text(const char* type, std::string body) {
  return {.content_type = type, .headers = {}, .body = std::move(body)};
}

HttpResponse Failed(int status, std::string_view message) {
  return Json(status, ErrorBody(std::nullopt, status, message));
}

}  // namespace

struct ModelServer::Timers {
  explicit Timers(boost::asio::io_context& io) : revival(io) {}
  boost::asio::steady_timer revival;
  // Requests that a fault makes wait.
  std::map<Connection*, boost::asio::steady_timer> delayed;
};

ModelServer::ModelServer(boost::asio::io_context& io, ServerOptions options, TransferHub* hub,
                         FindSibling find_sibling)
    : io_(io),
      options_(std::move(options)),
      hub_(hub),
      find_sibling_(std::move(find_sibling)),
      log_(options_.log_requests),
      timers_(std::make_unique<Timers>(io)),
      inference_(std::make_unique<Inference>(io, options_, &log_, hub_, lives_)) {
  for (const Fault& fault : options_.faults) faults_.Set(fault);
}

ModelServer::~ModelServer() {
  stopping_ = true;
  listener_.reset();
}

absl::Status ModelServer::Listen() {
  absl::StatusOr<std::unique_ptr<Listener>> listener =
      Listener::Open(io_, options_.address, options_.port, this);
  if (!listener.ok()) return listener.status();
  listener_ = *std::move(listener);
  // Written once: others read the options from their threads.
  if (options_.port == 0) options_.port = listener_->port();
  return absl::OkStatus();
}

absl::Status ModelServer::Apply(const Fault& fault) {
  if (fault.kind == FaultKind::kDie) {
    Die(fault);
    return absl::OkStatus();
  }
  faults_.Set(fault);
  if (fault.kind != FaultKind::kNone) return absl::OkStatus();
  timers_->revival.cancel();
  return listener_ == nullptr ? Listen() : absl::OkStatus();
}

void ModelServer::Die(const Fault& fault) {
  if (stopping_) return;
  listener_.reset();
  inference_.reset();  // it leaves the others before its successor joins them
  inference_ = std::make_unique<Inference>(io_, options_, &log_, hub_, ++lives_);
  if (!fault.for_time) return;
  timers_->revival.expires_after(*fault.for_time);
  timers_->revival.async_wait([this](const boost::system::error_code& cancelled) {
    if (cancelled || listener_ != nullptr) return;
    if (const absl::Status status = Listen(); !status.ok()) {
      std::fprintf(stderr, "%s: cannot come back: %s\n", options_.name.c_str(),
                   std::string(status.message()).c_str());
    }
  });
}

void ModelServer::OnRequest(const std::shared_ptr<Connection>& connection, HttpRequest request) {
  if (request.path.starts_with("/sim/")) return Control(connection, request);
  uint64_t log_number = 0;
  if (request.path == "/metrics") {
    ++scrapes_;
  } else if (request.path != "/health") {
    LoggedRequest entry;
    entry.method = request.method;
    entry.path = request.path;
    entry.headers = request.headers;
    entry.body_bytes = request.body.size();
    log_number = log_.Add(std::move(entry));
  }
  // Unanswered until the client gives up.
  if (faults_.Hit(FaultKind::kHang, request.path)) return;
  const auto slow = faults_.Hit(FaultKind::kSlowHeaders, request.path);
  if (!slow) return Serve(connection, request, log_number);
  auto& timer = timers_->delayed.try_emplace(connection.get(), io_).first->second;
  timer.expires_after(slow->delay);
  timer.async_wait([this, connection, request = std::move(request),
                    log_number](const boost::system::error_code& cancelled) {
    if (cancelled || timers_->delayed.erase(connection.get()) == 0) return;
    Serve(connection, request, log_number);
  });
}

void ModelServer::OnAbandoned(Connection* connection) {
  timers_->delayed.erase(connection);
  inference_->Abandon(connection);
}

void ModelServer::Serve(const std::shared_ptr<Connection>& connection, const HttpRequest& request,
                        uint64_t log_number) {
  const std::string& path = request.path;
  const std::optional<ApiKind> kind = ApiKindOfPath(path);
  if (faults_.Hit(FaultKind::kDrop, path)) return connection->CloseWhenWritten({});
  Delivery delivery;
  if (faults_.Hit(FaultKind::kWrongContentType, path)) delivery.content_type = "text/html";
  if (const auto fault = faults_.Hit(FaultKind::kTruncate, path)) {
    delivery.truncate_after = fault->after_events;
  }
  const auto answer = [&](HttpResponse response) {
    Answer(connection.get(), delivery, log_number, std::move(response));
  };
  if (const auto fault = faults_.Hit(FaultKind::kHttpError, path)) {
    return answer(Json(fault->status, ErrorBody(kind, fault->status, "simulated failure")));
  }
  if (kind) {
    if (request.method != "POST") return answer(Json(405, R"({"detail":"Method Not Allowed"})"));
    return ServeApi(connection, *kind, request, delivery, log_number);
  }
  constexpr std::string_view kRender = "/render";
  const std::string_view rendered =
      std::string_view(path).ends_with(kRender)
          ? std::string_view(path).substr(0, path.size() - kRender.size())
          : std::string_view();
  if (const auto of = ApiKindOfPath(rendered);
      request.method == "POST" && (of == ApiKind::kCompletions || of == ApiKind::kChat)) {
    return answer(Render(*of, request.body, log_number));
  }
  if (path == "/metrics") return ServeMetrics(connection, delivery);
  if (path == "/health" || path == "/ping") return answer(Text(kPlainText, ""));
  if (path == "/v1/models") return answer(Json(200, Models()));
  if (path == "/query" && options_.transfer.kv == KvConnector::kMooncake) {
    return answer(Json(200, inference_->transfers().Query()));
  }
  if (path == "/version") return answer(Json(200, R"({"version":"0.11.0"})"));
  return answer(Json(404, R"({"detail":"Not Found"})"));
}

void ModelServer::ServeApi(const std::shared_ptr<Connection>& connection, ApiKind kind,
                           const HttpRequest& request, const Delivery& delivery,
                           uint64_t log_number) {
  const auto refuse = [&](int status, std::string_view message) {
    Answer(connection.get(), delivery, log_number, Json(status, ErrorBody(kind, status, message)));
  };
  absl::StatusOr<ApiRequest> parsed = ParseApiRequest(kind, request.body);
  if (!parsed.ok()) return refuse(400, FromAbsl(parsed.status().message()));
  if (LoggedRequest* entry = log_.Find(log_number)) entry->model = parsed->model;
  if (!KnowsModel(parsed->model)) {
    return refuse(404, absl::StrCat("The model `", parsed->model, "` does not exist."));
  }
  parsed->rank_header = request.Header("x-data-parallel-rank");
  inference_->Start(connection, *std::move(parsed), delivery, log_number);
}

HttpResponse ModelServer::Render(ApiKind kind, std::string_view body, uint64_t log_number) {
  const absl::StatusOr<ApiRequest> parsed = ParseApiRequest(kind, body);
  if (!parsed.ok()) return Json(400, ErrorBody(kind, 400, FromAbsl(parsed.status().message())));
  if (LoggedRequest* entry = log_.Find(log_number)) entry->model = parsed->model;
  if (!KnowsModel(parsed->model)) {
    return Json(
        404, ErrorBody(kind, 404, absl::StrCat("The model `", parsed->model, "` does not exist.")));
  }
  return Json(200, RenderBody(*parsed));
}

void ModelServer::ServeMetrics(const std::shared_ptr<Connection>& connection,
                               const Delivery& delivery) {
  if (faults_.Hit(FaultKind::kGarbageMetrics, "/metrics")) {
    return Answer(connection.get(), delivery, 0, Text(kMetricsText, GarbageMetrics()));
  }
  std::string page = inference_->Metrics(pinned_);
  const auto huge = faults_.Hit(FaultKind::kHugeMetrics, "/metrics");
  if (!huge) return Answer(connection.get(), delivery, 0, Text(kMetricsText, std::move(page)));

  HttpResponse head =
      Text(delivery.content_type ? delivery.content_type->c_str() : kMetricsText, "");
  head.headers.emplace_back("x-sim-server", options_.name);
  connection->StartStream(head);
  connection->WriteChunk(page);
  connection->StreamFrom([left = huge->bytes, number = uint64_t{0}]() mutable {
    if (left == 0) return std::string();
    std::string part = MetricsFiller(number++);
    left -= std::min<uint64_t>(left, part.size());
    return part;
  });
}

void ModelServer::Control(const std::shared_ptr<Connection>& connection,
                          const HttpRequest& request) {
  const auto answer = [&](HttpResponse response) {
    Answer(connection.get(), {}, 0, std::move(response));
  };
  const bool get = request.method == "GET";
  const bool post = request.method == "POST";
  const bool clear = request.method == "DELETE";
  if (request.path == "/sim/fault") return ControlFault(connection, request);
  if (request.path == "/sim/state" && get) return answer(Json(200, State()));
  if (request.path == "/sim/requests" && (get || clear)) {
    if (clear) log_.Clear();
    return answer(Json(200, log_.Json(options_.name)));
  }
  if (request.path == "/sim/metrics" && (post || clear)) {
    absl::StatusOr<PinnedMetrics> pinned = ParsePinnedMetrics(clear ? "{}" : request.body);
    if (!pinned.ok()) return answer(Failed(400, FromAbsl(pinned.status().message())));
    pinned_ = *pinned;
    return answer(Json(200, "{}"));
  }
  answer(Failed(404, absl::StrCat(request.method, " ", request.path, ": not known")));
}

void ModelServer::ControlFault(const std::shared_ptr<Connection>& connection,
                               const HttpRequest& request) {
  const auto answer = [&](HttpResponse response) {
    Answer(connection.get(), {}, 0, std::move(response));
  };
  if (request.method == "GET") return answer(Json(200, faults_.Json()));
  Fault fault;
  if (request.method == "POST") {
    absl::StatusOr<Fault> parsed = ParseFault(request.body);
    if (!parsed.ok()) return answer(Failed(400, FromAbsl(parsed.status().message())));
    fault = *std::move(parsed);
  } else if (request.method != "DELETE") {
    return answer(Json(405, R"({"detail":"Method Not Allowed"})"));
  }
  ModelServer* const target = fault.server.empty() ? this : find_sibling_(fault.server);
  if (target == nullptr) {
    return answer(Failed(404, absl::StrCat("server: no \"", fault.server, "\" in this process")));
  }
  if (target == this && fault.kind == FaultKind::kDie) {
    // The answer goes out first; whoever asked should know that it worked.
    answer(Json(200, "{}"));
    return connection->CloseWhenWritten([this, fault] { Die(fault); });
  }
  if (absl::Status status = target->Apply(fault); !status.ok()) {
    return answer(Failed(503, FromAbsl(status.message())));
  }
  answer(Json(200, target->faults_.Json()));
}

void ModelServer::Answer(Connection* connection, const Delivery& delivery, uint64_t log_number,
                         HttpResponse response) {
  if (LoggedRequest* entry = log_.Find(log_number)) entry->status = response.status;
  Deliver(connection, options_.name, delivery, std::move(response));
}

bool ModelServer::KnowsModel(std::string_view model) const {
  const auto lists = [model](const std::vector<std::string>& names) {
    return std::find(names.begin(), names.end(), model) != names.end();
  };
  return !options_.strict_models || model.empty() || lists(options_.models) ||
         lists(options_.loras);
}

std::string ModelServer::Models() const {
  std::vector<ModelEntry> models;
  for (const std::string& model : options_.models) models.push_back({.id = model, .parent = ""});
  for (const std::string& adapter : options_.loras) {
    models.push_back({.id = adapter, .parent = options_.models.front()});
  }
  return ModelsBody(models, inference_->started_s(), inference_->MaxRequestTokens());
}

std::string ModelServer::State() {
  const EngineStats now = stats();
  const TransferStats& moved = inference_->transfers().stats();
  return absl::StrFormat(
      R"({"waiting":%d,"running":%d,"kv":%g,"blocks":%d,"blocks_used":%d,"blocks_idle":%d,)"
      R"("finished":%d,"preemptions":%d,"prompt_tokens":%d,"cached_tokens":%d,)"
      R"("generated_tokens":%d,"evictions":%d,"scrapes":%d,)"
      R"("transferred_tokens":%d,"computed_tokens":%d,"transfers":{"issued":%d,"pending":%d,)"
      R"("received":%d,"received_tokens":%d,"refused":%d,"waited":%d,"pulled_tokens":%d,)"
      R"("loaded_tokens":%d,"declined":%d,"media_encoded":%d,"media_received":%d,)"
      R"("media_computed":%d}})",
      now.waiting, now.running, now.KvUsage(), now.blocks, now.blocks_used, now.blocks_idle,
      now.finished, now.preemptions, now.prompt_tokens, now.cached_tokens, now.generated_tokens,
      now.evictions, scrapes_, now.transferred_tokens,
      now.prompt_tokens - now.cached_tokens - now.transferred_tokens, moved.issued,
      inference_->transfers().pending(), moved.received, moved.received_tokens, moved.refused,
      moved.waited, moved.pulled_tokens, moved.loaded_tokens, moved.declined, moved.media_encoded,
      moved.media_received, moved.media_computed);
}

}  // namespace epp::sim
