#include "host/runtime/services.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/runtime/listeners.h"
#include "host/runtime/test_rig.h"

namespace epp::runtime {
namespace {

using ::testing::HasSubstr;

// Answers every line with its greeting and the line, until the client closes.
class Echo {
 public:
  static constexpr const char* kName = "echo-service";
  static constexpr const char* kDoc = "Echoes lines.";
  static constexpr std::array kParams{String("greeting", "a", "Precedes every line."),
                                      String("listen", "127.0.0.1:0", "Where to listen.")};
  static Result<Echo> Create(const Context& ctx) {
    return std::make_unique<Echo>(ctx.host(), std::string(ctx.str(0)), std::string(ctx.str(1)));
  }
  Echo(Host host, std::string greeting, std::string listen)
      : host_(host), greeting_(std::move(greeting)), listen_(std::move(listen)) {}

  Status Start() {
    table_ = host_.Extension<epp_host_listener>(EPP_HOST_LISTENER_ID);
    if (table_ == nullptr) return {EPP_UNAVAILABLE, "the host lends no listeners"};
    epp_error err{sizeof(epp_error), EPP_OK, {}};
    const epp_status status = table_->borrow(host_.raw()->ctx, Str(listen_), &fd_, &err);
    if (status != EPP_OK) return {status, err.message};
    sockaddr_in where{};
    socklen_t size = sizeof(where);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&where), &size);
    port.store(ntohs(where.sin_port));
    accepter_ = std::thread([this] { Accept(); });
    return {};
  }
  void Drain(uint64_t) {
    draining_.store(true);
    Wake();
  }
  void Stop() {
    stopping_.store(true);
    Drain(0);
    accepter_.join();
    for (std::thread& t : talkers_) t.join();
    ++stops;
  }
  uint64_t Running() const { return running_.load(); }

  static inline std::atomic<int> port{0};
  static inline std::atomic<int> stops{0};

 private:
  void Wake() const { EXPECT_EQ(eventfd_write(wake_.get(), 1), 0); }
  void Accept() {
    while (!draining_.load()) {
      std::array<pollfd, 2> ready{pollfd{fd_, POLLIN, 0}, pollfd{wake_.get(), POLLIN, 0}};
      ::poll(ready.data(), ready.size(), -1);
      if (draining_.load()) break;
      const int peer = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (peer < 0) continue;  // the other service was faster
      running_.fetch_add(1);
      talkers_.emplace_back([this, peer] { Talk(UniqueFd(peer)); });
    }
    table_->give_back(host_.raw()->ctx, fd_);
  }
  void Talk(UniqueFd peer) {
    std::array<char, 256> buffer;
    while (!stopping_.load()) {
      pollfd ready{peer.get(), POLLIN, 0};
      if (::poll(&ready, 1, 10) == 0) continue;
      const ssize_t n = ::read(peer.get(), buffer.data(), buffer.size());
      if (n <= 0) break;
      const std::string answer = greeting_ + std::string(buffer.data(), static_cast<size_t>(n));
      if (::write(peer.get(), answer.data(), answer.size()) < 0) break;
    }
    running_.fetch_sub(1);
  }

  const Host host_;
  const std::string greeting_;
  const std::string listen_;
  const epp_host_listener* table_ = nullptr;
  int fd_ = -1;
  const UniqueFd wake_{eventfd(0, EFD_CLOEXEC)};
  std::atomic<bool> draining_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> running_{0};
  std::thread accepter_;
  std::vector<std::thread> talkers_;
};

