#include "host/http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "host/http/client.h"
#include "host/http/test_support.h"
#include "host/http/unix_socket.h"

namespace epp::http {
namespace {

using test::ConnectTo;
using test::ReadAll;
using test::SendAll;
using testing::HasSubstr;
using testing::StartsWith;

Router EchoRouter() {
  Router router;
  router.Handle("GET", "/hello/{name}", [](Request request, Responder r) {
    r.Send({.content_type = "text/plain", .body = "hello " + std::string(request.Param("name"))});
  });
  router.Handle("POST", "/echo", [](Request request, Responder r) {
    r.Send({.headers = {{"X-Bytes", std::to_string(request.body.size())}, {"Bad", "a\r\nb: c"}},
            .body = std::move(request.body)});
  });
  router.Handle("GET", "/dropped", [](Request, Responder) {});
  return router;
}

std::unique_ptr<Server> StartTcp(Router router, ServerOptions options = {}) {
  options.listen = {{.tcp = "127.0.0.1:0"}};
  auto server = Server::Start(options, std::move(router));
  EXPECT_TRUE(server.ok()) << server.status();
  return *std::move(server);
}

// Sends raw bytes, then reads until the server closes.
std::string Raw(const Server& server, std::string_view text) {
  const UniqueFd fd = ConnectTo(server.port(0));
  SendAll(fd.get(), text);
  ::shutdown(fd.get(), SHUT_WR);
  return ReadAll(fd.get());
}

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/epp-http-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TempDir() {
    ::unlink((path_ + "/s").c_str());
    ::rmdir(path_.c_str());
  }
  std::string socket() const { return path_ + "/s"; }

