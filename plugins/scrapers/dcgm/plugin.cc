// dcgm-data-source and dcgm-extractor: how busy the GPUs of every endpoint are, from NVIDIA's DCGM
// exporter.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "../http_source.hpp"
#include "plugins/common/metrics_page/scanner.h"

namespace {

namespace source = epp::http_source;

constexpr const char* kPayloadName = "prometheus-text";
constexpr std::string_view kFamily = "DCGM_FI_DEV_GPU_UTIL";  // percent, one series a GPU

// Greatest use among the endpoint's GPUs, 0 to 1.
constexpr epp::AttributeKind kGpuUtilization{"GPUUtilization", EPP_T_F64, EPP_SCOPE_ENDPOINT,
                                             "dcgm-extractor"};

class DcgmDataSource {
 public:
  static constexpr const char* kName = "dcgm-data-source";
  static constexpr const char* kDoc = "Fetches the page of the DCGM exporter for every endpoint.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr std::array kParams{
      source::Scheme(),
      source::Path("/metrics"),
      source::Insecure(),
      source::Ca(),
      source::Cert(),
      source::Key(),
      source::Interval(),
      epp::Int("port", 9400, 1, 65535, "port of the exporter"),
      epp::Bool("useNodeAddress", false, "ask the endpoint's node, where the exporter is shared"),
  };

  static epp::Result<DcgmDataSource> Create(const epp::Context& ctx) {
    auto made = std::make_unique<DcgmDataSource>();
    epp::Status status = source::Settings::Read(ctx, kPayloadName, made->settings_);
    if (!status.ok()) return status;
    made->port_ = static_cast<uint32_t>(ctx.i64(source::kShared));
    made->node_ = ctx.flag(source::kShared + 1);
    return epp::Result<DcgmDataSource>(std::move(made));
  }

  epp::Status Plan(epp_fetch_plan& plan) const {
    settings_.Fill(plan);
    plan.port = port_;
    if (node_) plan.flags |= EPP_SOURCE_NODE_ADDRESS;
    return {};
  }

 private:
  source::Settings settings_;
  uint32_t port_ = 0;
  bool node_ = false;
};

// Name of the pod: that of the endpoint, without namespace and data-parallel rank.
std::string PodName(const epp_endpoint& endpoint) {
  std::string_view name = epp::View(endpoint.name);
  name.remove_prefix(name.find('/') + 1);  // 0 when there is none
  const std::string rank = "-rank-" + std::to_string(endpoint.rank);
  if (name.ends_with(rank)) name.remove_suffix(rank.size());
  return std::string(name);
}

// The text between the braces that `rest` opens with, and what follows; nothing when they do not
// close. Braces in quotes do not count.
std::optional<std::string_view> Braced(std::string_view& rest) {
  bool quoted = false;
  for (size_t i = 1; i < rest.size(); ++i) {
    if (quoted && rest[i] == '\\') {
      ++i;
    } else if (rest[i] == '"') {
      quoted = !quoted;
    } else if (!quoted && rest[i] == '}') {
      const std::string_view inside = rest.substr(1, i - 1);
      rest.remove_prefix(i + 1);
      return inside;
    }
  }
  return std::nullopt;
}

class DcgmExtractor {
 public:
  static constexpr const char* kName = "dcgm-extractor";
  static constexpr const char* kDoc = "Reads the greatest use of an endpoint's GPUs.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr const char* kPayload = kPayloadName;
  static constexpr std::array kProduces{epp::Makes(kGpuUtilization).TypeNamed()};

  static epp::Result<DcgmExtractor> Create(const epp::Context&) { return DcgmExtractor(); }

  epp::Status Scrape(const epp_scrape& in, epp::Sink& out) const {
    const std::string pod = PodName(*in.endpoint);
    std::optional<double> most;
    std::string_view page = epp::View(in.body);
    while (!page.empty()) {
      const size_t end = std::min(page.find('\n'), page.size());
      if (const std::optional<double> percent = UseOf(page.substr(0, end), pod)) {
        most = std::max(most.value_or(*percent), *percent);
      }
      page.remove_prefix(std::min(end + 1, page.size()));
    }
    if (!most) {
      return {EPP_NOT_FOUND, "the page has no " + std::string(kFamily) + " of pod \"" + pod + "\""};
    }
    out.Set(0, *most / 100);
    return {};
  }

 private:
  // Percent, when the line is about a GPU of the pod, or of nobody in particular. Lines that are
  // malformed are left out.
  static std::optional<double> UseOf(std::string_view line, std::string_view pod) {
    if (!line.starts_with(kFamily)) return std::nullopt;
    line.remove_prefix(kFamily.size());
    if (line.starts_with('{')) {
      const std::optional<std::string_view> labels = Braced(line);
      bool ours = true;
      const auto look = [&](std::string_view name, std::string_view value) {
        if (name == "pod") ours = epp::metrics_page::LabelEquals(value, pod);
      };
      if (!labels || !epp::metrics_page::ForEachLabel(*labels, look) || !ours) return std::nullopt;
    } else if (!line.starts_with(' ') && !line.starts_with('\t')) {
      return std::nullopt;  // another family, whose name is longer
    }
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    double value = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    const bool ends =
        end == line.data() + line.size() || *end == ' ' || *end == '\t' || *end == '\r';
    if (error != std::errc() || !ends || !std::isfinite(value)) return std::nullopt;
    return value;
  }
};

}  // namespace

EPP_LIBRARY("dcgm", "0.1.0", DcgmDataSource, DcgmExtractor)
