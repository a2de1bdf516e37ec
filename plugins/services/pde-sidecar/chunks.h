// Chunked decode: one long answer asked for piece by piece, so that the engine can move the request
// between the pieces. Chat completions only; one choice, text only.
//
// Threads: none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "splice.h"

namespace sidecar {

class Chunks {
 public:
  // `body` is a chat completion, and must outlive this; pieces have `chunk_tokens` at most.
  Chunks(const Splice& body, uint32_t chunk_tokens);

  // The limit fits into one piece: send the body as it is.
  bool one_piece() const { return limit_ > 0 && limit_ <= chunk_; }
  bool streams() const { return streams_; }

  // The body of the next request.
  std::string Next();
  // Takes its answer. False when it is no chat completion.
  bool Take(std::string_view answer);
  bool done() const { return done_; }

  // The piece just taken as an event of the client's stream.
  std::string Event() const;
  // What ends the stream: usage and [DONE].
  std::string LastEvents() const;
  // The whole answer.
  std::string Answer() const;

 private:
  std::string Usage() const;

  const Splice& body_;
  const int64_t chunk_;
  int64_t limit_ = 0;  // 0: none
  bool streams_ = false;
  bool done_ = false;
  bool first_ = true;
  std::string grown_;  // elements of messages: the client's and ours, without brackets
  std::string last_;   // answer
  std::string text_;
  std::string piece_;
  std::string finish_;  // JSON text of the last finish_reason
  int64_t prompt_tokens_ = 0;
  int64_t completion_tokens_ = 0;
};

}  // namespace sidecar
