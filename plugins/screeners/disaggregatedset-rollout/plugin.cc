// disaggregatedset-rollout-screener: keeps a request within one revision of a disaggregated set
// while it is rolled out.
//
// A revision gets requests only when every required role has a pod, and its share follows from its
// pods. A request that no strict header pins gets one revision, by lot.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugins/common/json.hpp"
#include "rollout.h"
#include "selector.h"

namespace {

using epp::rollout::Mode;
using epp::rollout::Rollout;
using epp::rollout::Selector;
using epp::rollout::Share;

constexpr size_t kMaxSelectors = 32;
constexpr const char* kModes[] = {"sum", "max-role", "disabled"};

struct HeaderSelector {
  std::string name;
  std::string header;  // lower case
  std::string label;
  bool strict = false;
  epp::Series no_match;
};

epp::Status ReadSelectors(std::string_view json, std::vector<HeaderSelector>& out) {
  epp::common::JsonReader in(json);
  const auto text = [&](const char* what, std::string* to) {
    return in.String(to) && (!to->empty() || in.Fail(std::string(what) + " is empty"));
  };
  in.Array([&] {
    if (out.size() == kMaxSelectors) return in.Fail("too many selectors");
    HeaderSelector& s = out.emplace_back();
    std::string mode;
    const bool read = in.Object([&](const std::string& key) {
      if (key == "name") return text("name", &s.name);
      if (key == "headerName") return text("headerName", &s.header);
      if (key == "labelKey") return text("labelKey", &s.label);
      if (key == "mode") return in.String(&mode);
      return in.Fail("unknown member \"" + key + "\"");
    });
    if (!read) return false;
    if (s.name.empty() || s.header.empty() || s.label.empty()) {
      return in.Fail("a selector needs name, headerName, labelKey and mode");
    }
    if (mode != "strict" && mode != "prefer") {
      return in.Fail("mode of \"" + s.name + "\": got \"" + mode + "\", want strict or prefer");
    }
    s.strict = mode == "strict";
    for (char& c : s.header) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
    }
    for (size_t i = 0; i + 1 < out.size(); ++i) {
      if (out[i].name == s.name) return in.Fail("two selectors are named \"" + s.name + "\"");
      if (out[i].header == s.header) return in.Fail("two selectors read \"" + s.header + "\"");
    }
    return true;
  });
  if (!in.Done()) return epp::Status::Invalid("headerSelectors: " + in.error());
  return {};
}

