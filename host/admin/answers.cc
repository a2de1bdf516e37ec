#include "host/admin/answers.h"

#include <utility>

#include "host/base/json_writer.h"

namespace epp::admin {

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

}  // namespace epp::admin
