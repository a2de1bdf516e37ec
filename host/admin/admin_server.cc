#include "host/admin/admin_server.h"

#include <atomic>
#include <charconv>
#include <chrono>
#include <utility>

#include "host/admin/answers.h"
#include "host/admin/deadlines.h"
#include "host/admin/decision_view.h"
#include "host/admin/match.h"
#include "host/admin/pool_view.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/telemetry/log.h"

namespace epp::admin {
namespace {

constexpr size_t kMaxListed = 500;

size_t NumberQuery(const http::Request& request, std::string_view name, size_t fallback,
                   size_t max) {
  const std::optional<std::string> text = request.Query(name);
  if (!text) return fallback;
  size_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return fallback;
  return std::min(value, max);
}

class Routes {
 public:
  explicit Routes(const AdminSources& sources) : s_(sources) {}

  http::Response Status(const http::Request& request) const {
    const admin::Status status = s_.backend->CurrentStatus();
    return WantsText(request) ? Text(StatusText(status)) : Json(StatusJson(status));
  }

  http::Response Pool(const http::Request& request) const {
    PoolQuery query;
    if (const auto sort = request.Query("sort")) query.sort = *sort;
    query.limit = NumberQuery(request, "limit", kMaxListed, 100'000);
    const uint64_t now = s_.clock->mono_ns();
    return WantsText(request) ? Text(PoolText(*s_.pool, now, query))
                              : Json(PoolJson(*s_.pool, now, query));
  }

  // Newest first. `last` bounds the list, `after` gives only records newer than that decision id.
  http::Response Decisions(const http::Request& request) const {
    const absl::StatusOr<Match> match = Match::Parse(request.Query("match").value_or(""));
    if (!match.ok()) {
      return Problem(400, "EPP-ADM-MATCH",
                     {match.status().message().data(), match.status().message().size()});
    }
    const size_t last = NumberQuery(request, "last", 20, kMaxListed);
    const uint64_t after = ParseDecisionId(request.Query("after").value_or(""));
    const bool full = request.Query("full").value_or("") == "1";
    const bool text = WantsText(request);
    std::string out;
    std::string list;
    JsonWriter w(&list);
    w.BeginObject();
    w.Field("schema", "epp.decisions/1").Field("total", s_.decisions->total());
    w.Key("decisions").BeginArray();
    size_t shown = 0;
    if (last > 0) {
      s_.decisions->Visit([&](const telemetry::DecisionRecord& record) {
        if (record.number <= after) return false;
        if (!match->Matches(record, *s_.names)) return true;
        if (text) {
          out += full ? DecisionText(record, *s_.names, Options(request)) + "\n"
                      : DecisionLine(record, *s_.names);
        } else {
          w.Raw(DecisionJson(record, *s_.names));
        }
        return ++shown < last;
      });
    }
    w.EndArray();
    w.EndObject();
    return text ? Text(std::move(out)) : Json(std::move(list));
  }

  http::Response Decision(const http::Request& request) const {
    const std::string_view id = request.Param("id");
    const uint64_t number = ParseDecisionId(id);
    http::Response response =
        Problem(404, "EPP-ADM-NO-DECISION", StrCat("no record of \"", id, "\"", OldestHint()));
    s_.decisions->Visit([&](const telemetry::DecisionRecord& record) {
      const bool hit = number != 0 ? record.number == number : record.request_id.view() == id;
      if (!hit) return true;
      response = WantsText(request) ? Text(DecisionText(record, *s_.names, Options(request)))
                                    : Json(DecisionJson(record, *s_.names));
      return false;
    });
    return response;
  }

  http::Response PluginState(const http::Request& request) const {
    std::string state = s_.backend->PluginStateJson(request.Param("instance"));
    if (state.empty()) {
      return Problem(404, "EPP-ADM-NO-PLUGIN",
                     StrCat("no plugin instance \"", request.Param("instance"), "\""));
    }
    return Json(std::move(state));
  }

  http::Response Log() const {
    std::string out;
    JsonWriter w(&out);
    w.BeginObject();
    w.Field("schema", "epp.log/1");
    w.Key("lines").BeginArray();
    for (const log::RecentLine& line : log::Recent()) w.Raw(line.json);
    w.EndArray();
    w.EndObject();
    return Json(std::move(out));
  }

  http::Response Generation(const http::Request& request) const {
    const std::string_view text = request.Param("number");
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    std::string document;
    if (error == std::errc() && end == text.data() + text.size()) {
      document = s_.backend->GenerationJson(number);
    }
    if (!document.empty()) return Json(std::move(document));
    return Problem(404, "EPP-ADM-NO-GENERATION",
                   StrCat("generation ", text.substr(0, 20),
                          " is not kept; kept: ", s_.backend->KeptGenerations()));
  }

  const AdminSources& sources() const { return s_; }

 private:
  static ExplainOptions Options(const http::Request& request) {
    return {.all = request.Query("all").value_or("") == "1",
            .columns = request.Query("columns").value_or("") == "1"};
  }

  // How far back the ring reaches, for who asked for something older.
  std::string OldestHint() const {
    if (!s_.decisions->enabled()) return "; records are off ([decisions] records = 0)";
    uint64_t oldest = 0;
    s_.decisions->Visit([&](const telemetry::DecisionRecord& record) {
      oldest = record.unix_ns;
      return true;
    });
    if (oldest == 0) return "; no decision was made yet";
    return StrCat("; the oldest kept is ", (s_.clock->unix_ns() - oldest) / 1'000'000'000,
                  " s old, [decisions] records keeps more");
  }

  const AdminSources s_;
};

// What changes something.
class Changes {
 public:
  Changes(const AdminSources& sources, bool read_only) : s_(sources), read_only_(read_only) {}

