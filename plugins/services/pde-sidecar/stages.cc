// The stages of a disaggregated request that run before, or beside, the engine's answer.
#include <algorithm>

#include "encode.h"
#include "exchange.h"
#include "usage.h"

namespace sidecar {
namespace {

constexpr Milliseconds kBootstrapTimeout{5'000};
constexpr std::chrono::seconds kEnginesLast{60};
constexpr size_t kShownBytes = 512;  // of another worker's answer in our error

bool MayRetry(const ResponseHead& head) {
  return head.status == 502 || head.status == 503 || head.status == 504;
}

// Whether an answer, or an event of one, says that too few blocks are cached.
bool Declines(std::string_view json) {
  const auto choices = Lookup(json, "choices");
  if (!choices) return false;
  const auto all = ElementsOf(*choices);
  return !all.empty() && Lookup(all.front(), "finish_reason").value_or("") == "\"cache_threshold\"";
}

// The data of the first events; nothing while there are fewer than two and the stream goes on.
std::optional<bool> StreamDeclines(std::string_view bytes, bool ended) {
  size_t events = 0;
  bool declines = false;
  bool blank = true;
  while (!bytes.empty() && events < 2) {
    const size_t end = bytes.find('\n');
    if (end == bytes.npos && !ended) break;
    std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(end == bytes.npos ? bytes.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) {
      events += !blank;
      blank = true;
      continue;
    }
    blank = false;
    if (line.starts_with("data: ")) declines = declines || Declines(line.substr(6));
  }
  if (declines || events >= 2 || ended) return declines;
  return std::nullopt;
}

}  // namespace

// The prefill request of a request whose decode runs at the same time.
struct Exchange::PrefillLeg {
  explicit PrefillLeg(asio::io_context& io) : done(io) {}
  std::shared_ptr<Call> call;
  std::shared_ptr<Call> decode;  // to be cut when prefill fails before decode answers
  std::string head;
  std::string body;
  Milliseconds limit{0};
  Answer answer;
  Event done;
  bool decode_answered = false;
  std::string worker;
};

Task<void> Exchange::Fetch(std::shared_ptr<Call> call, std::string head, std::string_view body,
                           Milliseconds limit, Answer* out) {
  *out = {};
  out->arrived = co_await call->Ask(head_.method, std::move(head), body, limit, &out->head) &&
                 co_await call->Whole(&out->body, config().max_reply_bytes, limit);
  out->error = call->error();
}

// Another worker's answer becomes ours; one that did not arrive becomes a gateway's error.
Task<void> Exchange::RelayAnswer(const Answer& answer) {
  if (client_gone_) {
    reply_.CloseAfter();
  } else if (answer.arrived) {
    co_await reply_.Whole(answer.head.status, answer.head.reason, answer.head.headers, answer.body);
  } else if (answer.error == CallError::kTimedOut) {
    co_await reply_.Error(504, "GatewayTimeout", "the prefill worker does not answer in time");
  } else {
    co_await reply_.Error(502, "BadGateway", "the prefill worker cannot be reached");
  }
}

Task<bool> Exchange::Encode(const std::vector<Target>& encoders) {
  const std::vector<std::string> bodies = EncodeBodies(*document_);
  const auto since = std::chrono::steady_clock::now();
  std::vector<Answer> answers(bodies.size());
  size_t next = 0;
  size_t busy = std::min(bodies.size(), config().max_encoders_at_once);
  bool failed = false;
  Event done(lane_.io);
  if (id_.empty()) id_ = RandomUuid(lane_.shared.host);
  for (size_t i = busy; i > 0; --i) {
    Spawn(lane_.io, EncodeWorker(bodies, encoders, answers, next, busy, failed, done));
  }
  if (!bodies.empty()) co_await done.Wait();
  if (client_gone_) {
    reply_.CloseAfter();
    co_return false;
  }
  EncodeMerge merge;
  const bool merges = config().ec_connector == "ec-nixl";
  std::string why;
  for (const Answer& answer : answers) {
    if (!failed && merges && !merge.Add(answer.body)) why = "an encode worker's answer is no JSON";
    if (!failed || answer.ok()) continue;
    if (!answer.arrived && answer.error == CallError::kCancelled) continue;  // by its sibling
    why = answer.arrived ? "an encode worker answers " + std::to_string(answer.head.status) + ": " +
                               answer.body.substr(0, kShownBytes)
                         : "an encode worker cannot be reached";
    lane_.shared.host.Log(EPP_LOG_WARN, why);
  }
  if (failed && why.empty()) why = "an encode worker cannot be reached";
  if (!bodies.empty()) {
    const Metrics& metrics = lane_.shared.metrics;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - since;
    metrics.seconds[static_cast<size_t>(Stage::kEncode)].Add(took.count());
    if (!why.empty()) metrics.errors[static_cast<size_t>(Stage::kEncode)].Add(1);
  }
  if (!why.empty()) {
    co_await reply_.Error(502, "BadGateway", why);
    co_return false;
  }
  if (const auto merged = merge.Result(); merged) document_->Set("ec_transfer_params", *merged);
  // With the items encoded, nobody may decline.
  if (document_->Has("cache_hit_threshold")) document_->Set("cache_hit_threshold", "0");
  encoded_body_ = document_->Render();
  document_ = Splice::Parse(encoded_body_);
  std::string().swap(body_);
  co_return true;
}

Task<void> Exchange::EncodeWorker(const std::vector<std::string>& bodies,
                                  const std::vector<Target>& encoders, std::vector<Answer>& answers,
                                  size_t& next, size_t& busy, bool& failed, Event& done) {
  while (next < bodies.size() && !failed) {
    const size_t item = next++;
    const Target& encoder = encoders[item % encoders.size()];
    const std::shared_ptr<Call> call = NewCall(encoder);
    std::string head = "POST /v1/chat/completions HTTP/1.1\r\nHost: " + encoder.text() +
                       "\r\nContent-Type: application/json\r\nx-request-id: " + id_ + "-enc-" +
                       std::to_string(item) + "\r\n";
    for (const std::string_view name : {"traceparent", "tracestate", "baggage"}) {
      if (const auto value = head_.headers.Get(name)) {
        head += std::string(name) + ": " + std::string(*value) + "\r\n";
      }
    }
    head += "Content-Length: " + std::to_string(bodies[item].size()) + "\r\n\r\n";
    const auto since = std::chrono::steady_clock::now();
    co_await Fetch(call, std::move(head), bodies[item], config().encode_timeout, &answers[item]);
    Note("encode", since, *call, answers[item].head.status);
    if (!answers[item].ok() && !failed) {
      failed = true;
      for (const std::weak_ptr<Call>& weak : calls_) {
        if (const auto sibling = weak.lock(); sibling && sibling != call) sibling->Cancel();
      }
    }
  }
  if (--busy == 0) done.Set();
}

Task<void> Exchange::Disaggregate(const Target& target, Facts facts) {
  const Connector& connector = *lane_.shared.connector;
  if (connector.Probes(facts)) {
    const bool served = co_await Probe(target);
    if (served) co_return;
    Fell(Fallback::kDeclined);
  }
  if (connector.traits().asks_engine) {
    const bool known = co_await AskEngine(facts);
    if (!known) co_return;
  }
  switch (connector.traits().order) {
    case Connector::Order::kPrefillFirst:
      co_await PrefillFirst(target, facts);
      break;
    case Connector::Order::kTogether:
      co_await Together(target, facts);
      break;
    case Connector::Order::kTogetherHeld:
      co_await TogetherHeld(target, facts);
      break;
  }
}

// Asks decode with the client's request. False when it declines; then nothing was sent yet.
Task<bool> Exchange::Probe(const Target& target) {
  const std::shared_ptr<Call> call = NewCall(target);
  ResponseHead head;
  const std::string body = document_->Render();
  std::string request = HeadFor({}, body.size(), true);
  const auto since = std::chrono::steady_clock::now();
  if (!co_await call->Ask(head_.method, std::move(request), body, config().answer_timeout, &head)) {
    Count(Stage::kDecode, since, false, *call, 0);
    co_await DecodeFailed(call->error());
    co_return true;
  }
  const int status = head.status;
  if (!head.ok()) {
    co_await Relay(*call, std::move(head), std::nullopt);
    Count(Stage::kDecode, since, false, *call, status);
    co_return true;
  }
  const bool streams = document_->Get("stream").value_or("") == "true";
  std::string start;
  std::optional<bool> declines;
  while (!declines) {
    const std::string_view piece = co_await call->Piece();
    start += piece;
    const bool last = piece.empty();
    if (streams) {
      declines = StreamDeclines(start, last);
    } else if (last) {
      declines = Declines(start);
    }
    // An answer as large as that was not declined.
    if (!declines && start.size() > config().max_reply_bytes) declines = false;
    if (last && !call->ended()) {
      Count(Stage::kDecode, since, false, *call, status);
      co_await DecodeFailed(call->error());
      co_return true;
    }
  }
  if (*declines) {
    if (!call->ended()) call->Cancel();
    Note("probe", since, *call, status);
    co_return false;
  }
  reply_.Begin(head.status, head.reason, head.headers, head.framing);
  bool sent = co_await reply_.Piece(start);
  while (sent) {
    const std::string_view piece = co_await call->Piece();
    if (piece.empty()) break;
    sent = co_await reply_.Piece(piece);
  }
  if (call->ended()) {
    co_await reply_.End();
  } else {
    call->Cancel();
  }
  Count(Stage::kDecode, since, !reply_.broken(), *call, status);
  co_return true;
}

// Finds an engine of the prefiller. False when the request was answered.
Task<bool> Exchange::AskEngine(Facts& facts) {
  const std::string key = facts.prefiller.text();
  auto known = lane_.engines.find(key);
  facts.engine_remembered =
      known != lane_.engines.end() && known->second.until >= std::chrono::steady_clock::now();
  if (!facts.engine_remembered) {
    const Target server = lane_.shared.connector->AskAt(facts);
    const std::shared_ptr<Call> call = NewCall(server);
    ResponseHead head;
    std::string body;
    std::string request = "GET /query HTTP/1.1\r\nHost: " + server.text() + "\r\n\r\n";
    const auto since = std::chrono::steady_clock::now();
    const bool arrived =
        co_await call->Ask("GET", std::move(request), "", kBootstrapTimeout, &head) &&
        co_await call->Whole(&body, 1 << 20, kBootstrapTimeout);
    Note("bootstrap", since, *call, head.status);
    Engines engines;
    engines.until = std::chrono::steady_clock::now() + kEnginesLast;
    if (arrived && head.ok()) engines.by_rank = EnginesOf(body);
    if (engines.by_rank.empty()) {
      lane_.shared.metrics.errors[static_cast<size_t>(Stage::kPrefill)].Add(1);
      co_await reply_.Error(502, "BadGateway",
                            "the bootstrap server of the prefill worker names no engine");
      co_return false;
    }
    if (lane_.engines.size() >= 1024) lane_.engines.clear();
    known = lane_.engines.insert_or_assign(key, std::move(engines)).first;
  }
  const auto& ranks = known->second.by_rank;
  const auto& [rank, id] = ranks[lane_.shared.host.random_u64() % ranks.size()];
  facts.engine_rank = rank;
  facts.engine_id = id;
  co_return true;
}

Task<void> Exchange::PrefillFirst(const Target& target, const Facts& facts) {
  const Connector& connector = *lane_.shared.connector;
  Leg leg = connector.Prefill(facts);
  if (!head_.headers.Get("x-request-id")) {
    head_.headers.Set("x-request-id", facts.id);
  }
  Answer answer;
  std::shared_ptr<Call> call;
  uint32_t tries = 0;
  const auto since = std::chrono::steady_clock::now();
  for (uint32_t attempt = 0;; ++attempt) {
    call = NewCall(facts.prefiller);
    tries = attempt + 1;
    std::string head = HeadFor(leg.set, leg.body.size(), true);
    co_await Fetch(call, std::move(head), leg.body, config().prefill_timeout, &answer);
    const bool again =
        !answer.arrived ? answer.error != CallError::kTooLarge : MayRetry(answer.head);
    if (!connector.traits().retries || attempt >= config().prefill_retries || !again ||
        client_gone_) {
      break;
    }
    co_await Sleep(lane_.io, config().prefill_backoff);
  }
  leg = {};  // at most two copies of a body at a time
  Count(Stage::kPrefill, since, answer.ok(), *call, answer.head.status, tries);
  if (tries > 1) Fell(Fallback::kRetried);
  if (!answer.ok() || client_gone_) {
    co_await RelayAnswer(answer);
    co_return;
  }
  const bool counted = connector.traits().counts_cached;
  if (counted && !Splice::Parse(answer.body)) {
    co_await reply_.Error(400, "BadRequestError", "the prefill worker's answer is no JSON object");
    co_return;
  }
  if (counted && Lookup(answer.body, "kv_transfer_params").value_or("null") == "null") {
    Fell(Fallback::kNoParams);
  }
  Leg decode = connector.Decode(facts, answer.body);
  FreeBodies();
  std::optional<int64_t> cached;
  if (counted) cached = CachedTokensOf(answer.body);
  const bool chunks = connector.traits().chunks && config().decode_chunk_tokens > 0 &&
                      head_.path() == "/v1/chat/completions";
  co_await DecodeBody(target, std::move(decode.body), decode.set, cached, chunks);
}

Task<void> Exchange::RunPrefill(std::shared_ptr<PrefillLeg> leg) {
  const auto self = shared_from_this();
  lane_.shared.detached.fetch_add(1);
  const auto since = std::chrono::steady_clock::now();
  co_await Fetch(leg->call, std::move(leg->head), leg->body, leg->limit, &leg->answer);
  std::string().swap(leg->body);
  Count(Stage::kPrefill, since, leg->answer.ok(), *leg->call, leg->answer.head.status);
  if (--prefills_pending_ == 0 && over_) TellRecord();
  if (!leg->answer.ok()) {
    // What is known of its engines may be out of date.
    lane_.engines.erase(leg->worker);
    if (!leg->decode_answered) leg->decode->Cancel();
  }
  leg->done.Set();
  lane_.shared.detached.fetch_sub(1);
}

// Both at once. Prefill that fails takes decode with it, as long as decode has not answered: it
// would wait for blocks that never come.
Task<void> Exchange::Together(const Target& target, const Facts& facts) {
  const Connector& connector = *lane_.shared.connector;
  if (!head_.headers.Get("x-request-id")) head_.headers.Set("x-request-id", facts.id);
  const auto leg = std::make_shared<PrefillLeg>(lane_.io);
  Leg prefill = connector.Prefill(facts);
  Leg decode = connector.Decode(facts, "");
  // Both legs may be sent again, see below.
  if (!facts.engine_remembered) FreeBodies();
  leg->head = HeadFor(prefill.set, prefill.body.size(), false);
  leg->body = std::move(prefill.body);
  leg->limit = config().prefill_timeout;
  leg->worker = facts.prefiller.text();
  leg->call = NewCall(facts.prefiller);
  leg->decode = NewCall(target);
  ++prefills_pending_;
  Spawn(lane_.io, RunPrefill(leg));

  const auto since = std::chrono::steady_clock::now();
  ResponseHead head;
  std::string request = HeadFor(decode.set, decode.body.size(), false);
  const bool answered = co_await leg->decode->Ask(head_.method, std::move(request), decode.body,
                                                  config().answer_timeout, &head);
  std::string().swap(decode.body);
  leg->decode_answered = answered;
  if (!answered && leg->done.is_set() && !leg->answer.ok()) {
    Note("decode", since, *leg->decode, 0);
    co_await RelayAnswer(leg->answer);
    co_return;
  }
  if (!answered || !head.ok()) leg->call->Cancel();
  if (!answered) {
    Count(Stage::kDecode, since, false, *leg->decode, 0);
    const CallError error = leg->decode->error();
    co_await DecodeFailed(error);
    co_return;
  }
  if (head.status >= 500 && facts.engine_remembered) {
    // The prefill worker may live again, as an engine that decode was not told of.
    lane_.engines.erase(leg->worker);
    Facts renewed = facts;
    renewed.id = RandomUuid(lane_.shared.host);
    const bool known = co_await AskEngine(renewed);
    if (!known || renewed.engine_id != facts.engine_id) {
      leg->decode->Cancel();
      Count(Stage::kDecode, since, false, *leg->decode, head.status);
      if (known) co_await Together(target, renewed);
      co_return;
    }
  }
  FreeBodies();
  const bool ok = head.ok();
  const int status = head.status;
  co_await Relay(*leg->decode, std::move(head), std::nullopt);
  Count(Stage::kDecode, since, ok && !reply_.broken(), *leg->decode, status);
  if (reply_.broken()) leg->call->Cancel();
  // What is left of prefill goes on without us, for as long as its own limit.
  std::erase_if(calls_, [&](const std::weak_ptr<Call>& weak) { return weak.lock() == leg->call; });
}

// Both at once, and decode's answer is not read before prefill has succeeded.
Task<void> Exchange::TogetherHeld(const Target& target, const Facts& facts) {
  const Connector& connector = *lane_.shared.connector;
  const auto leg = std::make_shared<PrefillLeg>(lane_.io);
  Leg prefill = connector.Prefill(facts);
  Leg decode = connector.Decode(facts, "");
  FreeBodies();
  leg->head = HeadFor(prefill.set, prefill.body.size(), true);
  leg->body = std::move(prefill.body);
  leg->limit = config().mori.wait;
  leg->worker = facts.prefiller.text();
  leg->call = NewCall(facts.prefiller);
  leg->decode = NewCall(target);
  ++prefills_pending_;
  Spawn(lane_.io, RunPrefill(leg));

  const auto since = std::chrono::steady_clock::now();
  const auto left = [&] {
    const auto took = std::chrono::steady_clock::now() - since;
    return std::max(config().mori.wait - std::chrono::duration_cast<Milliseconds>(took),
                    Milliseconds(1));
  };
  struct Held {
    explicit Held(asio::io_context& io) : done(io) {}
    Event done;
    bool answered = false;
    ResponseHead head;
  };
  const auto held = std::make_shared<Held>(lane_.io);
  const auto ask = [](std::shared_ptr<Exchange> self, std::shared_ptr<PrefillLeg> of,
                      std::shared_ptr<Held> to, std::string head, std::string body) -> Task<void> {
    to->answered = co_await of->decode->Ask(self->head_.method, std::move(head), body,
                                            self->config().answer_timeout, &to->head);
    to->done.Set();
    if (!to->answered && !of->done.is_set()) of->call->Cancel();
  };
  std::string request = HeadFor(decode.set, decode.body.size(), false);
  Spawn(lane_.io, ask(shared_from_this(), leg, held, std::move(request), std::move(decode.body)));

  const bool in_time = co_await leg->done.Wait(left());
  if (!in_time || leg->answer.error == CallError::kTimedOut) {
    leg->call->Cancel();
    leg->decode->Cancel();
    co_await held->done.Wait();
    Note("decode", since, *leg->decode, held->head.status);
    if (client_gone_) {
      reply_.CloseAfter();
      co_return;
    }
    Headers headers;
    headers.Add("Content-Type", "application/json");
    co_await reply_.Whole(504, "", std::move(headers),
                          R"({"error":"the prefill worker does not answer in time"})");
    co_return;
  }
  const bool decode_failed_first =
      held->done.is_set() && !held->answered && leg->answer.error == CallError::kCancelled;
  if (!leg->answer.ok() && !decode_failed_first) {
    leg->decode->Cancel();
    co_await held->done.Wait();
    Note("decode", since, *leg->decode, held->head.status);
    co_await RelayAnswer(leg->answer);
    co_return;
  }
  leg->decode_answered = true;
  co_await held->done.Wait();
  if (!held->answered) {
    Count(Stage::kDecode, since, false, *leg->decode, 0);
    const CallError error = leg->decode->error();
    co_await DecodeFailed(error);
    co_return;
  }
  const bool ok = held->head.ok();
  const int status = held->head.status;
  co_await Relay(*leg->decode, std::move(held->head), std::nullopt);
  Count(Stage::kDecode, since, ok && !reply_.broken(), *leg->decode, status);
}

Task<void> Exchange::DecodeInChunks(const Target& target, std::string_view body,
                                    const std::vector<Header>& set) {
  const std::optional<Splice> document = Splice::Parse(body);
  Chunks chunks(*document, config().decode_chunk_tokens);
  if (chunks.one_piece()) {
    co_await DecodeBody(target, std::string(body), set, std::nullopt, false);
    co_return;
  }
  Framing open;
  open.kind = Framing::Kind::kUntilClose;
  std::shared_ptr<Call> call;  // the last
  uint32_t calls = 0;
  int status = 0;
  const auto since = std::chrono::steady_clock::now();
  do {
    const std::string next = chunks.Next();
    Answer answer;
    std::string head = HeadFor(set, next.size(), true);
    call = NewCall(target);
    ++calls;
    co_await Fetch(call, std::move(head), next, config().answer_timeout, &answer);
    status = answer.head.status;
    if (!answer.ok() || !chunks.Take(answer.body)) {
      Count(Stage::kDecode, since, false, *call, status, calls);
      if (reply_.begun()) co_return;  // half a stream is cut, so that the client knows
      if (!answer.arrived) {
        co_await DecodeFailed(answer.error);
      } else if (!answer.head.ok()) {
        co_await RelayAnswer(answer);
      } else {
        co_await reply_.Error(500, "InternalServerError", "the engine's answer is no completion");
      }
      co_return;
    }
    if (!chunks.streams()) continue;
    if (!reply_.begun()) {
      Headers headers;
      headers.Add("Content-Type", "text/event-stream; charset=utf-8");
      headers.Add("Cache-Control", "no-cache");
      reply_.Begin(200, "", std::move(headers), open);
    }
    const std::string event = chunks.Event();
    if (!co_await reply_.Piece(event)) co_return;
  } while (!chunks.done());
  Count(Stage::kDecode, since, true, *call, status, calls);
  if (chunks.streams()) {
    const std::string last = chunks.LastEvents();
    if (co_await reply_.Piece(last)) co_await reply_.End();
    co_return;
  }
  Headers headers;
  headers.Add("Content-Type", "application/json");
  const std::string whole = chunks.Answer();
  co_await reply_.Whole(200, "", std::move(headers), whole);
}

}  // namespace sidecar
