// The two ends of a proxy under test, and the least that a proxy can do. See Usage.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <thread>
#include <vector>

#include "tests/bench/sidecar_net.h"

namespace epp::bench {
namespace {

constexpr const char* kUsage = R"(Usage: sidecar_load MODE [--name value]...

upstream  An engine without an engine, one thread. Prints two ports: of decode, and of prefill. Decode
          answers with events of a chat, prefill with kv_transfer_params. The target of a request says
          how: /v1/chat/completions?chunks=20&gap_us=5000&hold_us=0 are 20 events, the first after
          hold_us with the head and the others gap_us apart. chunks=0 is an answer in one piece.
            --chunk-bytes 200   size of an event

relay     Reads requests with a Content-Length, writes them to --to PORT, and the answers back: a
          thread with blocking calls for each connection. Prints its port.
            --times 1           writes each request that many times; the client gets the last answer

drive     Sends requests to --port PORT and prints what it saw as JSON.
            --rate 1000         arrivals a second, at random, whatever has been answered
            --concurrency 0     instead: that many requests at a time
            --seconds 5         how long, after --warmup-ms 500 that do not count
            --chunks 20, --gap-us 5000, --hold-us 0, --body-bytes 1024
            --prefill PORT      names this worker in x-prefiller-host-port
            --pid PID           the proxy: its CPU time and memory are read
)";

void SetNoDelay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n <= 0) Die("relay: write");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

// Reads one message into `buffer`. False when the peer has closed.
bool ReadMessage(int fd, std::string& buffer) {
  buffer.clear();
  static constexpr size_t kStep = 64 * 1024;
  size_t want = 0;
  for (;;) {
    const size_t before = buffer.size();
    buffer.resize(before + kStep);
    const ssize_t n = read(fd, buffer.data() + before, kStep);
    buffer.resize(before + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n <= 0) return false;
    if (want == 0) {
      const size_t end = buffer.find("\r\n\r\n");
      if (end == buffer.npos) continue;
      want = end + 4 + ContentLength(std::string_view(buffer).substr(0, end + 4));
      if (buffer.find("chunked") < end) want = SIZE_MAX;
      if (want != SIZE_MAX) buffer.reserve(want + kStep);
    }
    if (want == SIZE_MAX ? buffer.ends_with("0\r\n\r\n") : buffer.size() >= want) return true;
  }
}

void RelayConnection(int client, uint16_t to, int64_t times) {
  const int upstream = Connect(to);
  std::string request;
  std::string answer;
  while (ReadMessage(client, request)) {
    for (int64_t i = 0; i < times; ++i) {
      WriteAll(upstream, request);
      if (!ReadMessage(upstream, answer)) Die("relay: the upstream has closed");
    }
    WriteAll(client, answer);
  }
  close(upstream);
  close(client);
}

}  // namespace

void Die(const std::string& why) {
  std::fprintf(stderr, "%s%s%s\n", why.c_str(), errno != 0 ? ": " : "",
               errno != 0 ? std::strerror(errno) : "");
  std::_Exit(1);
}

Flags::Flags(int argc, char** argv, int first) {
  for (int i = first; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    if (!name.starts_with("--")) Die("not a flag: " + std::string(name));
    values_[std::string(name.substr(2))] = argv[i + 1];
  }
}

int64_t Flags::Int(const std::string& name, int64_t other) const {
  const auto it = values_.find(name);
  return it == values_.end() ? other : std::atoll(it->second.c_str());
}

std::string Flags::Text(const std::string& name) const {
  const auto it = values_.find(name);
  return it == values_.end() ? "" : it->second;
}

uint64_t NowNs() {
  timespec time = {};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

void SetNonBlocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

int Listen(uint16_t port, uint16_t* bound) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  where.sin_port = htons(port);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  socklen_t size = sizeof(where);
  if (bind(fd, reinterpret_cast<sockaddr*>(&where), size) != 0 || listen(fd, 4096) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&where), &size) != 0) {
    Die("cannot listen");
  }
  *bound = ntohs(where.sin_port);
  return fd;
}

int Connect(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  where.sin_port = htons(port);
  if (fd < 0 || connect(fd, reinterpret_cast<sockaddr*>(&where), sizeof(where)) != 0) {
    Die("cannot connect");
  }
  SetNoDelay(fd);
  return fd;
}

int64_t QueryInt(std::string_view head, std::string_view name, int64_t other) {
  const std::string_view line = head.substr(0, head.find('\r'));
  const size_t at = line.find(std::string(name) + "=");
  return at == line.npos ? other : std::atoll(line.data() + at + name.size() + 1);
}

size_t ContentLength(std::string_view head) {
  static constexpr std::string_view kName = "content-length:";
  const auto it = std::search(head.begin(), head.end(), kName.begin(), kName.end(),
                              [](char a, char b) { return (a | 0x20) == (b | 0x20); });
  if (it == head.end()) return 0;
  return static_cast<size_t>(std::atoll(std::to_address(it) + kName.size()));
}

int RunRelay(const Flags& flags) {
  uint16_t port = 0;
  const int listener = Listen(0, &port);
  std::printf("%d\n", port);
  std::fflush(stdout);
  const auto to = static_cast<uint16_t>(flags.Int("to", 0));
  const int64_t times = flags.Int("times", 1);
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) Die("relay: accept");
    SetNoDelay(fd);
    std::thread(RelayConnection, fd, to, times).detach();
  }
}

}  // namespace epp::bench

int main(int argc, char** argv) {
  using namespace epp::bench;
  std::signal(SIGPIPE, SIG_IGN);
  const std::string_view mode = argc > 1 ? argv[1] : "";
  const Flags flags(argc, argv, 2);
  if (mode == "upstream") return RunUpstream(flags);
  if (mode == "relay") return RunRelay(flags);
  if (mode == "drive") return RunDrive(flags);
  std::fputs(kUsage, mode == "--help" ? stdout : stderr);
  return mode == "--help" ? 0 : 2;
}
