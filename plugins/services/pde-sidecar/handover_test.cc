// A reload as the host does it: the new instance starts on the same socket, then the old one
// drains.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rig.h"

namespace sidecar::test {
namespace {

// One listening socket for all, as the host lends it.
struct Socket {
  Socket() : fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(fd, reinterpret_cast<sockaddr*>(&where), sizeof(where));
    ::listen(fd, 1024);
  }
  ~Socket() { ::close(fd); }
  const int fd;
  static inline Socket* one = nullptr;
  static inline std::atomic<int> lent{0};
  static constexpr epp_host_listener kTable{
      sizeof(epp_host_listener), 0,
      [](void*, epp_str, int32_t* fd, epp_error*) noexcept -> epp_status {
        *fd = ::fcntl(one->fd, F_DUPFD_CLOEXEC, 0);
        lent.fetch_add(1);
        return EPP_OK;
      },
      [](void*, int32_t fd) noexcept {
        ::close(fd);
        lent.fetch_sub(1);
      }};
};

TEST(HandOverTest, NothingIsRefusedOrBroken) {
  Socket socket;
  Socket::one = &socket;
  std::atomic<bool> release{false};
  const FakeWorker engine([&](const Received& request, const Writer& write) {
    if (request.target != "/stream") {
      write(Answer("{}"));
      return;
    }
    write(StreamHead() + Chunk("begin"));
    while (!release.load()) std::this_thread::yield();
    write(Chunk("end") + LastChunk());
  });
  const auto start = [&](Rig& rig) {
    rig.host.SetExtension(EPP_HOST_LISTENER_ID, &Socket::kTable);
    rig.config.threads = 2;
    rig.Start(engine);
  };
  auto serving = std::make_unique<Rig>();
  start(*serving);
  const int port = serving->port();
  Client stream(port);
  stream.Send("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
  stream.ReadUntil("begin");

  std::atomic<bool> done{false};
  std::atomic<int> served{0}, failed{0};
  std::vector<std::thread> load;
  for (int i = 0; i < 3; ++i) {
    load.emplace_back([&] {
      while (!done.load()) {
        (Post(port, "/v1/completions", "{}").body == "{}" ? served : failed).fetch_add(1);
      }
    });
  }
  std::vector<std::unique_ptr<Rig>> former;
  for (int i = 0; i < 5; ++i) {
    auto next = std::make_unique<Rig>();
    start(*next);
    serving->server->Drain();
    former.push_back(std::exchange(serving, std::move(next)));
    const int before = served.load() + failed.load();
    ASSERT_TRUE(Eventually([&] { return served.load() + failed.load() > before + 20; }));
  }
  done.store(true);
  for (std::thread& t : load) t.join();
  EXPECT_EQ(failed.load(), 0);
  EXPECT_GT(served.load(), 100);
  EXPECT_TRUE(Eventually([&] { return Socket::lent.load() == 2; })) << "those of the serving one";
  for (size_t i = 1; i < former.size(); ++i) {
    EXPECT_TRUE(Eventually([&] { return former[i]->server->running() == 0; }));
  }
  EXPECT_TRUE(Eventually([&] { return former[0]->server->running() == 1; }));
  release.store(true);
  const Response response = stream.Read();
  EXPECT_TRUE(response.complete);
  EXPECT_EQ(response.body, "beginend");
}

}  // namespace
}  // namespace sidecar::test