 private:
  std::string path_;
};

TEST(ServerTest, AnswersByRouteAndMethod) {
  const auto server = StartTcp(EchoRouter());
  const auto get = [&](const char* line) {
    return Raw(*server, std::string(line) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  };
  EXPECT_EQ(get("GET /hello/you?x=1"),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n"
            "Content-Length: 9\r\nConnection: close\r\n\r\nhello you");
  const std::string head = get("HEAD /hello/you");
  EXPECT_THAT(head, HasSubstr("Content-Length: 9\r\n"));
  EXPECT_THAT(head, testing::EndsWith("\r\n\r\n"));
  EXPECT_THAT(get("GET /nothing"), StartsWith("HTTP/1.1 404 "));
  const std::string wrong = get("GET /echo");
  EXPECT_THAT(wrong, StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(wrong, HasSubstr("\r\nAllow: POST, OPTIONS\r\n"));
  EXPECT_THAT(get("OPTIONS /echo"), StartsWith("HTTP/1.1 204 "));
  EXPECT_THAT(get("GET /dropped"), StartsWith("HTTP/1.1 500 "));
}

TEST(ServerTest, KeepsTheConnectionAndPipelines) {
  const auto server = StartTcp(EchoRouter());
  const std::string request = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
  const std::string chunked =
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      "2\r\nde\r\n1\r\nf\r\n0\r\n\r\n";
  const std::string out = Raw(*server, request + request + chunked);
  EXPECT_THAT(out, HasSubstr("\r\n\r\nabcHTTP/1.1 200"));
  EXPECT_THAT(out, testing::EndsWith("\r\n\r\ndef"));
  EXPECT_THAT(out, HasSubstr("X-Bytes: 3\r\n"));
  EXPECT_THAT(out, testing::Not(HasSubstr("Bad")));
}

TEST(ServerTest, RefusesBadInput) {
  ServerOptions options;
  options.max_body_bytes = 1000;
  const auto server = StartTcp(EchoRouter(), options);
  const struct {
    const char* name;
    std::string text;
    const char* want;
  } cases[] = {
      {"garbage", "\x16\x03\x01garbage\r\n\r\n", "HTTP/1.1 400 "},
      {"bad version", "GET / HTTP/3.0\r\n\r\n", "HTTP/1.1 400 "},
      {"bad header", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "HTTP/1.1 400 "},
      {"bad length", "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 "},
      {"two lengths", "POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
       "HTTP/1.1 400 "},
      {"bad chunk", "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
       "HTTP/1.1 400 "},
      {"large head", "GET / HTTP/1.1\r\nX: " + std::string(40'000, 'x') + "\r\n\r\n",
       "HTTP/1.1 431 "},
      {"large body", "POST /echo HTTP/1.1\r\nContent-Length: 1001\r\n\r\n" + std::string(1001, 'x'),
       "HTTP/1.1 413 "},
      {"large chunks",
       "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + std::string(2000, 'x'),
       "HTTP/1.1 413 "},
      {"cut short", "GET / HTTP/1.1\r\nHost", ""},
      {"nothing", "", ""},
  };
  for (const auto& c : cases) {
    const std::string out = Raw(*server, c.text);
    EXPECT_THAT(out, StartsWith(c.want)) << c.name;
    if (*c.want == '\0') {
      EXPECT_EQ(out, "") << c.name;
    }
  }
  EXPECT_TRUE(test::Eventually([&] { return server->connections() == 0; }));
}

TEST(ServerTest, SlowClientsAreCutOff) {
  ServerOptions options;
  options.header_timeout = options.body_timeout = absl::Milliseconds(100);
  options.idle_timeout = absl::Milliseconds(100);
  const auto server = StartTcp(EchoRouter(), options);
  for (const char* text : {"", "GET /hel", "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"}) {
    const UniqueFd fd = ConnectTo(server->port(0));
    SendAll(fd.get(), text);
    EXPECT_EQ(ReadAll(fd.get()), "") << text;
  }
  // One byte at a time does not extend the limit.
  const UniqueFd drip = ConnectTo(server->port(0));
  std::thread writer([&] {
    for (int i = 0; i < 2000 && ::send(drip.get(), "x", 1, MSG_NOSIGNAL) == 1; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  ReadAll(drip.get());
  ::shutdown(drip.get(), SHUT_RDWR);
  writer.join();
  EXPECT_TRUE(test::Eventually([&] { return server->connections() == 0; }));
}

TEST(ServerTest, TooManyConnectionsGet503) {
  ServerOptions options;
  options.max_connections = 2;
  const auto server = StartTcp(EchoRouter(), options);
  const UniqueFd a = ConnectTo(server->port(0)), b = ConnectTo(server->port(0));
  ASSERT_TRUE(test::Eventually([&] { return server->connections() == 2; }));
  EXPECT_THAT(Raw(*server, "GET /hello/x HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 503 "));
}

TEST(ServerTest, LateAnswersFromOtherThreads) {
  Router router;
  test::Mailbox<std::shared_ptr<Responder>> parked;
  router.Handle("GET", "/late", [&](Request, Responder r) {
    parked.Put(std::make_shared<Responder>(std::move(r)));
  });
  auto server = StartTcp(std::move(router));
  std::string out;
  std::thread client(
      [&] { out = Raw(*server, "GET /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); });
  parked.Take()->Send({.body = "{}"});
  client.join();
  EXPECT_THAT(out, testing::EndsWith("\r\n\r\n{}"));
  // A responder and a stream that outlive the server are harmless.
  const UniqueFd fd = ConnectTo(server->port(0));
  SendAll(fd.get(), "GET /late HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto orphan = parked.Take();
  server.reset();
  const Stream stream = orphan->StartStream({});
  EXPECT_FALSE(stream.Write("x"));
  EXPECT_TRUE(stream.closed());
}

TEST(ServerTest, StreamsPiecesAndNoticesTheEnd) {
  Router router;
  test::Mailbox<std::shared_ptr<Stream>> streams;
  router.Handle("GET", "/events", [&](Request, Responder r) {
    streams.Put(std::make_shared<Stream>(
        r.StartStream({.content_type = "text/event-stream", .body = "first\n"})));
  });
  const auto server = StartTcp(std::move(router));
  const ClientTarget target{.host = "127.0.0.1", .port = server->port(0)};
  std::string got;
  std::thread client([&] {
    const auto response = CallStreaming(target, {.path = "/events"}, [&](std::string_view piece) {
      got += piece;
      return true;
    });
    EXPECT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->content_type, "text/event-stream");
  });
  auto stream = streams.Take();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(stream->Write(std::to_string(i) + "\n"));
  stream->End();
  EXPECT_FALSE(stream->Write("late"));
  client.join();
  EXPECT_THAT(got, StartsWith("first\n0\n1\n"));
  EXPECT_THAT(got, testing::EndsWith("98\n99\n"));

  // The client leaves.
  test::Mailbox<bool> gone;
  {
    const UniqueFd fd = ConnectTo(server->port(0));
    SendAll(fd.get(), "GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    stream = streams.Take();
    stream->OnClose([&] { gone.Put(true); });
  }
  EXPECT_TRUE(gone.Take());
  EXPECT_TRUE(stream->closed());
  EXPECT_FALSE(stream->Write("x"));
}

TEST(ServerTest, SlowReaderIsDropped) {
  Router router;
  test::Mailbox<std::shared_ptr<Stream>> streams;
  router.Handle("GET", "/events", [&](Request, Responder r) {
    streams.Put(std::make_shared<Stream>(r.StartStream({})));
  });
  const auto server = StartTcp(std::move(router));
  const UniqueFd fd = ConnectTo(server->port(0));
  SendAll(fd.get(), "GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto stream = streams.Take();
  const std::string piece(10'000, 'x');
  int written = 0;
  while (written < 100'000 && stream->Write(piece)) ++written;
  EXPECT_LT(written, 100'000);
  EXPECT_TRUE(test::Eventually([&] { return server->connections() == 0; }));
}

TEST(ServerTest, UnixSocketModeCredentialsAndClient) {
  const TempDir dir;
  Router router = EchoRouter();
  router.Handle("GET", "/who", [](Request request, Responder r) {
    const Peer& peer = request.peer;
    r.Send({.body = std::to_string(peer.unix_socket) + " " + std::to_string(peer.uid) + " " +
                    std::to_string(peer.pid)});
  });
  ServerOptions options;
  options.listen = {{.unix_path = dir.socket(), .mode = 0600}};
  auto server = Server::Start(options, router);
  ASSERT_TRUE(server.ok()) << server.status();
  struct stat st {};
  ASSERT_EQ(::stat(dir.socket().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  const ClientTarget target{.unix_path = dir.socket()};
  const auto who = Call(target, {.path = "/who"});
  ASSERT_TRUE(who.ok()) << who.status();
  EXPECT_EQ(who->body, "1 " + std::to_string(::getuid()) + " " + std::to_string(::getpid()));
  const std::string big(900'000, 'y');
  const auto echo = Call(target, {.method = "POST", .path = "/echo", .body = big});
  ASSERT_TRUE(echo.ok()) << echo.status();
  EXPECT_EQ(echo->body, big);

  const auto second = Server::Start(options, router);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists) << second.status();
  EXPECT_TRUE(Call(target, {.path = "/who"}).ok()) << "the first one is unharmed";
  server->reset();
  EXPECT_NE(::access(dir.socket().c_str(), F_OK), 0) << "removed at the end";
}

TEST(ServerTest, StaleSocketIsReplacedOtherFilesAreNot) {
  const TempDir dir;
  {
    // Left behind: bound, never removed.
    auto fd = ListenUnix(dir.socket(), 0600, "");
    ASSERT_TRUE(fd.ok());
  }
  ASSERT_EQ(::access(dir.socket().c_str(), F_OK), 0);
  ServerOptions options;
  options.listen = {{.unix_path = dir.socket()}};
  EXPECT_TRUE(Server::Start(options, Router()).ok());
  std::ofstream(dir.socket()) << "precious";
  EXPECT_EQ(Server::Start(options, Router()).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(::access(dir.socket().c_str(), F_OK), 0);
  options.listen = {{.unix_path = std::string(200, 'x')}};
  EXPECT_EQ(Server::Start(options, Router()).status().code(), absl::StatusCode::kInvalidArgument);
  ::unlink(dir.socket().c_str());
  options.listen = {{.unix_path = dir.socket(), .group = "no-such-group"}};
  EXPECT_EQ(Server::Start(options, Router()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(::access(dir.socket().c_str(), F_OK), 0) << "nothing left behind";
}

TEST(ServerTest, ListenErrors) {
  const auto server = StartTcp(EchoRouter());
  ServerOptions options;
  options.listen = {{.tcp = "127.0.0.1:" + std::to_string(server->port(0))}};
  EXPECT_EQ(Server::Start(options, Router()).status().code(), absl::StatusCode::kAlreadyExists);
  for (const char* bad : {"", "nonsense", "no-name.invalid:80", "127.0.0.1:99999"}) {
    options.listen = {{.tcp = bad}};
    EXPECT_EQ(Server::Start(options, Router()).status().code(), absl::StatusCode::kInvalidArgument);
  }
  options.listen = {{.tcp = ":0"}};
  EXPECT_TRUE(Server::Start(options, Router()).ok());
}

TEST(ServerTest, TlsCertificates) {
  const test::Certificate a = test::MakeCertificate(), b = test::MakeCertificate();
  ServerOptions options;
  options.listen = {{.tcp = "127.0.0.1:0",
                     .tls = TlsServerOptions{.cert_pem = a.cert_pem, .key_pem = b.key_pem}}};
  EXPECT_EQ(Server::Start(options, Router()).status().code(), absl::StatusCode::kInvalidArgument);
  options.listen[0].tls =
      TlsServerOptions{.cert_pem = a.cert_pem, .key_pem = a.key_pem, .client_ca_pem = b.cert_pem};
  auto server = Server::Start(options, EchoRouter());
  ASSERT_TRUE(server.ok()) << server.status();
  const auto call = [&](const TlsClientOptions& tls) {
    return Call({.host = "127.0.0.1", .port = (*server)->port(0), .tls = *TlsClient::Create(tls)},
                {.path = "/hello/x"});
  };
  EXPECT_FALSE(call({.ca_pem = a.cert_pem}).ok()) << "no client certificate";
  const auto good = call({.ca_pem = a.cert_pem, .cert_pem = b.cert_pem, .key_pem = b.key_pem});
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->body, "hello x");
  EXPECT_FALSE((*server)->ReplaceTls(0, {.cert_pem = "x", .key_pem = "y"}).ok());
  ASSERT_TRUE((*server)->ReplaceTls(0, {.cert_pem = b.cert_pem, .key_pem = b.key_pem}).ok());
  EXPECT_TRUE(call({.ca_pem = b.cert_pem}).ok());
}

TEST(ServerTest, EndsWithConnectionsOfEveryKind) {
  Router router = EchoRouter();
  std::vector<std::shared_ptr<Responder>> parked;
  router.Handle("GET", "/park", [&](Request, Responder r) {
    parked.push_back(std::make_shared<Responder>(std::move(r)));
  });
  auto server = StartTcp(std::move(router));
  std::vector<UniqueFd> fds;
  for (const char* text : {"", "GET /par", "GET /park HTTP/1.1\r\nHost: x\r\n\r\n",
                           "POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"}) {
    fds.push_back(ConnectTo(server->port(0)));
    SendAll(fds.back().get(), text);
  }
  EXPECT_TRUE(test::Eventually([&] { return server->connections() == fds.size(); }));
  server.reset();
  for (const UniqueFd& fd : fds) EXPECT_EQ(ReadAll(fd.get()), "");
}

}  // namespace
}  // namespace epp::http
