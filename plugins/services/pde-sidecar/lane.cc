#include "lane.h"

#include <array>

namespace sidecar {

Metrics::Metrics(const epp_host* host) {
  static constexpr std::array<double, 14> kSeconds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                      1,     2.5,  5,     10,   30,  60,   300};
  static constexpr std::array<std::string_view, 1> kApi = {"api_type"};
  static constexpr std::array<std::string_view, 1> kKind = {"disagg_type"};
  static constexpr std::array<std::string_view, 1> kStage = {"stage"};
  static constexpr std::array<std::string_view, 1> kReason = {"reason"};
  const auto fill = [](std::vector<epp::Series>& out, const epp::Metric& metric,
                       std::initializer_list<std::string_view> values) {
    for (const std::string_view value : values) {
      out.push_back(metric.With(std::span<const std::string_view>(&value, 1)));
    }
  };
  fill(requests,
       epp::Metric(host, EPP_METRIC_COUNTER, "llm_d_disagg_sidecar_requests_total",
                   "Requests, by API.", kApi),
       {"chat", "responses", "generate", "other"});
  fill(disaggregated,
       epp::Metric(host, EPP_METRIC_COUNTER, "llm_d_disagg_sidecar_disagg_requests_total",
                   "Requests to the APIs, by the stages that ran elsewhere.", kKind),
       {"decode-only", "prefill-decode", "encode-decode", "encode-prefill-decode"});
  fill(errors,
       epp::Metric(host, EPP_METRIC_COUNTER, "llm_d_disagg_sidecar_request_errors_total",
                   "Stages that failed: no answer, or a status outside 2xx.", kStage),
       {"encode", "prefill", "decode"});
  for (const auto& [name, help] :
       {std::pair("moriio_dns_reresolve_total", "Host names that were looked up again."),
        std::pair("moriio_dns_ip_changed_total", "Those that have another address."),
        std::pair("moriio_dns_lookup_failures_total", "Those that have none.")}) {
    names.push_back(epp::Metric(host, EPP_METRIC_COUNTER, name, help).With());
  }
  const epp::Metric fell(host, EPP_METRIC_COUNTER, "llm_d_disagg_sidecar_fallbacks_total",
                         "Requests that were served otherwise than asked, by reason.", kReason);
  for (size_t i = 0; i < kFallbacks; ++i) fill(fallbacks, fell, {NameOf(static_cast<Fallback>(i))});
  for (const auto& [name, help] :
       {std::pair("llm_d_disagg_sidecar_encode_duration_seconds", "Time of all encode requests."),
        std::pair("llm_d_disagg_sidecar_prefill_duration_seconds", "Time of the prefill request."),
        std::pair("llm_d_disagg_sidecar_decode_duration_seconds",
                  "Time of the decode request, to the end of its answer.")}) {
    seconds.push_back(epp::Metric(host, EPP_METRIC_HISTOGRAM, name, help, {}, kSeconds).With());
  }
}

std::string RandomUuid(const epp::Host& host) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::array<uint64_t, 2> bits{host.random_u64(), host.random_u64()};
  bits[0] = (bits[0] & ~uint64_t{0xf000}) | 0x4000;
  bits[1] = (bits[1] & ~(uint64_t{3} << 62)) | uint64_t{2} << 62;
  std::string out;
  for (size_t digit = 0; digit < 32; ++digit) {
    if (digit == 8 || digit == 12 || digit == 16 || digit == 20) out += '-';
    out += kHex[bits[digit / 16] >> (60 - 4 * (digit % 16)) & 15];
  }
  return out;
}

}  // namespace sidecar
