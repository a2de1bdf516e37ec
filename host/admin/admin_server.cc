#include "host/admin/admin_server.h"

#include <charconv>
#include <utility>

#include "host/admin/decision_view.h"
#include "host/admin/match.h"
#include "host/admin/pool_view.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/telemetry/log.h"

namespace epp::admin {
namespace {

constexpr size_t kMaxListed = 500;

bool WantsText(const http::Request& request) {
  return request.Header("accept").find("text/plain") != std::string_view::npos;
}

http::Response Json(std::string body) {
  http::Response response;
  response.body = std::move(body);
  response.body += '\n';
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

http::Response Text(std::string body) {
  http::Response response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

http::Response Problem(int status, std::string_view code, std::string_view detail) {
  http::Response response;
  response.status = status;
  response.content_type = "application/problem+json";
  JsonWriter w(&response.body);
  w.BeginObject();
  w.Field("schema", "epp.error/1").Field("status", status);
  w.Field("title", http::StatusText(status)).Field("code", code).Field("detail", detail);
  w.EndObject();
  response.body += '\n';
  return response;
}

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
  get("/admin/plugins",
      [](const Routes& r, const auto&) { return Json(r.sources().backend->PluginsJson()); });
  get("/admin/plugins/{instance}/state",
      [](const Routes& r, const auto& request) { return r.PluginState(request); });
  get("/admin/warnings", [](const Routes& r, const auto&) { return r.Log(); });

  router.Handle(
      "POST", "/admin/reload", [routes](http::Request request, http::Responder responder) {
        const bool text = WantsText(request);
        EPP_LOG_EXEMPT(kInfo, "admin", "reload asked for",
                       {{"uid", request.peer.uid}, {"pid", request.peer.pid}});
        // The answer comes when it is known; std::function wants something copyable.
        auto held = std::make_shared<http::Responder>(std::move(responder));
        routes->sources().backend->Reload(request.Query("force") ? kForcedReload : "admin",
                                          [held, text](const ReloadAnswer& answer) {
                                            http::Response response =
                                                text ? Text(answer.text) : Json(answer.json);
                                            response.status = answer.refused ? 409 : 200;
                                            held->Send(std::move(response));
                                          });
      });

  http::ServerOptions server;
  server.thread_name = "epp-admin";
  server.max_connections = 32;
  server.listen.push_back({.unix_path = options.socket, .mode = 0660, .group = options.group});
  return http::Server::Start(server, std::move(router));
}

}  // namespace epp::admin
