#include "host/http/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <thread>

#include "host/http/test_support.h"

namespace epp::http {
namespace {

using test::RawServer;
using test::ReadRequest;
using test::SendAll;

ClientTarget To(const RawServer& server) { return {.host = "127.0.0.1", .port = server.port()}; }

TEST(ClientTest, SendsAndReceives) {
  std::string head;
  RawServer server([&](int fd, int) {
    ReadRequest(fd, &head);
    SendAll(fd, "HTTP/1.1 404 No\r\nETag: \"a\"\r\nContent-Type: text/plain\r\n\r\nnot here");
  });
  const auto got = Call(To(server), {.path = "/x?y=1", .headers = {{"Accept", "text/plain"}}});
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->status, 404);
  EXPECT_EQ(got->body, "not here");
  EXPECT_EQ(got->content_type, "text/plain");
  EXPECT_EQ(got->etag, "\"a\"");
  EXPECT_EQ(head, "GET /x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(server.port()) +
                      "\r\nConnection: close\r\nAccept: text/plain\r\n\r\n");
}

TEST(ClientTest, Errors) {
  const struct {
    const char* name;
    std::string answer;
    absl::StatusCode want;
  } cases[] = {
      {"silence, then close", "", absl::StatusCode::kDataLoss},
      {"cut short", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", absl::StatusCode::kDataLoss},
      {"malformed", "nonsense\r\n", absl::StatusCode::kDataLoss},
      {"too large", "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", absl::StatusCode::kDataLoss},
  };
  for (const auto& c : cases) {
    RawServer server([&](int fd, int) {
      if (ReadRequest(fd)) SendAll(fd, c.answer);
    });
    EXPECT_EQ(Call(To(server), {.max_body_bytes = 100}).status().code(), c.want) << c.name;
  }
  RawServer silent([](int fd, int) { test::WaitForClose(fd); });
  EXPECT_EQ(Call(To(silent), {.timeout = absl::Milliseconds(50)}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  for (const char* path : {"", "x", "/a b", "/a\r\nX: y"}) {
    EXPECT_EQ(Call(To(silent), {.path = path}).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(Call(To(silent), {.headers = {{"A", "b\nc"}}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ClientTest, NobodyThere) {
  uint16_t port;
  {
    RawServer server([](int, int) {});
    port = server.port();
  }
  const auto refused = Call({.host = "127.0.0.1", .port = port}, {});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  const auto missing = Call({.unix_path = "/nonexistent/admin.sock"}, {});
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(missing.status().message()),
              testing::HasSubstr("unix:/nonexistent/admin.sock: No such file"));
}

TEST(ClientTest, StreamsUntilToldToStop) {
  RawServer server([](int fd, int) {
    ReadRequest(fd);
    SendAll(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 100; ++i) SendAll(fd, "5\r\nevent\r\n");
    test::WaitForClose(fd);
  });
  size_t seen = 0;
  const auto got = CallStreaming(To(server), {}, [&](std::string_view piece) {
    seen += piece.size();
    return seen < 500;
  });
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(seen, 500u);

  // A silent stream ends by its own limit or by the caller's wish.
  EXPECT_EQ(CallStreaming(To(server), {.idle_timeout = absl::Milliseconds(50)},
                          [](std::string_view) { return true; })
                .status()
                .code(),
            absl::StatusCode::kDeadlineExceeded);
  const UniqueFd cancel(::eventfd(0, 0));
  const uint64_t one = 1;
  size_t pieces = 0;
  EXPECT_EQ(CallStreaming(To(server), {.cancel_fd = cancel.get()},
                          [&](std::string_view) {
                            if (++pieces == 1) {
                              EXPECT_EQ(::write(cancel.get(), &one, sizeof(one)), 8);
                            }
                            return true;
                          })
                .status()
                .code(),
            absl::StatusCode::kCancelled);
}

TEST(ClientTest, StreamingKeepsErrorPagesWhole) {
  RawServer server([](int fd, int) {
    ReadRequest(fd);
    SendAll(fd, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
  });
  const auto got = CallStreaming(To(server), {}, [](std::string_view) {
    ADD_FAILURE();
    return true;
  });
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->status, 503);
  EXPECT_EQ(got->body, "busy");
}

}  // namespace
}  // namespace epp::http
