// Method and path to handler.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/http/message.h"

namespace epp::http {

// Patterns: "/admin/decisions/{id}" captures one segment, a last segment "*" captures the rest as
// "*". Literal segments win over captures, captures over "*", whatever the order of Handle calls.
class Router {
 public:
  void Handle(std::string method, std::string_view pattern, Handler handler);

  struct Match {
    const Handler* handler = nullptr;  // null: answer `status`
    int status = 200;                  // 400 bad escape, 404, 405, 204 for OPTIONS
    std::string allow;                 // for 405 and OPTIONS
    std::vector<std::pair<std::string, std::string>> params;
  };
  // HEAD is served by the handler of GET.
  Match Find(std::string_view method, std::string_view path) const;

 private:
  struct Route {
    std::vector<std::string> segments;
    std::vector<std::pair<std::string, Handler>> methods;
  };
  std::vector<Route> routes_;
};

}  // namespace epp::http
