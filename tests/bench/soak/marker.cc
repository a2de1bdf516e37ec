// Tells whether a request was served by one generation. It writes its build and its stamp on the
// request and on its response, and holds against each other what the two generations of an
// alternating config would get wrong: the instance that saw the request must see the response, and
// the picked endpoint must be of the group that this instance's config selects.
#include "epp/plugin.hpp"

namespace {

constexpr std::string_view kHeader = "x-soak-marker";

class Marker {
 public:
  static constexpr const char* kName = "soak-marker";
  static constexpr const char* kDoc = "Finds requests that saw two generations.";
  static constexpr std::array kParams{
      epp::String("stamp", nullptr, "label \"group\" of the endpoints that the config selects")
          .Required()};
  static constexpr uint32_t kWants = EPP_WANT_HEADERS | EPP_WANT_CHUNKS | EPP_WANT_END;

  static epp::Result<Marker> Create(const epp::Context& ctx) { return Marker(ctx); }

  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling& scheduling,
                         const epp::Candidates&, const epp::Editor& edit) const {
    requests_.Add(1);
    auto* seen = call.Keep<Seen>();
    if (seen == nullptr) return {EPP_RESOURCE_EXHAUSTED, "no memory for the marker"};
    seen->by = this;
    call.state<Seen>() = seen;
    const epp_profile_result& primary = scheduling.result(scheduling.primary());
    for (const epp_endpoint* picked : std::span(primary.targets, primary.target_count)) {
      if (epp::Label(*picked, "group") != stamp_) misrouted_.Add(1);
    }
    edit.SetHeader(kHeader, mark_);
    return {};
  }

  epp::Status OnHeaders(const epp::Call& call, const epp_response_event&,
                        const epp::Editor& edit) const {
    Check(call);
    edit.SetHeader(kHeader, mark_);
    return {};
  }
  epp::Status OnBody(const epp::Call& call, const epp_response_event&, const epp::Editor&) const {
    Check(call);
    return {};
  }

 private:
  struct Seen {
    const Marker* by;
  };

  explicit Marker(const epp::Context& ctx)
      : stamp_(ctx.str(0)),
        mark_("build " + std::to_string(MARKER_BUILD) + " stamp " + stamp_),
        requests_(Counter(ctx, "soak_marker_requests", "Requests seen.")),
        misrouted_(Counter(ctx, "soak_marker_misrouted", "Picks outside of the config's group.")),
        mixed_(Counter(ctx, "soak_marker_mixed", "Responses of another instance's requests.")) {}

  static epp::Series Counter(const epp::Context& ctx, std::string_view name,
                             std::string_view help) {
    return epp::Metric(ctx.host().raw(), EPP_METRIC_COUNTER, name, help).With();
  }
  void Check(const epp::Call& call) const {
    const Seen* seen = call.state<Seen>();
    if (seen == nullptr || seen->by != this) mixed_.Add(1);
  }

  std::string stamp_;
  std::string mark_;
  epp::Series requests_;
  epp::Series misrouted_;
  epp::Series mixed_;
};

}  // namespace

EPP_LIBRARY("soak-marker", MARKER_BUILD == 1 ? "1.0.0" : "2.0.0", Marker)
