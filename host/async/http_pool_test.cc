#include "host/async/http_pool.h"

#include <gtest/gtest.h>

namespace epp::async {
namespace {

struct UrlCase {
  const char* text;
  bool tls;
  const char* host;
  uint16_t port;
  const char* path;
};

TEST(ParseUrl, Good) {
  const UrlCase cases[] = {
      {"http://h", false, "h", 80, "/"},
      {"https://h", true, "h", 443, "/"},
      {"http://h:8000/a/b?c=d", false, "h", 8000, "/a/b?c=d"},
      {"http://h?x", false, "h", 80, "/?x"},
      {"http://h/a#b", false, "h", 80, "/a"},
      {"http://[fd00::1]:9/", false, "fd00::1", 9, "/"},
      {"http://[fd00::1]/", false, "fd00::1", 80, "/"},
      {"http://10.0.0.1:1", false, "10.0.0.1", 1, "/"},
  };
  for (const UrlCase& c : cases) {
    const auto url = ParseUrl(c.text);
    ASSERT_TRUE(url.ok()) << c.text << ": " << url.status();
    EXPECT_EQ(url->tls, c.tls) << c.text;
    EXPECT_EQ(url->host, c.host) << c.text;
    EXPECT_EQ(url->port, c.port) << c.text;
    EXPECT_EQ(url->path, c.path) << c.text;
  }
}

TEST(ParseUrl, Bad) {
  for (const char* text : {"", "h:80", "ftp://h", "http://", "http://:80", "http://h:0",
                           "http://h:65536", "http://h:x", "http://user@h/", "http://fd00::1/"}) {
    EXPECT_FALSE(ParseUrl(text).ok()) << text;
  }
}

}  // namespace
}  // namespace epp::async
