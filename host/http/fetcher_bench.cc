// The loop's share of a core: 100 targets, each fetched every 50 ms, pages of about 50 KB.
//
//   fetcher_bench [targets] [interval_ms] [page_bytes] [seconds]
//
// The server side runs in a child process, so that the reported time is ours alone. CPU time
// includes the kernel's work on behalf of the loop's thread.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "host/base/clock.h"
#include "host/http/fetcher.h"
#include "host/http/resolver.h"

namespace epp::http {
namespace {

// Answers every request on the listener with `page`; single thread, never returns.
[[noreturn]] void Serve(int listener, const std::string& page) {
  const int epoll = epoll_create1(0);
  epoll_event event{EPOLLIN, {.fd = listener}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  epoll_event events[64];
  char request[4096];
  while (true) {
    const int n = epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < n; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        event.data.fd = ::accept(listener, nullptr, nullptr);
        epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
        continue;
      }
      if (::recv(fd, request, sizeof(request), 0) <= 0) {
        ::close(fd);
        continue;
      }
      for (size_t at = 0; at < page.size();) {
        const ssize_t sent = ::send(fd, page.data() + at, page.size() - at, MSG_NOSIGNAL);
        if (sent <= 0) break;
        at += static_cast<size_t>(sent);
      }
    }
  }
}

int Main(int argc, char** argv) {
  const auto argument = [&](int i, uint64_t otherwise) {
    return argc > i ? std::strtoull(argv[i], nullptr, 10) : otherwise;
  };
  const uint64_t targets = argument(1, 100), interval_ns = argument(2, 50) * 1'000'000;
  const uint64_t page_bytes = argument(3, 50'000), seconds = argument(4, 5);

  Address address = *ParseAddress("127.0.0.1", 0);
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  ::bind(listener, reinterpret_cast<sockaddr*>(&address.storage), address.length);
  ::listen(listener, 4096);
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address.storage), &address.length);
  const uint16_t port = ntohs(reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port);
  const pid_t child = ::fork();
  if (child == 0) {
    Serve(listener, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " +
                        std::to_string(page_bytes) + "\r\n\r\n" + std::string(page_bytes, 'x'));
  }
  ::close(listener);

  std::atomic<uint64_t> pages{0}, errors{0};
  Fetcher fetcher;
  for (uint64_t i = 0; i < targets; ++i) {
    const auto id = fetcher.Add({.host = "127.0.0.1", .port = port});
    auto* tick = new std::function<void(uint64_t)>;  // lives as long as the process
    *tick = [&fetcher, &pages, &errors, id, tick, interval_ns](uint64_t at) {
      fetcher.Fetch(id, 1'000'000'000, 1 << 20, [&](const FetchResult& r) {
        (r.error == FetchError::kNone ? pages : errors).fetch_add(1);
      });
      fetcher.RunAt(at + interval_ns, [tick, at, interval_ns] { (*tick)(at + interval_ns); });
    };
    const uint64_t first = Clock::Real().mono_ns() + interval_ns * i / targets;
    fetcher.RunAt(first, [tick, first] { (*tick)(first); });
  }
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const Fetcher::Stats before = fetcher.stats();
  const uint64_t start = Clock::Real().mono_ns(), first_page = pages;
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  const Fetcher::Stats after = fetcher.stats();
  const uint64_t wall = Clock::Real().mono_ns() - start, count = pages - first_page;
  const double cpu = static_cast<double>(after.cpu_ns - before.cpu_ns);
  std::printf(
      "%llu targets, %llu pages of %llu bytes, %llu errors: %.2f us a fetch, %.1f %% of a core\n",
      static_cast<unsigned long long>(targets), static_cast<unsigned long long>(count),
      static_cast<unsigned long long>(page_bytes), static_cast<unsigned long long>(errors.load()),
      cpu / 1000 / static_cast<double>(count ? count : 1), 100 * cpu / static_cast<double>(wall));
  std::fflush(stdout);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  std::_Exit(errors == 0 && count > 0 ? 0 : 1);
}

}  // namespace
}  // namespace epp::http

int main(int argc, char** argv) { return epp::http::Main(argc, argv); }
