// The shadow of this process: begun by an operator or named by the config, followed through changes
// of the live config, ended by itself.
//
// At most one runs at a time, an operator's before the config's; that begins again when the other
// is over. One of the config's that an operator stops begins again when the config or its file
// changes. Its own plugin instances log under a name of their own and count into
// a registry that nobody reads: their metrics would pass for those of the live ones.
//
// Threads: Work and what it calls belong to the config thread; the rest is for any.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "host/admin/names.h"
#include "host/admin/shadow_routes.h"
#include "host/base/clock.h"
#include "host/config/diagnostics.h"
#include "host/request/shadow.h"
#include "host/runtime/generation.h"
#include "host/serve/conditions.h"
#include "host/serve/load.h"
#include "host/shadow/candidate.h"
#include "host/shadow/report.h"
#include "host/telemetry/metrics.h"

namespace epp::serve {

// What to compare with the live config.
struct ShadowOrder {
  std::shared_ptr<const config::SourceText> text;  // under the name that reports show
  double sample = 0;                               // share of requests
  uint64_t planned_ns = 0;                         // 0: until it is stopped
  bool from_config = false;
};

class Shadows final : public admin::ShadowBackend {
 public:
  struct Parts {
    Platform* platform = nullptr;
    const admin::Names* names = nullptr;
    Conditions* conditions = nullptr;
    const Clock* clock = nullptr;
    double cpu_share = 0;        // of the workers, in [0, 1]
    std::function<void()> wake;  // makes the config thread call Work soon
  };
  explicit Shadows(Parts parts);
  // No request may run any more.
  ~Shadows() override;

  const request::ShadowSlot* slot() const { return &slot_; }

  // Does what was asked for since the last time, follows `live`, ends what is over, and destroys
  // candidates that no request uses any more. Call at least once a second.
  void Work(const std::shared_ptr<const runtime::Generation>& live);

  // A file that the config depends on may have changed. Threads: the config thread.
  void FilesChanged() { look_ = true; }

  // Ends the one that runs. False when it is refused, with errors in `out`.
  bool Begin(ShadowOrder order, const runtime::Generation& live, config::Diagnostics& out);
  // False when none runs.
  bool End(std::string why);

  shadow::Report Report() const;

  // admin::ShadowBackend
  void StartShadow(admin::ShadowAsk ask, Done done) override;
  void StopShadow(Done done) override;
  std::string ShadowJson() override { return shadow::ReportJson(Report()); }
  std::string ShadowText() override { return shadow::ReportText(Report()); }

 private:
  struct Aside;
  struct Graveyard;
  struct Session;
  struct Asked {
    std::optional<admin::ShadowAsk> start;  // else: stop
    Done done;
  };

  struct Built {
    std::shared_ptr<shadow::Candidate> candidate;  // null when it is refused
    std::vector<std::string> inherited;            // instances that others' state was copied to
  };
  Built Build(const Session& session, const runtime::Generation& live, config::Diagnostics& out);
  void Adopt(Session& session, Built built, const runtime::Generation& live);
  void Follow(const runtime::Generation& live);
  void FollowConfig(const runtime::Generation& live);
  admin::ShadowAnswer Answer(const Asked& asked, const runtime::Generation& live);
  bool running() const;
  // Over all sessions so far.
  shadow::Summary Totals() const;
  void CountInto(telemetry::Registry& registry);

  const Parts parts_;
  request::ShadowSlot slot_;
  std::unique_ptr<Aside> aside_;  // from the first shadow on
  // Whether what the config names has to be looked at, and beside which generation it was.
  bool look_ = true;
  uint64_t looked_beside_ = 0;
  const std::shared_ptr<Graveyard> graveyard_;

  mutable std::mutex mutex_;  // the rest
  std::vector<Asked> asked_;
  std::unique_ptr<Session> session_;  // the last one, perhaps over
  shadow::Summary past_;              // counts of those before
  std::vector<std::unique_ptr<telemetry::Registry::Callback>> callbacks_;
};

}  // namespace epp::serve