  void Ask(const http::Request& request, absl::StatusOr<ChangeBody> body, http::Responder to) {
    if (read_only_ && !(request.peer.unix_socket && request.peer.uid == 0)) {
      return Send(Problem(403, "EPP-ADM-READ-ONLY", "[admin] read_only is on"), to);
    }
    if (!body.ok()) {
      const auto message = body.status().message();
      return Send(Problem(400, "EPP-ADM-BODY", {message.data(), message.size()}), to);
    }
    Change& change = body->change;
    change.actor = ActorOf(request.peer);
    const bool back = change.rollback_to.has_value();
    EPP_LOG_EXEMPT(kInfo, "admin", back ? "rollback asked for" : "reload asked for",
                   {{"actor", change.actor}});
    const bool text = WantsText(request);
    if (!body->wait || body->wait->count() == 0) return Accept(std::move(change), text, to);
    Wait(std::move(change), *body->wait, text, std::move(to));
  }

 private:
  // One request that two may answer.
  struct Waiting {
    explicit Waiting(http::Responder to) : to(std::move(to)) {}
    http::Responder to;
    std::atomic<bool> answered{false};
  };

  void Send(http::Response response, http::Responder& to) const {
    s_.metrics->admin_requests.With({StrCat(response.status)}).Add();
    to.Send(std::move(response));
  }

  void Accept(Change change, bool text, http::Responder& to) {
    if (!change.expect.empty()) {
      const std::string digest = s_.backend->DiskDigest();
      if (!digest.starts_with(change.expect)) {
        return Send(Problem(412, "EPP-ADM-EXPECT",
                            StrCat("the text on disk has digest ", digest.substr(0, 8), ", want ",
                                   change.expect, "; nothing was tried")),
                    to);
      }
    }
    const uint64_t serving = s_.backend->CurrentStatus().generation;
    s_.backend->Reload(std::move(change), nullptr);
    http::Response response;
    if (text) {
      response = Text(StrCat("accepted for trial; generation ", serving,
                             " serves; --wait tells the outcome, so does epp status\n"));
    } else {
      std::string out;
      JsonWriter w(&out);
      w.BeginObject();
      w.Field("schema", "epp.reload/1").Field("outcome", "accepted").Field("generation", serving);
      w.EndObject();
      response = Json(std::move(out));
    }
    response.status = 202;
    Send(std::move(response), to);
  }

