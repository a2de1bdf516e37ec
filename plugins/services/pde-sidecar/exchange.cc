#include "exchange.h"

#include <algorithm>
#include <array>

#include "usage.h"

namespace sidecar {
namespace {

constexpr size_t kJoinBytes = 8 * 1024;     // pieces up to this size are copied to be sent together
constexpr size_t kReserveBytes = 4 << 20;   // room made for a body that has yet to come
constexpr size_t kWholeBytes = 256 * 1024;  // bodies up to this size are read before they are sent

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The addresses of a routing header: the elements of a single line, or several lines as they are.
std::vector<std::string> Addresses(const Headers& headers, std::string_view name) {
  const std::vector<std::string> lines = headers.GetAll(name);
  if (lines.size() != 1) {
    std::vector<std::string> out;
    for (const std::string& line : lines) out.emplace_back(Trim(line));
    return out;
  }
  std::vector<std::string> out;
  std::string_view rest = lines.front();
  for (;;) {
    const size_t comma = rest.find(',');
    out.emplace_back(Trim(rest.substr(0, comma)));
    if (comma == rest.npos) return out;
    rest.remove_prefix(comma + 1);
  }
}

std::optional<Api> ApiOf(std::string_view path) {
  if (path == "/v1/chat/completions" || path == "/v1/completions" || path == "/v1/messages") {
    return Api::kChat;
  }
  if (path == "/v1/responses") return Api::kResponses;
  if (path == "/inference/v1/generate") return Api::kGenerate;
  return std::nullopt;
}

bool IsEventStream(const ResponseHead& head) {
  return head.headers.Get("content-type").value_or("").find("text/event-stream") !=
         std::string_view::npos;
}

}  // namespace

Exchange::Exchange(Lane& lane, Stream& client, std::string& in, RequestHead head, uint32_t rank)
    : lane_(lane),
      client_(client),
      in_(in),
      head_(std::move(head)),
      rank_(rank),
      reply_(client, head_, lane.shared.config, lane.shared.draining.load()),
      body_decoder_(head_.framing) {
  lane_.shared.exchanges.fetch_add(1);
}

Task<void> Exchange::Run() {
  const auto self = shared_from_this();
  co_await Route();
  over_ = true;
  if (watching_) client_.StopWaiting();
  record_.status = reply_.status();
  record_.client_left = client_gone_;
  record_.cut = reply_.broken();
  record_.sent = reply_.sent();
  if (record_.why.empty()) record_.why = reply_.why();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - record_.since;
  record_.seconds = took.count();
  if (record_.sent > 0) {
    record_.first_byte = std::chrono::duration<double>(reply_.first() - record_.since).count();
  }
  if (prefills_pending_ == 0) TellRecord();
  lane_.shared.exchanges.fetch_sub(1);
}

void Exchange::TellRecord() {
  const epp::Host& host = lane_.shared.host;
  if (record_.api.empty()) return;
  if (!host.LogEnabled(EPP_LOG_INFO)) return;
  const double share = config().record_share;
  if (share < 1 && record_.plain() && host.random_unit() >= share) return;
  host.Log(EPP_LOG_INFO, "request " + record_.Json(head_.headers.Get("x-request-id").value_or(""),
                                                   head_.method, head_.path(), rank_));
}

void Exchange::Fell(Fallback fallback) {
  if (record_.fell(fallback)) return;
  record_.Fell(fallback);
  lane_.shared.metrics.fallbacks[static_cast<size_t>(fallback)].Add(1);
}

Task<void> Exchange::Route() {
  const bool reads = head_.method == "GET" || head_.method == "HEAD";
  const std::string path(head_.path());
  if (reads && (path == "/health" || path == "/sidecar/ready")) record_.api = {};
  if (reads && path == "/health") {
    co_await reply_.Whole(200, "", {}, "");
    co_return;
  }
  if (reads && path == "/sidecar/ready") {
    const Shared& shared = lane_.shared;
    if (shared.draining.load()) {
      co_await reply_.Error(503, "ServiceUnavailable", "draining");
    } else if (!shared.engine_up.load()) {
      co_await reply_.Error(503, "ServiceUnavailable", "the engine does not accept connections");
    } else {
      co_await reply_.Whole(200, "", {}, "");
    }
    co_return;
  }
  const std::optional<sidecar::Api> api = head_.method == "POST" ? ApiOf(path) : std::nullopt;
  static constexpr std::array<std::string_view, 3> kApis = {"chat", "responses", "generate"};
  if (api) record_.api = kApis[static_cast<size_t>(*api)];
  lane_.shared.metrics.requests[api ? static_cast<size_t>(*api) : 3].Add(1);
  if (api) {
    co_await Api(*api);
  } else {
    co_await PassThrough(engine(rank_));
  }
}

Task<void> Exchange::Api(sidecar::Api api) {
  Routing routing;
  if (!co_await ReadRouting(&routing)) co_return;
  const Connector* const connector = lane_.shared.connector.get();
  const bool encodes = !routing.encoders.empty() && config().ec_connector != "none";
  const bool disaggregates = routing.prefiller && connector != nullptr;
  const bool is_chat = head_.path() == "/v1/chat/completions";
  const bool chunks = config().decode_chunk_tokens > 0 && is_chat;
  static constexpr std::array<std::string_view, 4> kKinds = {
      "decode-only", "prefill-decode", "encode-decode", "encode-prefill-decode"};
  const size_t kind = (disaggregates ? 1 : 0) + (encodes ? 2 : 0);
  record_.stages = kKinds[kind];
  lane_.shared.metrics.disaggregated[kind].Add(1);
  if (routing.prefiller && !disaggregates) Fell(Fallback::kPrefillOff);
  if (!routing.encoders.empty() && !encodes) Fell(Fallback::kEncodeOff);
  if (!encodes && !disaggregates && !routing.source && !chunks && config().keep_client_params) {
    Target target;
    if (co_await DecodeTarget(routing, &target)) co_await PassThrough(target);
    co_return;
  }
  if (!co_await ReadBody()) co_return;
  Target target;
  if (!co_await DecodeTarget(routing, &target)) co_return;
  if (!encodes && !disaggregates && !routing.source && !chunks) {
    // What is no JSON is the engine's to refuse.
    document_ = Splice::Parse(body_);
    if (document_) DropTransferParams(*document_);
    std::string body = document_ && document_->changed() ? document_->Render() : std::move(body_);
    FreeBodies();
    co_await DecodeBody(target, std::move(body), {}, std::nullopt, false);
    co_return;
  }
  if (!co_await ParseBody()) co_return;
  if (encodes && !co_await Encode(routing.encoders)) co_return;
  Facts facts;
  facts.api = api;
  facts.body = &*document_;
  facts.id = RandomUuid(lane_.shared.host);
  facts.source_id = RandomUuid(lane_.shared.host);
  facts.room = lane_.shared.host.random_u64() >> 1;
  facts.encoded = encodes;
  if (!encodes) facts.source = routing.source;
  if (disaggregates) {
    facts.prefiller = *routing.prefiller;
    if (facts.source && facts.source->SameAs(facts.prefiller)) facts.source.reset();
    co_await Disaggregate(target, std::move(facts));
    co_return;
  }
  const bool own = facts.source && facts.source->host == config().pod_ip &&
                   facts.source->port == config().port + rank_;
  std::string body = facts.source && !own ? PullOnlyBody(config(), facts) : document_->Render();
  co_await DecodeBody(target, std::move(body), {}, std::nullopt,
                      chunks && !encodes && !routing.data_parallel);
}

// Sets how the target is spoken to, which is the operator's to say. False when the header says
// https, and the operator does not.
bool Exchange::Speakable(Target& target, Stage stage) const {
  target.tls = lane_.shared.hop_tls[static_cast<size_t>(stage)].get();
  return target.tls != nullptr || !target.https;
}

// Takes the routing headers out of the head. False when the request was answered.
Task<bool> Exchange::ReadRouting(Routing* out) {
  const Connector* const connector = lane_.shared.connector.get();
  const std::vector<std::string> prefillers = Addresses(head_.headers, "x-prefiller-host-port");
  const std::vector<std::string> encoders = Addresses(head_.headers, "x-encoder-hosts-ports");
  const auto source = head_.headers.Get("x-kv-cache-source-host-port");
  if (source && connector != nullptr && connector->traits().pulls) {
    const std::optional<Target> target = ParseTarget(Trim(*source));
    if (target && !target->https && config().allowed.Allows(*target)) {
      out->source = target;
    } else {
      Fell(Fallback::kSourceDenied);
    }
  } else if (source) {
    Fell(Fallback::kSourceOff);
  }
  for (const std::string& text : encoders) {
    std::optional<Target> target = text.empty() ? std::nullopt : ParseTarget(text, 80);
    if (target && Speakable(*target, Stage::kEncode) && config().allowed.Allows(*target)) {
      out->encoders.push_back(*std::move(target));
    } else if (!text.empty()) {
      Fell(Fallback::kEncoderDenied);
    }
  }
  if (const auto rank = head_.headers.Get("x-data-parallel-host-port"); rank && rank_ == 0) {
    out->data_parallel = std::string(*rank);
  }
  for (const std::string_view name :
       {"x-prefiller-host-port", "x-encoder-hosts-ports", "x-kv-cache-source-host-port"}) {
    head_.headers.Remove(name);
  }
  if (prefillers.empty()) co_return true;
  const size_t index =
      config().prefiller_sampling ? lane_.shared.host.random_u64() % prefillers.size() : 0;
  const std::string& chosen = prefillers[index];
  if (chosen.empty()) co_return true;
  std::optional<Target> target = ParseTarget(chosen, 80);
  const bool speakable = target && Speakable(*target, Stage::kPrefill);
  if (speakable && config().allowed.Allows(*target)) {
    out->prefiller = std::move(target);
    co_return true;
  }
  if (!co_await ReadBody()) co_return false;
  if (speakable) {
    Headers headers;
    headers.Add("Content-Type", "text/plain; charset=utf-8");
    record_.why = "the prefill worker is not allowed";
    co_await reply_.Whole(403, "", std::move(headers), "the prefill worker is not allowed\n");
  } else {
    co_await reply_.Error(502, "BadGateway", "the address of the prefill worker is not host:port");
  }
  co_return false;
}

Task<bool> Exchange::ReadBody() {
  const size_t max = config().max_body_bytes;
  bool too_large = head_.framing.kind == Framing::Kind::kLength && head_.framing.length > max;
  if (head_.expects_continue && !too_large && !body_decoder_.done()) {
    head_.expects_continue = false;
    if (co_await client_.Write("HTTP/1.1 100 Continue\r\n\r\n", "", "", config().stream_timeout)) {
      reply_.CloseAfter();
      co_return false;
    }
  }
  const bool counted = head_.framing.kind == Framing::Kind::kLength;
  if (counted && !too_large) body_.reserve(std::min<uint64_t>(head_.framing.length, kReserveBytes));
  while (!too_large && !body_decoder_.done()) {
    std::string_view rest = in_;
    std::string_view piece;
    do {
      piece = body_decoder_.Take(rest);
      body_ += piece;
    } while (!piece.empty() && body_.size() <= max);
    in_.erase(0, in_.size() - rest.size());
    too_large = body_.size() > max;
    if (body_decoder_.bad()) {
      reply_.CloseAfter();
      co_await reply_.Error(400, "BadRequestError", "the body is not framed well");
      co_return false;
    }
    if (too_large || body_decoder_.done()) break;
    // Read to where it belongs, unless it has to be freed from its framing.
    const size_t before = body_.size();
    std::string& to = counted ? body_ : in_;
    const error_code error = co_await client_.Read(to, config().stream_timeout);
    if (counted) {
      std::string_view more = std::string_view(body_).substr(before);
      body_decoder_.Take(more);
      in_ = more;
      body_.resize(body_.size() - more.size());
    }
    if (error) {
      reply_.CloseAfter();
      if (error == boost::beast::error::timeout) client_.Close();
      client_gone_ = true;
      co_return false;
    }
  }
  if (too_large) {
    reply_.CloseAfter();
    co_await reply_.Error(413, "BadRequestError",
                          "the body is larger than " + std::to_string(max) + " bytes");
    co_return false;
  }
  if (in_.empty()) Empty(in_);
  watching_ = true;
  Spawn(lane_.io, Watch());
  co_return true;
}

Task<bool> Exchange::ParseBody() {
  std::string why;
  document_ = Splice::Parse(body_, &why);
  if (!document_) {
    co_await reply_.Error(400, "BadRequestError", why);
    co_return false;
  }
  if (!config().keep_client_params) DropTransferParams(*document_);
  co_return true;
}

// Which rank decodes. False when the request was answered.
Task<bool> Exchange::DecodeTarget(const Routing& routing, Target* out) {
  *out = engine(rank_);
  if (!routing.data_parallel) co_return true;
  const std::optional<Target> wanted = ParseTarget(*routing.data_parallel);
  for (uint32_t rank = 0; wanted && rank < config().data_parallel_size; ++rank) {
    if (wanted->host == config().pod_ip && wanted->port == config().port + rank) {
      *out = engine(rank);
      co_return true;
    }
  }
  if (!body_decoder_.done()) reply_.CloseAfter();
  record_.why = "x-data-parallel-host-port names no rank";
  co_await reply_.Whole(400, "", {}, "");
  co_return false;
}

Task<void> Exchange::Watch() {
  const auto self = shared_from_this();
  while (!over_) {
    co_await client_.WaitReadable();
    if (over_) co_return;
    if (!client_.PeerGone()) co_return;  // its next request; from here on a write will tell
    ClientGone();
    co_return;
  }
}

void Exchange::ClientGone() {
  client_gone_ = true;
  for (const std::weak_ptr<Call>& weak : calls_) {
    if (const auto call = weak.lock()) call->Cancel();
  }
}

std::shared_ptr<Call> Exchange::NewCall(const Target& target) {
  auto call = std::make_shared<Call>(lane_.pool, target);
  std::erase_if(calls_, [](const std::weak_ptr<Call>& weak) { return weak.expired(); });
  calls_.push_back(call);
  if (client_gone_) call->Cancel();
  return call;
}

Headers Exchange::Forwarded(bool readable) const {
  Headers headers = head_.headers;
  headers.DropHopByHop();
  headers.Remove("content-length");
  if (readable) headers.Remove("accept-encoding");
  const auto before = headers.Get("x-forwarded-for");
  headers.Set("X-Forwarded-For",
              before ? std::string(*before) + ", " + client_.peer_ip() : client_.peer_ip());
  return headers;
}

std::string Exchange::HeadLines(const Headers& headers) const {
  std::string out = head_.method + " " + head_.target + " HTTP/1.1\r\n";
  if (!headers.Get("host")) out += "Host: localhost\r\n";  // of an HTTP/1.0 client
  headers.AppendTo(out);
  return out;
}

std::string Exchange::HeadFor(const std::vector<Header>& set, size_t body_bytes,
                              bool readable) const {
  Headers headers = Forwarded(readable);
  for (const Header& header : set) headers.Set(header.name, header.value);
  std::string out = HeadLines(headers);
  if (body_bytes != 0 || head_.framing.kind != Framing::Kind::kNone) {
    out += "Content-Length: " + std::to_string(body_bytes) + "\r\n";
  }
  return out + "\r\n";
}

void Exchange::Count(Stage stage, std::chrono::steady_clock::time_point since, bool ok,
                     const Call& call, int status, uint32_t calls) {
  const Metrics& metrics = lane_.shared.metrics;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - since;
  metrics.seconds[static_cast<size_t>(stage)].Add(took.count());
  if (!ok) metrics.errors[static_cast<size_t>(stage)].Add(1);
  Note(stage == Stage::kPrefill ? "prefill" : "decode", since, call, status, calls);
}

void Exchange::Note(std::string_view stage, std::chrono::steady_clock::time_point since,
                    const Call& call, int status, uint32_t calls) {
  if (!lane_.shared.host.LogEnabled(EPP_LOG_INFO)) return;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - since;
  record_.Add({stage, call.target().text(), took.count(), status, call.error(), call.sent(),
               call.received(), calls, call.tls_error()});
}

Target Exchange::engine(uint32_t rank) const {
  return {config().engine_host, static_cast<uint16_t>(config().engine_port + rank), false,
          lane_.shared.hop_tls[static_cast<size_t>(Stage::kDecode)].get()};
}

// To the engine and back, without looking into either body.
Task<void> Exchange::PassThrough(const Target& target) {
  const Framing framing = head_.framing;
  const bool whole = framing.kind == Framing::Kind::kNone ||
                     (framing.kind == Framing::Kind::kLength && framing.length <= kWholeBytes);
  if (whole) {
    if (!co_await ReadBody()) co_return;
    co_await DecodeBody(target, std::move(body_), {}, std::nullopt, false);
    co_return;
  }
  const std::shared_ptr<Call> call = NewCall(target);
  const bool chunked = framing.kind == Framing::Kind::kChunked;
  std::string head = HeadLines(Forwarded(false));
  head += chunked ? std::string("Transfer-Encoding: chunked\r\n\r\n")
                  : "Content-Length: " + std::to_string(framing.length) + "\r\n\r\n";
  const auto begun = std::chrono::steady_clock::now();
  if (!co_await call->Begin(std::move(head))) {
    Count(Stage::kDecode, begun, false, *call, 0);
    reply_.CloseAfter();
    co_await DecodeFailed(call->error());
    co_return;
  }
  if (head_.expects_continue) {
    if (co_await client_.Write("HTTP/1.1 100 Continue\r\n\r\n", "", "", config().stream_timeout)) {
      reply_.CloseAfter();
      co_return;
    }
  }
  bool taken = true;  // by the engine; it may answer before it has read everything
  while (taken && !body_decoder_.done()) {
    std::string out;
    std::string_view rest = in_;
    for (std::string_view piece = body_decoder_.Take(rest); !piece.empty();
         piece = body_decoder_.Take(rest)) {
      if (chunked) {
        std::array<char, 20> size;
        const int n = std::snprintf(size.data(), size.size(), "%zx\r\n", piece.size());
        out.append(size.data(), static_cast<size_t>(n));
        out += piece;
        out += "\r\n";
      } else {
        out += piece;
      }
    }
    in_.erase(0, in_.size() - rest.size());
    if (body_decoder_.bad()) {
      call->Cancel();
      reply_.CloseAfter();
      co_await reply_.Error(400, "BadRequestError", "the body is not framed well");
      co_return;
    }
    if (chunked && body_decoder_.done()) out += "0\r\n\r\n";
    if (!out.empty()) taken = co_await call->Send(out, "");
    if (!taken || body_decoder_.done()) break;
    if (co_await client_.Read(in_, config().stream_timeout)) {
      call->Cancel();
      reply_.CloseAfter();
      co_return;
    }
  }
  if (!taken) reply_.CloseAfter();
  watching_ = true;
  Spawn(lane_.io, Watch());
  ResponseHead answer;
  const auto since = std::chrono::steady_clock::now();
  if (!co_await call->ReadHead(head_.method, config().answer_timeout, &answer)) {
    Count(Stage::kDecode, since, false, *call, 0);
    co_await DecodeFailed(call->error());
    co_return;
  }
  const int status = answer.status;
  co_await Relay(*call, std::move(answer), std::nullopt);
  Count(Stage::kDecode, since, true, *call, status);
}

void Exchange::FreeBodies() {
  document_.reset();
  std::string().swap(body_);
  std::string().swap(encoded_body_);
}

Task<void> Exchange::DecodeBody(const Target& target, std::string body,
                                const std::vector<Header>& set, std::optional<int64_t> cached,
                                bool chunks) {
  if (chunks) {
    co_await DecodeInChunks(target, body, set);
    co_return;
  }
  const auto since = std::chrono::steady_clock::now();
  const std::shared_ptr<Call> call = NewCall(target);
  ResponseHead answer;
  std::string head = HeadFor(set, body.size(), cached.has_value());
  if (!co_await call->Ask(head_.method, std::move(head), body, config().answer_timeout, &answer)) {
    Count(Stage::kDecode, since, false, *call, 0);
    co_await DecodeFailed(call->error());
    co_return;
  }
  FreeBodies();
  std::string().swap(body);
  const bool ok = answer.ok();
  const int status = answer.status;
  co_await Relay(*call, std::move(answer), cached);
  Count(Stage::kDecode, since, ok && !reply_.broken(), *call, status);
}

Task<void> Exchange::DecodeFailed(CallError error) {
  switch (error) {
    case CallError::kCancelled:
      reply_.CloseAfter();  // the client is gone
      break;
    case CallError::kRefused:
      co_await reply_.Error(503, "ServiceUnavailable", "the engine refuses connections");
      break;
    case CallError::kTimedOut:
      co_await reply_.Error(504, "GatewayTimeout", "the engine does not answer in time");
      break;
    case CallError::kUntrusted:
      co_await reply_.Error(502, "BadGateway", "TLS with the engine fails");
      break;
    default:
      co_await reply_.Error(502, "BadGateway", "the engine's answer is broken off or malformed");
      break;
  }
}

Task<void> Exchange::Relay(Call& call, ResponseHead head, std::optional<int64_t> cached) {
  if (cached && head.ok() && !head.headers.Get("content-encoding")) {
    co_await RelayCounted(call, std::move(head), *cached);
    co_return;
  }
  reply_.Begin(head.status, head.reason, std::move(head.headers), head.framing);
  // All that has come goes out in one write.
  for (;;) {
    bool sent = true;
    for (;;) {
      const std::string_view piece = call.Come();
      if (piece.empty() || !sent) break;
      if (piece.size() <= kJoinBytes) {
        reply_.Add(piece);
      } else {
        sent = co_await reply_.Piece(piece);
      }
    }
    if (!sent) break;
    if (call.ended()) {
      co_await reply_.End();
      co_return;
    }
    if (!reply_.FlushNow()) sent = co_await reply_.Flush();
    if (!sent) break;
    const bool more = co_await call.More();
    if (!more && !call.ended()) break;
  }
  call.Cancel();  // the client left, or the answer is cut: then so is ours
}

Task<void> Exchange::RelayCounted(Call& call, ResponseHead head, int64_t cached) {
  Framing open;
  open.kind = Framing::Kind::kUntilClose;
  if (IsEventStream(head)) {
    UsageStream usage(cached);
    reply_.Begin(head.status, head.reason, head.headers, open);
    for (;;) {
      for (;;) {
        const std::string_view piece = call.Come();
        if (piece.empty()) break;
        reply_.Add(usage.Feed(piece));
      }
      if (call.ended()) {
        reply_.Add(usage.Finish());
        co_await reply_.End();
        co_return;
      }
      bool sent = reply_.FlushNow();
      if (!sent) sent = co_await reply_.Flush();
      if (!sent) break;
      const bool more = co_await call.More();
      if (!more && !call.ended()) break;
    }
    call.Cancel();
    co_return;
  }
  std::string body;
  for (;;) {
    const std::string_view piece = co_await call.Piece();
    if (piece.empty()) break;
    body += piece;
    if (body.size() <= config().max_reply_bytes) continue;
    // Too large to be edited: pass it on as it is.
    reply_.Begin(head.status, head.reason, head.headers, open);
    bool sent = co_await reply_.Piece(body);
    while (sent) {
      const std::string_view more = co_await call.Piece();
      if (more.empty()) break;
      sent = co_await reply_.Piece(more);
    }
    if (call.ended()) {
      co_await reply_.End();
    } else {
      call.Cancel();
    }
    co_return;
  }
  if (!call.ended()) {
    co_await DecodeFailed(call.error());
    co_return;
  }
  const std::string edited = WithCachedTokens(body, cached);
  co_await reply_.Whole(head.status, head.reason, head.headers, edited);
}

}  // namespace sidecar
