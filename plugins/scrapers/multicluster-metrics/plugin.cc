// multicluster-metrics-data-source and multicluster-metrics-extractor: the averages of clusters,
// from the metrics pages of their endpoint pickers.
#include "epp/plugin.hpp"

#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../http_source.hpp"
#include "plugins/common/metrics_page/scanner.h"
#include "plugins/common/scorer_attributes.hpp"

namespace {

namespace source = epp::http_source;
using epp::metrics_page::Found;
using epp::metrics_page::Scanner;
using epp::metrics_page::Wanted;

constexpr const char* kPayloadName = "prometheus-text";
constexpr uint64_t kMaxBodyBytes = 8u << 20;

class MulticlusterMetricsDataSource {
 public:
  static constexpr const char* kName = "multicluster-metrics-data-source";
  static constexpr const char* kDoc =
      "Fetches the metrics page of every cluster's endpoint picker.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr std::array kParams{
      source::Scheme("https"),
      source::Path("/metrics"),
      source::Insecure(false),
      source::Ca(),
      source::Cert(),
      source::Key(),
      source::Interval(),
      epp::Int("port", 0, 1, 65535, "not used: every endpoint has its own port").Unset().Ignored(),
  };

  static epp::Result<MulticlusterMetricsDataSource> Create(const epp::Context& ctx) {
    auto made = std::make_unique<MulticlusterMetricsDataSource>();
    epp::Status status = source::Settings::Read(ctx, kPayloadName, made->settings_);
    if (!status.ok()) return status;
    return epp::Result<MulticlusterMetricsDataSource>(std::move(made));
  }

  epp::Status Plan(epp_fetch_plan& plan) const {
    settings_.Fill(plan);
    plan.max_body_bytes = kMaxBodyBytes;
    return {};
  }

 private:
  source::Settings settings_;
};

class MulticlusterMetricsExtractor {
 public:
  static constexpr const char* kName = "multicluster-metrics-extractor";
  static constexpr const char* kDoc =
      "Reads a cluster's average queue and KV-cache use from the page of its endpoint picker.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr const char* kPayload = kPayloadName;
  static constexpr std::array kParams{
      epp::String("kvCacheUtilizationMetric", "llm_d_epp_average_kv_cache_utilization",
                  "metric with the average KV-cache use: a name, or name{label=value}"),
      epp::String("queueSizeMetric", "llm_d_epp_average_queue_size",
                  "metric with the average number of waiting requests, likewise"),
  };
  static constexpr std::array kProduces{
      epp::Makes(epp::common::kMulticlusterKvCacheUsage).TypeNamed(),
      epp::Makes(epp::common::kMulticlusterQueueSize).TypeNamed(),
  };

  static epp::Result<MulticlusterMetricsExtractor> Create(const epp::Context& ctx) {
    std::vector<Wanted> wanted(kProduces.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      epp::Status status = epp::metrics_page::ParseMetricSpec(ctx.str(i), wanted[i].spec);
      if (status.ok() && wanted[i].spec.empty()) status = epp::Status::Invalid("is empty");
      if (!status.ok()) {
        return epp::Status::Invalid(std::string(kParams[i].spec.name) + ": " +
                                    std::string(status.message()));
      }
    }
    return MulticlusterMetricsExtractor(std::move(wanted));
  }

  // Good when at least one value was found; what is missing keeps its former value.
  epp::Status Scrape(const epp_scrape& in, epp::Sink& out) const {
    std::array<Found, kProduces.size()> found;
    scanner_.Scan(epp::View(in.body), found);
    bool any = false;
    for (uint32_t i = 0; i < found.size(); ++i) {
      if (!found[i].found || !std::isfinite(found[i].value)) continue;
      out.Set(i, found[i].value);
      any = true;
    }
    if (any) return {};
    return {EPP_NOT_FOUND, "the page has none of the metrics"};
  }

 private:
  explicit MulticlusterMetricsExtractor(std::vector<Wanted> wanted) : scanner_(std::move(wanted)) {}
  Scanner scanner_;
};

}  // namespace

EPP_LIBRARY("multicluster-metrics", "0.1.0", MulticlusterMetricsDataSource,
            MulticlusterMetricsExtractor)
