// The render endpoints of a vLLM server: what is asked, and the token ids that come back.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "epp/plugin.hpp"

namespace token_producer {

// One request to the server. Filled on the host's I/O thread, read once the operation is complete.
struct Rendering {
  bool list = false;  // an answer per prompt, without features
  epp_status status = EPP_UNAVAILABLE;
  int32_t http_status = 0;
  std::string body;
  std::string error;
};

// Constant after Create. Threads: any.
class Remote : public std::enable_shared_from_this<Remote> {
 public:
  struct Settings {
    std::string model;
    std::string url;
    uint64_t timeout_ns = 0;
    uint64_t media_timeout_ns = 0;  // of chats with lists as content
  };
  Remote(epp::Host host, Settings settings);

  bool ok() const { return http_.ok(); }
  uint64_t timeout_ns() const { return std::max(settings_.timeout_ns, settings_.media_timeout_ns); }

  // Asks until the server answers once, 24 times at most, 5 s apart: its first answer is slow.
  void WarmUp(int attempt = 1) const;

  epp::Status Start(const epp_request& request, epp::Completion done,
                    std::shared_ptr<Rendering>& rendering) const;

  // What an answer says: ids and offsets in the call's memory, features as text (empty: none).
  static epp::Status Read(const Rendering& rendering, const epp::Call& call,
                          epp_tokenized_prompt& out, std::string_view& features);

 private:
  epp::Status Send(const char* path, std::string_view body, uint64_t timeout_ns,
                   epp::Completion done, std::shared_ptr<Rendering> rendering) const;

  const epp::Host host_;
  const epp::Http http_;
  const epp::Timers timers_;
  const Settings settings_;
  const std::string quoted_model_;
};

}  // namespace token_producer
