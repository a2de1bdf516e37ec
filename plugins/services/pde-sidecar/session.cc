#include "session.h"

#include "exchange.h"

namespace sidecar {
namespace {

constexpr size_t kLingerBytes = 1 << 20;
constexpr Milliseconds kLinger{1'000};

// Leaves the client the time to read an answer that came before its request was read to the end:
// closing at once would reset the connection and take the answer with it.
Task<void> Linger(Stream& stream) {
  stream.FinishWriting();
  size_t read = 0;
  while (read < kLingerBytes) {
    std::string ignored;
    if (co_await stream.Read(ignored, kLinger)) co_return;
    read += ignored.size();
  }
}

// Reads a head into `in`. 0 when the connection ended, or was not heard of in time.
Task<size_t> ReadHead(Lane& lane, Stream& stream, std::string& in, Sessions::Entry& entry) {
  const Config& config = lane.shared.config;
  size_t scanned = 0;
  entry.since = std::chrono::steady_clock::now();
  for (;;) {
    // Empty lines before a request are allowed.
    while (in.starts_with("\r\n")) in.erase(0, 2);
    const size_t size = HeadSize(in, scanned);
    if (size != 0 && size <= config.max_header_bytes) co_return size;
    if (in.size() > config.max_header_bytes) co_return in.size();
    entry.idle = in.empty();
    if (co_await stream.Read(in, in.empty() ? config.idle_timeout : config.header_timeout)) {
      co_return 0;
    }
    entry.idle = false;
  }
}

}  // namespace

void Sessions::CloseIdle(Milliseconds least) {
  const auto before = std::chrono::steady_clock::now() - least;
  for (Entry* entry : entries_) {
    if (entry->idle && entry->since <= before) entry->stream->Close();
  }
}

Task<void> RunSession(Lane& lane, Sessions& sessions, asio::ip::tcp::socket socket, uint32_t rank) {
  Stream stream(std::move(socket));
  Sessions::Entry entry;
  entry.stream = &stream;
  sessions.Add(&entry);
  std::string in;
  bool open = true;
  if (TlsContext* const tls = lane.shared.listener_tls.get(); tls != nullptr) {
    entry.idle = false;
    open = !co_await stream.Secure(*tls, "", lane.shared.config.header_timeout);
    if (!open) {
      lane.shared.host.Log(EPP_LOG_DEBUG,
                           "TLS with " + stream.peer_ip() + " fails: " + stream.tls_error());
    }
    entry.idle = true;
  }
  while (open) {
    const size_t size = co_await ReadHead(lane, stream, in, entry);
    if (size == 0) break;
    entry.idle = false;
    RequestHead head;
    const bool too_large = size > lane.shared.config.max_header_bytes;
    const char* const wrong = too_large ? "the head is too large"
                                        : ParseRequest(std::string_view(in).substr(0, size), &head);
    if (wrong != nullptr) {
      const RequestHead unknown;
      Reply reply(stream, unknown, lane.shared.config, true);
      co_await reply.Error(too_large ? 431 : 400, "BadRequestError", wrong);
      co_await Linger(stream);
      break;
    }
    in.erase(0, size);
    const auto exchange = std::make_shared<Exchange>(lane, stream, in, std::move(head), rank);
    co_await exchange->Run();
    if (!exchange->reusable()) {
      if (exchange->answered()) co_await Linger(stream);
      break;
    }
    entry.idle = true;
  }
  sessions.Remove(&entry);
  stream.Close();
  lane.shared.connections.fetch_sub(1);
}

}  // namespace sidecar
