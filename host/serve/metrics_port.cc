#include "host/serve/metrics_port.h"

#include <utility>

namespace epp::serve {
namespace {

http::Response Text(int status, std::string body) {
  http::Response response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  return response;
}

}  // namespace

absl::StatusOr<std::unique_ptr<http::Server>> StartMetricsPort(const std::string& listen,
                                                               MetricsPortSources sources) {
  http::Router router;
  const auto get = [&](std::string_view path, std::function<http::Response()> answer) {
    router.Handle("GET", path,
                  [answer = std::move(answer)](http::Request, http::Responder responder) {
                    responder.Send(answer());
                  });
  };
  get("/metrics", [registry = sources.registry] {
    http::Response response;
    response.content_type = telemetry::Registry::kContentType;
    response.body = registry->Text();
    return response;
  });
  get("/healthz", [] { return Text(200, "ok\n"); });
  get("/readyz", [ready = std::move(sources.ready)] {
    std::string reason;
    return ready(&reason) ? Text(200, "ok\n") : Text(503, reason + "\n");
  });
  get("/debug/plugins/state", [states = std::move(sources.plugin_states)] {
    http::Response response;
    response.body = states();
    return response;
  });
  get("/debug/pprof/*",
      [] { return Text(404, "no Go profiles here: use perf, symbols are in the binary\n"); });

  http::ServerOptions options;
  options.thread_name = "epp-metrics";
  options.listen.push_back({.tcp = listen});
  return http::Server::Start(options, std::move(router));
}

}  // namespace epp::serve
