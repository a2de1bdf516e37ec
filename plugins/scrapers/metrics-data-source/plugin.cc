// metrics-data-source: every endpoint's Prometheus page.
#include "epp/plugin.hpp"

#include <array>
#include <memory>

#include "../http_source.hpp"

namespace {

namespace source = epp::http_source;

class MetricsDataSource {
 public:
  static constexpr const char* kName = "metrics-data-source";
  static constexpr const char* kDoc = "Fetches the Prometheus page of every endpoint.";
  static constexpr std::array kParams{
      source::Scheme(),
      source::Path("/metrics"),
      source::Insecure(),
      source::Ca(),
      source::Cert(),
      source::Key(),
      source::Interval(),
      epp::Int("port", 0, 1, 65535, "port that is asked; default: the endpoint's own").Unset(),
  };

  static epp::Result<MetricsDataSource> Create(const epp::Context& ctx) {
    auto made = std::make_unique<MetricsDataSource>();
    epp::Status status = source::Settings::Read(ctx, "prometheus-text", made->settings_);
    if (!status.ok()) return status;
    if (ctx.has(source::kShared)) made->port_ = static_cast<uint32_t>(ctx.i64(source::kShared));
    return epp::Result<MetricsDataSource>(std::move(made));
  }

  epp::Status Plan(epp_fetch_plan& plan) const {
    settings_.Fill(plan);
    plan.port = port_;
    return {};
  }

 private:
  source::Settings settings_;
  uint32_t port_ = 0;
};

}  // namespace

EPP_LIBRARY("metrics-data-source", "0.1.0", MetricsDataSource)
