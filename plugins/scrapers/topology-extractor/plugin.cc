// topology-extractor: where endpoints are, from their labels.
//
// Labels come with the endpoints, not with a page that is fetched, so this is a producer: it hands
// the labels on under the names that topology plugins read.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <string>

#include "plugins/common/attributes.hpp"

namespace {

// Immovable: the attributes' keys point into it.
class TopologyExtractor {
 public:
  static constexpr const char* kName = epp::common::kTopologyExtractor;
  static constexpr const char* kDoc =
      "Says on which host, in which rack, zone and region every endpoint is, from its labels.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr std::array kParams{
      epp::String("hostnameLabel", "kubernetes.io/hostname", "Label with the host."),
      epp::String("rackLabel", "topology.kubernetes.io/rack", "Label with the rack."),
      epp::String("zoneLabel", "topology.kubernetes.io/zone", "Label with the zone."),
      epp::String("regionLabel", "topology.kubernetes.io/region", "Label with the region.")};
  static constexpr std::array kProduces{
      epp::Makes(epp::common::kTopologyHostname), epp::Makes(epp::common::kTopologyRack),
      epp::Makes(epp::common::kTopologyZone), epp::Makes(epp::common::kTopologyRegion)};
  static constexpr size_t kLevels = kProduces.size();

  static epp::Result<TopologyExtractor> Create(const epp::Context& ctx) {
    for (size_t l = 0; l < kLevels; ++l) {
      if (!ctx.str(l).empty()) continue;
      return epp::Status::Invalid(std::string(kParams[l].spec.name) + ": got \"\", want a label");
    }
    return std::make_unique<TopologyExtractor>(ctx);
  }

  explicit TopologyExtractor(const epp::Context& ctx) {
    for (size_t l = 0; l < kLevels; ++l) {
      keys_[l] = "label/" + std::string(ctx.str(l));
      attributes_[l] = epp::Needs({keys_[l].c_str(), EPP_T_SYMBOL});
      consumes_[l] = &attributes_[l].spec;
      produces_[l] = &kProduces[l].spec;
    }
  }
  TopologyExtractor(const TopologyExtractor&) = delete;
  TopologyExtractor& operator=(const TopologyExtractor&) = delete;

  const std::array<const epp_attr_spec*, kLevels>& Consumes() const { return consumes_; }
  const std::array<const epp_attr_spec*, kLevels>& Produces() const { return produces_; }

  epp::Status Produce(const epp::Call&, const epp::Candidates& in, epp::Outputs& out) const {
    for (size_t l = 0; l < kLevels; ++l) {
      const auto labels = in.column<uint32_t>(l);
      const std::span<uint32_t> values = out.column<uint32_t>(l);
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] = labels[i];
        if (values[i] == 0) out.Clear(l, i);
      }
    }
    return {};
  }

 private:
  std::array<std::string, kLevels> keys_;
  std::array<epp::Attribute, kLevels> attributes_;
  std::array<const epp_attr_spec*, kLevels> consumes_;
  std::array<const epp_attr_spec*, kLevels> produces_;
};

}  // namespace

EPP_LIBRARY("topology-extractor", "0.1.0", TopologyExtractor)
