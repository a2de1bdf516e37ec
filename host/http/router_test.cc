#include "host/http/router.h"

#include <gtest/gtest.h>

namespace epp::http {
namespace {

TEST(RouterTest, PicksTheMostSpecificRoute) {
  std::string hit;
  Router router;
  const auto add = [&](const char* method, const char* pattern) {
    router.Handle(method, pattern, [&hit, pattern](Request, Responder) { hit = pattern; });
  };
  add("GET", "/ui/*");
  add("GET", "/admin/decisions/{id}");
  add("GET", "/admin/decisions/last");
  add("GET", "/admin/decisions");
  add("POST", "/admin/reload");
  add("GET", "/admin/endpoints/{ns}/{name}");
  add("GET", "/");
  const struct {
    const char *method, *path;
    int status;
    const char* allow;
    std::vector<std::pair<std::string, std::string>> params;
  } cases[] = {
      {"GET", "/", 200, "", {}},
      {"HEAD", "/", 200, "", {}},
      {"GET", "/admin/decisions", 200, "", {}},
      {"GET", "/admin/decisions/last", 200, "", {}},
      {"GET", "/admin/decisions/d%2D1%2f2", 200, "", {{"id", "d-1/2"}}},
      {"GET", "/admin/endpoints/default/vllm-0", 200, "", {{"ns", "default"}, {"name", "vllm-0"}}},
      {"GET", "/ui/js/app.js", 200, "", {{"*", "js/app.js"}}},
      {"GET", "/ui/", 200, "", {{"*", ""}}},
      {"GET", "/admin/decisions/", 404, "", {}},
      {"GET", "/admin", 404, "", {}},
      {"GET", "admin/decisions", 404, "", {}},
      {"GET", "/admin/decisions/%zz", 400, "", {}},
      {"GET", "/admin/decisions/%00", 400, "", {}},
      {"GET", "/admin/reload", 405, "POST, OPTIONS", {}},
      {"POST", "/admin/decisions", 405, "GET, HEAD, OPTIONS", {}},
      {"OPTIONS", "/admin/reload", 204, "POST, OPTIONS", {}},
  };
  for (const auto& c : cases) {
    const Router::Match match = router.Find(c.method, c.path);
    EXPECT_EQ(match.status, c.status) << c.path;
    EXPECT_EQ(match.allow, c.allow) << c.path;
    if (c.status == 200) {
      EXPECT_EQ(match.params, c.params) << c.path;
    }
  }
}

TEST(RequestTest, QueriesAndHeaders) {
  Request request;
  request.query = "last=10&match=model%3Dchat+x&empty&bad=%4";
  request.headers = {{"X-Token", "a"}};
  EXPECT_EQ(request.Query("last"), "10");
  EXPECT_EQ(request.Query("match"), "model=chat x");
  EXPECT_EQ(request.Query("empty"), "");
  EXPECT_EQ(request.Query("bad"), std::nullopt);
  EXPECT_EQ(request.Query("none"), std::nullopt);
  EXPECT_EQ(request.Header("x-token"), "a");
  EXPECT_EQ(request.Header("x"), "");
}

}  // namespace
}  // namespace epp::http