class RolloutScreener {
 public:
  static constexpr const char* kName = "disaggregatedset-rollout-screener";
  static constexpr const char* kDoc =
      "Keeps a request within one complete revision of a disaggregated set, and where its headers "
      "pin it.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr std::array kParams{
      epp::String("scope.labelSelector", nullptr,
                  "Selects the pods of the set, as kubectl -l does.")
          .Required(),
      epp::Json("headerSelectors",
                "A list of {name, headerName, labelKey, mode}: strict keeps only endpoints whose "
                "label equals the header, prefer only reports the label."),
      epp::String("revisionGating.mode", nullptr, "How a revision's share follows from its pods.")
          .OneOf(kModes)
          .Required(),
      epp::StringList("revisionGating.requireRoles.values",
                      "Roles that a revision must have a pod of; needed unless disabled."),
      epp::String("revisionGating.revisionLabelKey", "disaggregatedset.x-k8s.io/revision",
                  "Label with the revision."),
      epp::String("revisionGating.roleLabelKey", "disaggregatedset.x-k8s.io/role",
                  "Label with the role.")};
  enum Param { kScope, kSelectors, kMode, kRoles, kRevisionKey, kRoleKey };
  static constexpr uint32_t kWants = EPP_WANT_HEADERS;

  static epp::Result<RolloutScreener> Create(const epp::Context& ctx) {
    Selector scope;
    epp::Status status = Selector::Parse(ctx.str(kScope), scope);
    if (!status.ok()) {
      return epp::Status::Invalid("scope.labelSelector: " + std::string(status.message()));
    }
    std::vector<HeaderSelector> selectors;
    if (ctx.has(kSelectors)) status = ReadSelectors(ctx.str(kSelectors), selectors);
    if (!status.ok()) return status;
    std::vector<std::string> roles;
    for (const epp_str& role : ctx.list(kRoles)) {
      const std::string_view text = epp::View(role);
      if (text.find_first_not_of(" \t") == text.npos) return BadRoles("one is blank");
      if (std::find(roles.begin(), roles.end(), text) != roles.end()) {
        return BadRoles("\"" + std::string(text) + "\" is listed twice");
      }
      roles.emplace_back(text);
    }
    if (ctx.str(kMode) != "disabled" && roles.empty()) return BadRoles("there is none");
    for (const Param key : {kRevisionKey, kRoleKey}) {
      if (ctx.str(key).empty()) {
        return epp::Status::Invalid(std::string(kParams[key].spec.name) +
                                    ": got \"\", want a label");
      }
    }
    return std::make_unique<RolloutScreener>(ctx, std::move(scope), std::move(selectors),
                                             std::move(roles));
  }

  RolloutScreener(const epp::Context& ctx, Selector scope, std::vector<HeaderSelector> selectors,
                  std::vector<std::string> roles)
      : host_(ctx.host()),
        scope_(std::move(scope)),
        selectors_(std::move(selectors)),
        gating_(ctx.str(kMode) != "disabled"),
        revision_key_(ctx.str(kRevisionKey)),
        role_key_(ctx.str(kRoleKey)),
        name_(ctx.name()),
        mode_name_(ctx.str(kMode)),
        rollout_(ctx.str(kMode) == "sum" ? Mode::kSum : Mode::kMaxRole, std::move(roles)),
        shares_(std::make_shared<std::vector<Share>>()) {
    static constexpr std::array<std::string_view, 3> kNoMatch{"plugin_type", "plugin_name",
                                                              "selector"};
    static constexpr std::array<std::string_view, 4> kShare{"plugin_type", "plugin_name", "mode",
                                                            "revision"};
    const epp::Metric no_match(
        host_.raw(), EPP_METRIC_COUNTER, "llm_d_epp_disaggregatedset_strict_header_no_match_total",
        "Requests whose strict header fits no endpoint that was left.", kNoMatch);
    for (HeaderSelector& s : selectors_) {
      s.no_match = no_match.With(std::array<std::string_view, 3>{kName, name_, s.name});
    }
    share_gauge_ = epp::Metric(host_.raw(), EPP_METRIC_GAUGE,
                               "llm_d_epp_disaggregatedset_revision_gating_share",
                               "Share of the requests that a revision gets.", kShare);
  }

  // A pod is ready when the pool has it.
  void Upserted(const epp_endpoint& endpoint) {
    if (!gating_) return;
    if (scope_.Matches(endpoint)) {
      rollout_.Set(endpoint.id, epp::View(endpoint.address), epp::Label(endpoint, revision_key_),
                   epp::Label(endpoint, role_key_));
    } else {
      rollout_.Remove(endpoint.id);
    }
    Publish();
  }
  void Removed(const epp_endpoint& endpoint) {
    if (!gating_) return;
    rollout_.Remove(endpoint.id);
    Publish();
  }

  epp::Status Screen(const epp::Call& call, const epp::Candidates& in, epp::Keep& keep) const {
    uint8_t* const stays = call.Alloc<uint8_t>(in.size() + 1);
    if (stays == nullptr) return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    std::fill_n(stays, in.size(), uint8_t{1});
    if (gating_) {
      const bool pinned = std::any_of(
          selectors_.begin(), selectors_.end(),
          [&](const HeaderSelector& s) { return s.strict && !Wanted(call, s).empty(); });
      Gate(in, !pinned, stays);
    }
    for (const HeaderSelector& s : selectors_) {
      if (!s.strict) continue;
      const std::string_view wanted = Wanted(call, s);
      if (wanted.empty()) continue;
      bool had = false;
      bool has = false;
      for (size_t i = 0; i < in.size(); ++i) {
        had |= stays[i] != 0;
        stays[i] = stays[i] && epp::Label(in.endpoint(i), s.label) == wanted;
        has |= stays[i] != 0;
      }
      if (had && !has) s.no_match.Add(1);
    }
    for (size_t i = 0; i < in.size(); ++i) keep.SetIf(i, stays[i] != 0);
    return {};
  }

  // Tells the client where it was, so that it can pin its next request.
  epp::Status OnHeaders(const epp::Call&, const epp_response_event& event,
                        const epp::Editor& edit) const {
    if (event.served == nullptr) return {};
    for (const HeaderSelector& s : selectors_) {
      const std::string_view value = epp::Label(*event.served, s.label);
      if (!value.empty()) edit.SetHeader(s.header, value);
    }
    return {};
  }

 private:
  static epp::Status BadRoles(const std::string& why) {
    return epp::Status::Invalid("revisionGating.requireRoles.values: " + why +
                                ", want distinct roles");
  }
  static std::string_view Wanted(const epp::Call& call, const HeaderSelector& s) {
    return call.header(s.header).value_or("");
  }

  // Keeps endpoints of revisions with a share; with `draw` of only one of them.
  void Gate(const epp::Candidates& in, bool draw, uint8_t* stays) const {
    const std::shared_ptr<const std::vector<Share>> shares = Current();
    const auto share_of = [&](size_t i) -> const Share* {
      const std::string_view revision = epp::Label(in.endpoint(i), revision_key_);
      const auto it =
          std::lower_bound(shares->begin(), shares->end(), revision,
                           [](const Share& s, std::string_view name) { return s.revision < name; });
      return it != shares->end() && it->revision == revision ? &*it : nullptr;
    };
    std::vector<const Share*> of(in.size());
    std::vector<const Share*> among;
    for (size_t i = 0; i < in.size(); ++i) {
      of[i] = share_of(i);
      if (of[i] == nullptr) {
        stays[i] = 0;
      } else if (std::find(among.begin(), among.end(), of[i]) == among.end()) {
        among.push_back(of[i]);
      }
    }
    if (!draw || among.size() < 2) return;
    std::sort(among.begin(), among.end());  // they lie in the order of their names
    const Share* const chosen = epp::rollout::Draw(among, host_.random_unit());
    for (size_t i = 0; i < in.size(); ++i) {
      if (of[i] != chosen) stays[i] = 0;
    }
  }

  std::shared_ptr<const std::vector<Share>> Current() const {
    const std::lock_guard lock(mu_);
    return shares_;
  }
  void Publish() {
    auto shares = std::make_shared<std::vector<Share>>(rollout_.Shares());
    std::set<std::string> gone = std::exchange(shown_, {});
    for (const Share& share : *shares) {
      Show(share.revision, share.share);
      gone.erase(share.revision);
      shown_.insert(share.revision);
    }
    for (const std::string& revision : gone) Show(revision, 0);
    const std::lock_guard lock(mu_);
    shares_ = std::move(shares);
  }
  void Show(const std::string& revision, double share) const {
    share_gauge_.With(std::array<std::string_view, 4>{kName, name_, mode_name_, revision})
        .Add(share);
  }

  const epp::Host host_;
  const Selector scope_;
  std::vector<HeaderSelector> selectors_;
  const bool gating_;
  const std::string revision_key_;
  const std::string role_key_;
  const std::string name_;
  const std::string mode_name_;
  epp::Metric share_gauge_;
  Rollout rollout_;              // [pool] only
  std::set<std::string> shown_;  // likewise: revisions whose gauge is above 0

  mutable std::mutex mu_;  // guards shares_, for as long as it takes to copy the pointer
  std::shared_ptr<const std::vector<Share>> shares_;
};

}  // namespace

EPP_LIBRARY("disaggregatedset-rollout-screener", "0.1.0", RolloutScreener)
