// One request of a client, from its head to the end of its answer.
//
//   client -> [encode workers] -> [prefill worker] -> the engine beside -> client
//
// Which of the stages run is said by routing headers, which go no further. Everything under way for
// a request ends when its client leaves; the answer of the engine streams through.
//
// Threads: the lane's.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "body.h"
#include "chunks.h"
#include "connectors/connector.h"
#include "head.h"
#include "lane.h"
#include "record.h"
#include "reply.h"
#include "splice.h"
#include "upstream.h"

namespace sidecar {

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  // `in`: bytes of the client that were read; what follows this request stays in it.
  Exchange(Lane& lane, Stream& client, std::string& in, RequestHead head, uint32_t rank);

  Task<void> Run();
  // The client has the whole answer.
  bool answered() const { return !reply_.broken() && reply_.begun(); }
  // Whether the connection can be used for another request.
  bool reusable() const { return !reply_.broken() && !reply_.closes() && body_decoder_.done(); }

 private:
  // What routing headers say.
  struct Routing {
    std::optional<Target> prefiller;
    std::optional<Target> source;
    std::vector<Target> encoders;
    std::optional<std::string> data_parallel;
  };
  // A reply that is read whole.
  struct Answer {
    bool arrived = false;
    CallError error = CallError::kNone;
    ResponseHead head;
    std::string body;
    bool ok() const { return arrived && head.ok(); }
  };
  struct PrefillLeg;

  // exchange.cc: the front
  Task<void> Route();
  Task<void> Api(sidecar::Api api);
  Task<bool> ReadRouting(Routing* out);
  bool Speakable(Target& target, Stage stage) const;
  Task<bool> ReadBody();
  Task<bool> ParseBody();
  Task<bool> DecodeTarget(const Routing& routing, Target* out);
  Task<void> Watch();
  void ClientGone();

  // exchange.cc: the engine beside
  Task<void> PassThrough(const Target& target);
  Task<void> DecodeBody(const Target& target, std::string body, const std::vector<Header>& set,
                        std::optional<int64_t> cached, bool chunks);
  Task<void> Relay(Call& call, ResponseHead head, std::optional<int64_t> cached);
  Task<void> RelayCounted(Call& call, ResponseHead head, int64_t cached);
  Task<void> DecodeFailed(CallError error);

  // stages.cc
  Task<bool> Encode(const std::vector<Target>& encoders);
  Task<void> EncodeWorker(const std::vector<std::string>& bodies,
                          const std::vector<Target>& encoders, std::vector<Answer>& answers,
                          size_t& next, size_t& busy, bool& failed, Event& done);
  Task<void> Disaggregate(const Target& target, Facts facts);
  Task<bool> Probe(const Target& target);
  Task<bool> AskEngine(Facts& facts);
  Task<void> PrefillFirst(const Target& target, const Facts& facts);
  Task<void> Together(const Target& target, const Facts& facts);
  Task<void> TogetherHeld(const Target& target, const Facts& facts);
  Task<void> RunPrefill(std::shared_ptr<PrefillLeg> leg);
  Task<void> DecodeInChunks(const Target& target, std::string_view body,
                            const std::vector<Header>& set);
  // Sends a request and reads its whole answer.
  Task<void> Fetch(std::shared_ptr<Call> call, std::string head, std::string_view body,
                   Milliseconds limit, Answer* out);
  Task<void> RelayAnswer(const Answer& answer);

  std::shared_ptr<Call> NewCall(const Target& target);
  // The head of a request with a body of that size, with the client's headers.
  std::string HeadFor(const std::vector<Header>& set, size_t body_bytes, bool readable) const;
  std::string HeadLines(const Headers& headers) const;
  Headers Forwarded(bool readable) const;
  // The bodies are not needed any more; answers may take long.
  void FreeBodies();
  // Counts a stage that has ended, and puts it on record.
  void Count(Stage stage, std::chrono::steady_clock::time_point since, bool ok, const Call& call,
             int status, uint32_t calls = 1);
  void Note(std::string_view stage, std::chrono::steady_clock::time_point since, const Call& call,
            int status, uint32_t calls = 1);
  void Fell(Fallback fallback);
  void TellRecord();
  Target engine(uint32_t rank) const;
  const Config& config() const { return lane_.shared.config; }

  Lane& lane_;
  Stream& client_;
  std::string& in_;
  RequestHead head_;
  const uint32_t rank_;
  Reply reply_;
  BodyDecoder body_decoder_;
  std::string body_;
  std::string encoded_body_;
  std::optional<Splice> document_;  // of body_
  std::string id_;
  std::vector<std::weak_ptr<Call>> calls_;
  bool watching_ = false;
  bool over_ = false;
  bool client_gone_ = false;
  Record record_;
  uint32_t prefills_pending_ = 0;  // and the record waits for it
};

}  // namespace sidecar