class Client {
 public:
  Client() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(static_cast<uint16_t>(Echo::port.load()));
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&where), sizeof(where)) == 0;
  }
  // Empty when the connection broke, or after 10 s.
  std::string Say(const std::string& line) const {
    if (::write(fd_.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
      return "";
    pollfd ready{fd_.get(), POLLIN, 0};
    if (::poll(&ready, 1, 10'000) != 1) return "";
    std::array<char, 256> buffer;
    const ssize_t n = ::read(fd_.get(), buffer.data(), buffer.size());
    return n <= 0 ? "" : std::string(buffer.data(), static_cast<size_t>(n));
  }
  bool connected = false;

 private:
  const UniqueFd fd_;
};

constexpr uint64_t kNever = ~uint64_t{0};

class ServicesTest : public ::testing::Test {
 protected:
  ServicesTest() {
    Echo::stops.store(0);
    config::test::AddTypes<Echo>(*rig_.catalog);
  }
  std::unique_ptr<Generation> Build(const std::string& greeting, const Generation* former = nullptr,
                                    const std::string& more = "") {
    auto built = rig_.Build(
        "plugins: [{type: echo-service, parameters: {greeting: \"" + greeting + "\"" + more + "}}]",
        former);
    EXPECT_NE(built, nullptr) << rig_.out.Render();
    return built;
  }
  bool LookUntilEmpty() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (services_.draining() && std::chrono::steady_clock::now() < deadline) {
      services_.Look(1);
      std::this_thread::yield();
    }
    return !services_.draining();
  }

  Listeners listeners_;
  test::Rig rig_{1, &listeners_};
  std::vector<std::unique_ptr<Generation>> generations_;
  Services services_;
};

TEST_F(ServicesTest, AReloadUnderLoadBreaksAndRefusesNothing) {
  auto serving = Build("a:");
  ASSERT_TRUE(services_.Start(*serving).ok());
  const Client old;
  ASSERT_EQ(old.Say("x"), "a:x");

  std::atomic<bool> done{false};
  std::atomic<int> refused{0}, broken{0}, served{0};
  std::vector<std::thread> load;
  for (int i = 0; i < 3; ++i) {
    load.emplace_back([&] {
      while (!done.load()) {
        const Client client;
        if (!client.connected) {
          ++refused;
        } else if (client.Say("y").empty() || client.Say("z").empty()) {
          ++broken;
        } else {
          ++served;
        }
      }
    });
  }
  std::vector<std::unique_ptr<Generation>> former;
  for (int i = 0; i < 20; ++i) {
    auto next = Build(std::string(1, static_cast<char>('b' + i)) + ":", serving.get());
    ASSERT_TRUE(services_.Start(*next).ok());
    services_.Retire(*next, kNever);
    services_.Look(1);
    former.push_back(std::exchange(serving, std::move(next)));
    const int before = served.load();
    while (served.load() < before + 20) std::this_thread::yield();
  }
  done.store(true);
  for (std::thread& t : load) t.join();
  EXPECT_EQ(refused.load(), 0);
  EXPECT_EQ(broken.load(), 0);
  EXPECT_EQ(listeners_.open(), 1u);
  EXPECT_EQ(old.Say("x"), "a:x") << "a connection from before all reloads";
  EXPECT_EQ(Client().Say("x"), "u:x");
}

TEST_F(ServicesTest, AServiceThatTheNextGenerationSharesIsLeftAlone) {
  const auto first = Build("a:");
  ASSERT_TRUE(services_.Start(*first).ok());
  const Client client;
  EXPECT_EQ(client.Say("x"), "a:x");
  const auto second = Build("a:", first.get());
  ASSERT_TRUE(services_.Start(*second).ok());
  services_.Retire(*second, kNever);
  EXPECT_FALSE(services_.draining());
  EXPECT_EQ(client.Say("x"), "a:x");
  EXPECT_EQ(Echo::stops.load(), 0);
}

TEST_F(ServicesTest, ADrainWaitsForWhatRunsUntilItsDeadline) {
  const auto first = Build("a:");
  ASSERT_TRUE(services_.Start(*first).ok());
  auto client = std::make_unique<Client>();
  ASSERT_EQ(client->Say("x"), "a:x");
  EXPECT_EQ(services_.running(), 1u);
  services_.DrainAll(100);
  services_.Look(99);
  EXPECT_TRUE(services_.draining());
  EXPECT_EQ(client->Say("x"), "a:x");
  services_.Look(100);
  EXPECT_TRUE(services_.empty());
  EXPECT_EQ(client->Say("x"), "");
  EXPECT_EQ(listeners_.open(), 0u);
}

TEST_F(ServicesTest, AnIdleServiceIsStoppedAtOnce) {
  const auto first = Build("a:");
  ASSERT_TRUE(services_.Start(*first).ok());
  { EXPECT_EQ(Client().Say("x"), "a:x"); }
  services_.DrainAll(kNever);
  EXPECT_TRUE(LookUntilEmpty());
  EXPECT_EQ(Echo::stops.load(), 1);
}

TEST_F(ServicesTest, AServiceThatDoesNotStartChangesNothing) {
  const auto first = Build("a:");
  ASSERT_TRUE(services_.Start(*first).ok());
  const auto second = Build("b:", first.get(), ", listen: nowhere");
  const absl::Status status = services_.Start(*second);
  EXPECT_EQ(status.message(),
            "service \"echo-service\" (echo-service) does not start: listen address is "
            "\"nowhere\", want IPv4:port or [IPv6]:port");
  EXPECT_EQ(Client().Say("x"), "a:x");
}

TEST(ListenersTest, WhatIsTakenIsSaidSo) {
  Listeners one, two;
  const auto fd = one.Borrow("127.0.0.1:0");
  ASSERT_TRUE(fd.ok());
  sockaddr_in where{};
  socklen_t size = sizeof(where);
  getsockname(*fd, reinterpret_cast<sockaddr*>(&where), &size);
  const std::string address = "127.0.0.1:" + std::to_string(ntohs(where.sin_port));
  EXPECT_THAT(std::string(two.Borrow(address).status().message()), HasSubstr("in use"));
  one.GiveBack(*fd);
  EXPECT_EQ(one.open(), 0u);
  const auto again = two.Borrow(address);
  EXPECT_TRUE(again.ok()) << again.status();
  two.GiveBack(*again);
}

}  // namespace
}  // namespace epp::runtime
