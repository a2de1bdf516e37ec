// Storage that all workers share (LMCache, a file system): nothing travels in the requests. With
// cache_hit_threshold in the body, decode is asked first and declines when it has too few blocks.
#include "connector.h"

namespace sidecar {
namespace {

class SharedStorage final : public Connector {
 public:
  const Traits& traits() const override { return traits_; }
  // After an encode step the threshold in the body is not the client's wish any more.
  bool Probes(const Facts& facts) const override {
    return !facts.encoded && facts.body->Has("cache_hit_threshold");
  }
  Leg Prefill(const Facts& facts) const override {
    Splice body = *facts.body;
    MakePrefill(body, facts.api, Cap::kSent);
    if (facts.api == Api::kChat) body.Set("max_completion_tokens", "1");
    body.Set("cache_hit_threshold", "0");
    return {body.Render(), {}};
  }
  Leg Decode(const Facts& facts, std::string_view) const override {
    Splice body = *facts.body;
    body.Set("cache_hit_threshold", "0");
    return {body.Render(), {}};
  }

 private:
  const Traits traits_;
};

}  // namespace

std::unique_ptr<const Connector> MakeSharedStorage(const Config&) {
  return std::make_unique<SharedStorage>();
}

}  // namespace sidecar
