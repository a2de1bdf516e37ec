// The engine of sidecar_load: one thread, epoll, as little work as possible for each event.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>
#include <queue>
#include <vector>

#include "tests/bench/sidecar_net.h"

namespace epp::bench {
namespace {

constexpr std::string_view kTime = R"("t":)";

constexpr std::string_view kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: "
    "no-cache\r\n"
    "Server: engine\r\nTransfer-Encoding: chunked\r\n\r\n";
constexpr std::string_view kPrefillBody =
    R"({"id":"cmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":)"
    R"(0,"message":{"role":"assistant","content":"a"},"finish_reason":"length"}],"usage":{"prompt_tok)"
    R"(ens":1000,"completion_tokens":1,"total_tokens":1001},"kv_transfer_params":{"do_remote_prefill":)"
    R"(true,"do_remote_decode":false,"remote_engine_id":"e-1","remote_block_ids":[1,2,3,4,5,6,7,8],)"
    R"("remote_host":"10.0.0.1","remote_port":5600}})";

// An event as a chunk, with room for a time.
std::string MakeEvent(size_t bytes) {
  std::string event =
      "data: {" + std::string(kTime) + "0000000000000000000" +
      R"(,"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,)"
      R"("delta":{"content":")";
  static constexpr std::string_view kEnd = "\"}}]}\n\n";
  event.append(bytes - std::min(bytes, event.size() + kEnd.size()), 'x');
  event += kEnd;
  std::array<char, 16> size;
  const auto end = std::to_chars(size.data(), size.data() + size.size(), event.size(), 16).ptr;
  return std::string(size.data(), end) + "\r\n" + event + "\r\n";
}

struct Peer {
  int fd = -1;
  bool prefill = false;
  std::string in;  // of a head
  uint64_t body_left = 0;
  bool reading = false;  // a body
  int64_t chunks = 0;    // still to be sent
  int64_t gap_ns = 0;
  int64_t hold_ns = 0;
  bool whole = false;
  bool head_sent = false;
  bool is_due = false;  // the queue knows it
};

struct Due {
  uint64_t at;
  Peer* peer;
  bool operator>(const Due& other) const { return at > other.at; }
};

class Upstream {
 public:
  explicit Upstream(const Flags& flags)
      : event_(MakeEvent(static_cast<size_t>(flags.Int("chunk-bytes", 200)))) {}

  int Run() {
    uint16_t decode = 0;
    uint16_t prefill = 0;
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    listeners_ = {Listen(0, &decode), Listen(0, &prefill)};
    for (const int& fd : listeners_) {
      SetNonBlocking(fd);
      epoll_event event{EPOLLIN, {.ptr = const_cast<int*>(&fd)}};
      epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
    }
    std::printf("%d %d\n", decode, prefill);
    std::fflush(stdout);
    for (;;) Turn();
  }

 private:
  void Turn() {
    std::array<epoll_event, 64> events;
    timespec wait{1, 0};
    if (!due_.empty()) {
      const uint64_t now = NowNs();
      const uint64_t left = due_.top().at > now ? due_.top().at - now : 0;
      wait = {static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
    }
    const int n = epoll_pwait2(epoll_, events.data(), events.size(), &wait, nullptr);
    for (int i = 0; i < n; ++i) {
      void* const what = events[static_cast<size_t>(i)].data.ptr;
      if (what == &listeners_[0] || what == &listeners_[1]) {
        Accept(what == &listeners_[1]);
      } else {
        Read(static_cast<Peer*>(what));
      }
    }
    const uint64_t now = NowNs();
    while (!due_.empty() && due_.top().at <= now) {
      Peer* const peer = due_.top().peer;
      due_.pop();
      peer->is_due = false;
      if (peer->fd < 0) {
        delete peer;  // it has left while this was due
      } else {
        Answer(peer, now);
      }
    }
  }

  void Accept(bool prefill) {
    for (;;) {
      const int fd = accept4(listeners_[prefill ? 1 : 0], nullptr, nullptr, SOCK_NONBLOCK);
      if (fd < 0) return;
      auto* const peer = new Peer;
      peer->fd = fd;
      peer->prefill = prefill;
      epoll_event event{EPOLLIN, {.ptr = peer}};
      epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
    }
  }

  void Close(Peer* peer) {
    close(peer->fd);
    peer->fd = -1;
    if (!peer->is_due) delete peer;
  }

  void Read(Peer* peer) {
    const ssize_t n = recv(peer->fd, scratch_.data(), scratch_.size(), 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return Close(peer);
    std::string_view bytes(scratch_.data(), static_cast<size_t>(n));
    if (!peer->reading) {
      peer->in += bytes;
      const size_t end = peer->in.find("\r\n\r\n");
      if (end == peer->in.npos) return;
      const std::string_view head = std::string_view(peer->in).substr(0, end + 4);
      peer->body_left = ContentLength(head);
      peer->chunks = QueryInt(head, "chunks", 20);
      peer->gap_ns = QueryInt(head, "gap_us", 5'000) * 1'000;
      peer->hold_ns = QueryInt(head, "hold_us", 0) * 1'000;
      peer->whole = peer->chunks == 0 || peer->prefill;
      peer->reading = true;
      const size_t more = peer->in.size() - head.size();
      bytes.remove_prefix(bytes.size() - std::min(more, bytes.size()));
    }
    peer->body_left -= std::min<uint64_t>(peer->body_left, bytes.size());
    if (peer->body_left != 0) return;
    peer->reading = false;
    peer->in.clear();
    if (peer->hold_ns == 0) return Answer(peer, NowNs());
    Later(peer, NowNs() + static_cast<uint64_t>(peer->hold_ns));
  }

  void Later(Peer* peer, uint64_t at) {
    peer->is_due = true;
    due_.push({at, peer});
  }

  void Send(Peer* peer, std::string_view bytes) {
    // Nothing that is sent here fills a socket's buffer; a client that does not read is cut.
    if (send(peer->fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(bytes.size())) {
      shutdown(peer->fd, SHUT_RDWR);
    }
  }

  void Answer(Peer* peer, uint64_t now) {
    if (peer->whole) {
      out_ =
          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: engine\r\nContent-Length: ";
      out_ += std::to_string(kPrefillBody.size());
      out_ += "\r\n\r\n";
      out_ += kPrefillBody;
      return Send(peer, out_);
    }
    out_ = peer->head_sent ? "" : kStreamHead;
    peer->head_sent = true;
    const std::string time = std::to_string(now + kTimeBase);
    event_.replace(event_.find(kTime) + kTime.size(), time.size(), time);
    out_ += event_;
    if (--peer->chunks == 0) {
      out_ += "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
      peer->head_sent = false;
    } else {
      Later(peer, now + static_cast<uint64_t>(peer->gap_ns));
    }
    Send(peer, out_);
  }

  std::string event_;
  int epoll_ = -1;
  std::array<int, 2> listeners_{};
  std::array<char, 256 * 1024> scratch_;
  std::string out_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
};

}  // namespace

int RunUpstream(const Flags& flags) { return std::make_unique<Upstream>(flags)->Run(); }

}  // namespace epp::bench