  void Wait(Change change, std::chrono::milliseconds wait, bool text, http::Responder to) {
    const auto waiting = std::make_shared<Waiting>(std::move(to));
    telemetry::EppMetrics* const metrics = s_.metrics;
    const auto answer = [waiting, metrics](http::Response response) {
      if (waiting->answered.exchange(true)) return;
      metrics->admin_requests.With({StrCat(response.status)}).Add();
      waiting->to.Send(std::move(response));
    };
    deadlines_.After(wait, [answer] {
      answer(
          Problem(504, "EPP-ADM-LATE", "not done yet, it goes on; epp status tells the outcome"));
    });
    s_.backend->Reload(std::move(change), [answer, text](const ReloadAnswer& outcome) {
      http::Response response = text ? Text(outcome.text) : Json(outcome.json);
      response.status = outcome.status;
      answer(std::move(response));
    });
  }

  const AdminSources s_;
  const bool read_only_;
  Deadlines deadlines_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<http::Server>> StartAdminServer(const AdminOptions& options,
                                                               const AdminSources& sources) {
  auto routes = std::make_shared<Routes>(sources);
  http::Router router;
  const auto get = [&](std::string_view pattern, auto answer) {
    router.Handle("GET", pattern,
                  [routes, answer](http::Request request, http::Responder responder) {
                    http::Response response = answer(*routes, request);
                    routes->sources().metrics->admin_requests.With({StrCat(response.status)}).Add();
                    responder.Send(std::move(response));
                  });
  };
  get("/admin/version",
      [](const Routes& r, const auto&) { return Json(r.sources().backend->VersionJson()); });
  get("/admin/status", [](const Routes& r, const auto& request) { return r.Status(request); });
  get("/admin/pool", [](const Routes& r, const auto& request) { return r.Pool(request); });
  get("/admin/decisions",
      [](const Routes& r, const auto& request) { return r.Decisions(request); });
  get("/admin/decisions/{id}",
      [](const Routes& r, const auto& request) { return r.Decision(request); });
  get("/debug/decisions",
      [](const Routes& r, const auto& request) { return r.Decisions(request); });
  get("/admin/config",
      [](const Routes& r, const auto&) { return Json(r.sources().backend->ConfigJson()); });
  get("/admin/generations",
      [](const Routes& r, const auto&) { return Json(r.sources().backend->GenerationsJson()); });
  get("/admin/objects",
      [](const Routes& r, const auto&) { return Json(r.sources().backend->ObjectsJson()); });
  get("/admin/plugins",
      [](const Routes& r, const auto&) { return Json(r.sources().backend->PluginsJson()); });
  get("/admin/plugins/{instance}/state",
      [](const Routes& r, const auto& request) { return r.PluginState(request); });
  get("/admin/warnings", [](const Routes& r, const auto&) { return r.Log(); });

  get("/admin/generations/{number}",
      [](const Routes& r, const auto& request) { return r.Generation(request); });

  const auto changes = std::make_shared<Changes>(sources, options.read_only);
  router.Handle("POST", "/admin/reload", [changes](http::Request request, http::Responder to) {
    changes->Ask(request, ParseReloadBody(request.body), std::move(to));
  });
  router.Handle("POST", "/admin/rollback", [changes](http::Request request, http::Responder to) {
    changes->Ask(request, ParseRollbackBody(request.body), std::move(to));
  });

  if (sources.shadow) {
    AddShadowRoutes(router, sources.shadow, sources.metrics, options.read_only);
  }

  http::ServerOptions server;
  server.thread_name = "epp-admin";
  server.max_body_bytes = kMaxShadowBody;
  server.max_connections = 32;
  server.listen.push_back({.unix_path = options.socket, .mode = 0660, .group = options.group});
  return http::Server::Start(server, std::move(router));
}

}  // namespace epp::admin
