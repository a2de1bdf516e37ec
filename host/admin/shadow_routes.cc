#include "host/admin/shadow_routes.h"

#include <memory>
#include <string_view>
#include <utility>

#include "host/admin/answers.h"
#include "host/base/str_cat.h"
#include "host/telemetry/log.h"
#include "nlohmann/json.hpp"

namespace epp::admin {
namespace {

constexpr size_t kMaxText = size_t{1} << 20;
constexpr size_t kMaxFileName = 256;
constexpr double kMaxMinutes = 7 * 24 * 60;

// Why the body is no order; empty when `ask` has it.
std::string ReadAsk(const std::string& body, ShadowAsk* ask) {
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
  if (!json.is_object()) return "the body is no JSON object";
  for (const auto& [key, value] : json.items()) {
    if (key == "text" || key == "file") {
      if (!value.is_string()) return StrCat(key, " is no string");
      (key == "text" ? ask->text : ask->file) = value.get<std::string>();
    } else if (key == "sample" || key == "minutes") {
      if (!value.is_number()) return StrCat(key, " is no number");
      (key == "sample" ? ask->sample : ask->minutes) = value.get<double>();
    } else {
      return StrCat("unknown key \"", key.substr(0, 64), "\", want text, file, sample, minutes");
    }
  }
  if (ask->text.empty()) return "text is missing: the candidate's config";
  if (ask->text.size() > kMaxText) return "text is larger than 1 MiB";
  if (ask->file.empty()) ask->file = "candidate";
  if (ask->file.size() > kMaxFileName) return "file is longer than 256 bytes";
  if (!(ask->sample > 0 && ask->sample <= 1)) {
    return StrCat("sample is ", ask->sample, ", want a share of requests in (0, 1]");
  }
  if (!(ask->minutes > 0 && ask->minutes <= kMaxMinutes)) {
    return StrCat("minutes is ", ask->minutes, ", want more than 0 and at most ", kMaxMinutes);
  }
  return "";
}

}  // namespace

void AddShadowRoutes(http::Router& router, ShadowBackend* backend, telemetry::EppMetrics* metrics,
                     bool read_only) {
  const auto count = [metrics](int status) {
    metrics->admin_requests.With({StrCat(status)}).Add();
  };
  router.Handle("GET", "/admin/shadow",
                [backend, count](http::Request request, http::Responder responder) {
                  const bool text = WantsText(request);
                  responder.Send(text ? Text(backend->ShadowText()) : Json(backend->ShadowJson()));
                  count(200);
                });

  // The answer comes when it is known; std::function wants something copyable.
  const auto later = [count](http::Responder responder, bool text) -> ShadowBackend::Done {
    auto held = std::make_shared<http::Responder>(std::move(responder));
    return [held, count, text](ShadowAnswer answer) {
      http::Response response = text ? Text(std::move(answer.text)) : Json(std::move(answer.json));
      response.status = answer.refused ? 409 : 200;
      count(response.status);
      held->Send(std::move(response));
    };
  };
  const auto refuse = [count](http::Responder& responder, int status, std::string_view code,
                              std::string_view why) {
    count(status);
    responder.Send(Problem(status, code, why));
  };
  // As for every change: root on the socket may.
  const auto forbidden = [=](const http::Request& request, http::Responder& responder) {
    if (!read_only || (request.peer.unix_socket && request.peer.uid == 0)) return false;
    refuse(responder, 403, "EPP-ADM-READ-ONLY", "[admin] read_only is on");
    return true;
  };

  router.Handle("POST", "/admin/shadow", [=](http::Request request, http::Responder responder) {
    if (forbidden(request, responder)) return;
    ShadowAsk ask;
    if (const std::string why = ReadAsk(request.body, &ask); !why.empty()) {
      return refuse(responder, 400, "EPP-ADM-SHADOW", why);
    }
    EPP_LOG_EXEMPT(kInfo, "admin", "shadow asked for",
                   {{"uid", request.peer.uid}, {"pid", request.peer.pid}, {"file", ask.file}});
    backend->StartShadow(std::move(ask), later(std::move(responder), WantsText(request)));
  });
  router.Handle("POST", "/admin/shadow/stop",
                [=](http::Request request, http::Responder responder) {
                  if (forbidden(request, responder)) return;
                  EPP_LOG_EXEMPT(kInfo, "admin", "end of the shadow asked for",
                                 {{"uid", request.peer.uid}, {"pid", request.peer.pid}});
                  backend->StopShadow(later(std::move(responder), WantsText(request)));
                });
}

}  // namespace epp::admin
