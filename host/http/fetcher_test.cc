#include "host/http/fetcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>

#include "host/base/clock.h"
#include "host/http/server.h"
#include "host/http/test_support.h"

namespace epp::http {
namespace {

using test::Mailbox;
using test::RawServer;
using test::ReadRequest;
using test::SendAll;
using testing::HasSubstr;

constexpr uint64_t kSecond = 1'000'000'000;

struct Got {
  FetchError error = FetchError::kCancelled;
  int status = -1;
  std::string body = {}, type = {}, detail = {};
};

Got Fetch(Fetcher& fetcher, Fetcher::TargetId id, uint64_t timeout_ns = 8 * kSecond,
          uint64_t max_body = 1 << 20) {
  Mailbox<Got> box;
  fetcher.Fetch(id, timeout_ns, max_body, [&box](const FetchResult& r) {
    box.Put({r.error, r.status, std::string(r.body), std::string(r.content_type),
             std::string(r.detail)});
  });
  return box.Take();
}

std::string Page(std::string_view body) {
  return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

TEST(FetcherTest, KeepsItsConnection) {
  Mailbox<std::string> heads;
  RawServer server([&](int fd, int) {
    std::string head;
    while (ReadRequest(fd, &head)) {
      heads.Put(head);
      SendAll(fd, Page("vllm:num_requests_waiting 3\n"));
    }
  });
  Fetcher fetcher;
  const auto id = fetcher.Add({.host = "127.0.0.1",
                               .port = server.port(),
                               .path = "/metrics?x=1 y",
                               .headers = {{"X-Key", "v"}, {"Bad", "a\r\nInjected: 1"}}});
  for (int i = 0; i < 5; ++i) {
    const Got got = Fetch(fetcher, id);
    EXPECT_EQ(got.error, FetchError::kNone) << got.detail;
    EXPECT_EQ(got.status, 200);
    EXPECT_EQ(got.body, "vllm:num_requests_waiting 3\n");
    EXPECT_EQ(got.type, "text/plain");
  }
  EXPECT_EQ(server.connections(), 1);
  EXPECT_EQ(heads.Take(), "GET /metrics?x=1y HTTP/1.1\r\nX-Key: v\r\nHost: 127.0.0.1:" +
                              std::to_string(server.port()) + "\r\n\r\n");
}

TEST(FetcherTest, BigBodiesInEveryFraming) {
  std::string big(700'000, 'x');
  for (size_t i = 0; i < big.size(); i += 97) big[i] = static_cast<char>('a' + i % 26);
  RawServer server([&](int fd, int number) {
    while (ReadRequest(fd)) {
      if (number == 0) {
        SendAll(fd, Page(big));
      } else if (number == 1) {
        SendAll(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (size_t at = 0; at < big.size(); at += 1000) {
          SendAll(fd, "3e8\r\n" + big.substr(at, 1000) + "\r\n");
        }
        SendAll(fd, "0\r\n\r\n");
      } else {
        SendAll(fd, "HTTP/1.0 200 OK\r\n\r\n" + big);
        return;
      }
    }
  });
  Fetcher fetcher;
  for (int i = 0; i < 3; ++i) {
    const auto id = fetcher.Add({.host = "127.0.0.1", .port = server.port()});
    const Got got = Fetch(fetcher, id);
    EXPECT_EQ(got.error, FetchError::kNone) << got.detail;
    EXPECT_EQ(got.body, big);
  }
}

TEST(FetcherTest, Errors) {
  const struct {
    const char* name;
    std::string answer;  // then the connection closes
    FetchError want;
  } cases[] = {
      {"nothing", "", FetchError::kClosed},
      {"half a head", "HTTP/1.1 200", FetchError::kClosed},
      {"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", FetchError::kClosed},
      {"not http", "SSH-2.0-x\r\n", FetchError::kMalformed},
      {"too large", "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", FetchError::kTooLarge},
      {"too large, no length", "HTTP/1.1 200 OK\r\n\r\n" + std::string(2000, 'x'),
       FetchError::kTooLarge},
      {"endless head", "HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x'),
       FetchError::kMalformed},
  };
  Fetcher fetcher;
  for (const auto& c : cases) {
    RawServer server([&](int fd, int) {
      if (ReadRequest(fd)) SendAll(fd, c.answer);
    });
    const auto id = fetcher.Add({.host = "127.0.0.1", .port = server.port()});
    const Got got = Fetch(fetcher, id, 8 * kSecond, 1000);
    EXPECT_EQ(got.error, c.want) << c.name << ": " << got.detail;
    EXPECT_EQ(got.body, "");
    fetcher.Remove(id);
  }
}

TEST(FetcherTest, OtherStatusIsAnAnswer) {
  RawServer server([](int fd, int) {
    while (ReadRequest(fd)) SendAll(fd, "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno");
  });
  Fetcher fetcher;
  const Got got = Fetch(fetcher, fetcher.Add({.host = "127.0.0.1", .port = server.port()}));
  EXPECT_EQ(got.error, FetchError::kNone);
  EXPECT_EQ(got.status, 404);
  EXPECT_EQ(got.body, "no");
}

TEST(FetcherTest, TimeoutsLeaveTheTargetUsable) {
  RawServer server([](int fd, int number) {
    while (ReadRequest(fd)) {
      if (number == 0) {
        SendAll(fd, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nslow");
        test::WaitForClose(fd);
        return;
      }
      SendAll(fd, Page("fine"));
    }
  });
  Fetcher fetcher;
  const auto id = fetcher.Add({.host = "127.0.0.1", .port = server.port()});
  const uint64_t start = Clock::Real().mono_ns();
  const Got slow = Fetch(fetcher, id, kSecond / 20);
  EXPECT_EQ(slow.error, FetchError::kTimeout);
  EXPECT_GE(Clock::Real().mono_ns() - start, kSecond / 20);
  EXPECT_EQ(Fetch(fetcher, id).body, "fine");
}

// A kept connection that the peer dropped is replaced once, without an error.
TEST(FetcherTest, StaleConnectionIsReplacedOnce) {
  RawServer server([](int fd, int number) {
    if (!ReadRequest(fd)) return;
    SendAll(fd, Page("answer " + std::to_string(number)));
    // The next request is read, then the connection reset without an answer.
    ReadRequest(fd);
    const linger hard{1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  });
  Fetcher fetcher;
  const auto id = fetcher.Add({.host = "127.0.0.1", .port = server.port()});
  EXPECT_EQ(Fetch(fetcher, id).body, "answer 0");
  EXPECT_EQ(Fetch(fetcher, id).body, "answer 1");
  EXPECT_EQ(fetcher.stats().retries, 1u);
  EXPECT_EQ(fetcher.stats().connects, 2u);
}

TEST(FetcherTest, PeerThatClosesAfterEachAnswer) {
  RawServer server([](int fd, int) {
    if (ReadRequest(fd)) SendAll(fd, Page("once"));
  });
  Fetcher fetcher;
  const auto id = fetcher.Add({.host = "127.0.0.1", .port = server.port()});
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Fetch(fetcher, id).body, "once");
}

TEST(FetcherTest, RefusedBusyAndUnknown) {
  uint16_t closed_port;
  {
    RawServer server([](int, int) {});
    closed_port = server.port();
  }
  RawServer silent([](int fd, int) { test::WaitForClose(fd); });
  Fetcher fetcher;
  const auto refused = fetcher.Add({.host = "127.0.0.1", .port = closed_port});
  const Got got = Fetch(fetcher, refused);
  EXPECT_EQ(got.error, FetchError::kConnect);
  EXPECT_THAT(got.detail, HasSubstr("refused"));
  EXPECT_EQ(Fetch(fetcher, 12345).error, FetchError::kNoTarget);

  const auto id = fetcher.Add({.host = "127.0.0.1", .port = silent.port()});
  Mailbox<Got> box;
  fetcher.Fetch(id, 8 * kSecond, 10, [&](const FetchResult& r) { box.Put({r.error}); });
  EXPECT_EQ(Fetch(fetcher, id).error, FetchError::kBusy);
  fetcher.Remove(id);
  EXPECT_EQ(box.Take().error, FetchError::kCancelled);
  EXPECT_EQ(Fetch(fetcher, id).error, FetchError::kNoTarget);
}

TEST(FetcherTest, NamesAndIpv6) {
  const auto serve = [](int fd, int) {
    while (ReadRequest(fd)) SendAll(fd, Page("x"));
  };
  RawServer server(serve);
  RawServer server6(serve, "::1");
  Fetcher fetcher;
  EXPECT_EQ(Fetch(fetcher, fetcher.Add({.host = "localhost", .port = server.port()})).body, "x");
  EXPECT_EQ(Fetch(fetcher, fetcher.Add({.host = "::1", .port = server6.port()})).body, "x");
  const Got unknown = Fetch(fetcher, fetcher.Add({.host = "no-such-name.invalid", .port = 80}));
  EXPECT_THAT(unknown.error, testing::AnyOf(FetchError::kResolve, FetchError::kTimeout));
}

// The callback may start the next fetch or remove its own target.
TEST(FetcherTest, CallbacksMayCallBack) {
  RawServer server([](int fd, int) {
    while (ReadRequest(fd)) SendAll(fd, Page("x"));
  });
  Fetcher fetcher;
  const auto id = fetcher.Add({.host = "127.0.0.1", .port = server.port()});
  Mailbox<int> box;
  int rounds = 0;
  std::function<void(const FetchResult&)> next = [&](const FetchResult& r) {
    EXPECT_TRUE(fetcher.OnLoopThread());
    EXPECT_EQ(r.error, FetchError::kNone);
    EXPECT_EQ(r.body, "x");
    if (++rounds < 50) {
      fetcher.Fetch(id, kSecond, 100, next);
      EXPECT_EQ(r.body, "x") << "still valid";
    } else {
      fetcher.Remove(id);
      EXPECT_EQ(r.body, "x") << "still valid";
      box.Put(rounds);
    }
  };
  fetcher.Fetch(id, kSecond, 100, next);
  EXPECT_EQ(box.Take(), 50);
  EXPECT_EQ(server.connections(), 1);
}

TEST(FetcherTest, TimersRunInOrder) {
  Fetcher fetcher;
  Mailbox<int> box;
  const uint64_t now = Clock::Real().mono_ns();
  fetcher.RunAt(now + 30'000'000, [&] { box.Put(3); });
  fetcher.RunAt(now + 10'000'000, [&] { box.Put(2); });
  fetcher.Post([&] { box.Put(1); });
  EXPECT_EQ(box.Take(), 1);
  EXPECT_EQ(box.Take(), 2);
  EXPECT_EQ(box.Take(), 3);
  EXPECT_GE(Clock::Real().mono_ns(), now + 30'000'000);
}

TEST(FetcherTest, ManyTargetsAndAnAbruptEnd) {
  RawServer server([](int fd, int) {
    while (ReadRequest(fd)) SendAll(fd, Page("x"));
  });
  std::atomic<int> answered{0}, cancelled{0};
  {
    Fetcher fetcher;
    std::vector<Fetcher::TargetId> ids;
    for (int i = 0; i < 50; ++i) {
      ids.push_back(fetcher.Add({.host = "127.0.0.1", .port = server.port()}));
    }
    const auto count = [&](const FetchResult& r) {
      (r.error == FetchError::kNone ? answered : cancelled).fetch_add(1);
    };
    for (auto id : ids) fetcher.Fetch(id, 8 * kSecond, 100, count);
    EXPECT_TRUE(test::Eventually([&] { return answered == 50; }));
    for (auto id : ids) fetcher.Fetch(id, 8 * kSecond, 100, count);
  }
  EXPECT_EQ(answered + cancelled, 100) << "every callback ran once";
}

TEST(FetcherTest, Tls) {
  const test::Certificate certificate = test::MakeCertificate();
  ServerOptions options;
  options.listen = {
      {.tcp = "127.0.0.1:0",
       .tls = TlsServerOptions{.cert_pem = certificate.cert_pem, .key_pem = certificate.key_pem}}};
  Router router;
  const std::string body(100'000, 'x');
  router.Handle("GET", "/metrics", [&](Request, Responder r) {
    r.Send({.content_type = "text/plain", .body = body});
  });
  auto server = Server::Start(options, std::move(router));
  ASSERT_TRUE(server.ok()) << server.status();
  const uint16_t port = (*server)->port(0);
  Fetcher fetcher;
  const auto trusting = *TlsClient::Create({.verify = true, .ca_pem = certificate.cert_pem});
  const auto strict =
      *TlsClient::Create({.verify = true, .ca_pem = test::MakeCertificate().cert_pem});
  const auto lax = *TlsClient::Create({.verify = false, .ca_pem = ""});
  const auto id = fetcher.Add({.host = "127.0.0.1", .port = port, .tls = trusting});
  for (int i = 0; i < 3; ++i) {
    const Got got = Fetch(fetcher, id);
    EXPECT_EQ(got.error, FetchError::kNone) << got.detail;
    EXPECT_EQ(got.body, body);
  }
  EXPECT_EQ(fetcher.stats().connects, 1u);
  EXPECT_EQ(Fetch(fetcher, fetcher.Add({.host = "127.0.0.1", .port = port, .tls = lax})).body,
            body);
  const Got refused =
      Fetch(fetcher, fetcher.Add({.host = "127.0.0.1", .port = port, .tls = strict}));
  EXPECT_EQ(refused.error, FetchError::kTls);
  const Got misnamed = Fetch(
      fetcher,
      fetcher.Add(
          {.host = "127.0.0.1", .port = port, .tls = trusting, .server_name = "other.example"}));
  EXPECT_EQ(misnamed.error, FetchError::kTls);
  EXPECT_THAT(misnamed.detail, HasSubstr("ostname mismatch"));
}

TEST(TlsClientTest, RefusesBadPem) {
  const test::Certificate a = test::MakeCertificate(), b = test::MakeCertificate();
  EXPECT_FALSE(TlsClient::Create({.ca_pem = "nonsense"}).ok());
  EXPECT_FALSE(TlsClient::Create({.ca_pem = a.cert_pem, .cert_pem = "x", .key_pem = "y"}).ok());
  EXPECT_FALSE(
      TlsClient::Create({.ca_pem = "", .cert_pem = a.cert_pem, .key_pem = b.key_pem}).ok());
  EXPECT_TRUE(TlsClient::Create({.ca_pem = "", .cert_pem = a.cert_pem, .key_pem = a.key_pem}).ok());
}

}  // namespace
}  // namespace epp::http
