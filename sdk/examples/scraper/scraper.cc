// tern-metrics: reads the status page of Tern, an engine that epp does not know.
//
// Tern is invented. Its page, GET /status, has one "key value" a line:
//
//   tern 1.4
//   slots.busy 5
//   slots.total 16
//   queue 3
//   cache.pages.used 120
//   cache.pages.total 480
//   model llama-8b
//
// The attributes are those that the usual scorers read, so an instance under the name of their
// producer, "core-metrics-extractor", serves them all; its source is itself.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "epp/plugin.hpp"

namespace {

class TernMetrics {
 public:
  static constexpr const char* kName = "tern-metrics";
  static constexpr const char* kDoc = "Fetches and reads the status page of the Tern engine.";
  static constexpr const char* kPayload = "tern-status";
  static constexpr std::array kParams{
      epp::String("path", "/status", "path of the status page"),
      epp::Int("port", 0, 0, 65535, "its port; 0 is the endpoint's own")};
  enum Attr : uint32_t { kWaiting, kRunning, kCache };
  static constexpr std::array kProduces{epp::Makes(epp::attr::kWaitingQueueSize),
                                        epp::Makes(epp::attr::kRunningRequestsSize),
                                        epp::Makes(epp::attr::kKvCacheUsage)};

  static epp::Result<TernMetrics> Create(const epp::Context& ctx) {
    if (!ctx.str(0).starts_with('/')) {
      return epp::Status::Invalid("path is \"" + std::string(ctx.str(0)) + "\", want a leading /");
    }
    return TernMetrics(std::string(ctx.str(0)), static_cast<uint32_t>(ctx.i64(1)));
  }

  epp::Status Plan(epp_fetch_plan& out) const {
    out.path = epp::Str(path_);
    out.port = port_;
    out.payload = epp::Str(kPayload);
    return {};
  }

  // The page comes from outside: anything may be in it, and keys that are new are no error.
  epp::Status Scrape(const epp_scrape& in, epp::Sink& sink) const {
    std::string_view rest = epp::View(in.body);
    if (!rest.starts_with("tern ")) {
      return epp::Status::Invalid("not a status page of Tern: it does not start with \"tern \"");
    }
    double used = NAN, total = NAN;
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      const size_t space = line.find(' ');
      if (space == std::string_view::npos) continue;
      const std::string_view key = line.substr(0, space), value = line.substr(space + 1);
      if (key == "queue") SetCount(sink, kWaiting, value);
      if (key == "slots.busy") SetCount(sink, kRunning, value);
      if (key == "cache.pages.used") used = Number(value);
      if (key == "cache.pages.total") total = Number(value);
    }
    if (total > 0 && used >= 0) {
      sink.Set(kCache, std::min(1.0, used / total));
    } else {
      sink.Clear(kCache);
    }
    return {};
  }

 private:
  TernMetrics(std::string path, uint32_t port) : path_(std::move(path)), port_(port) {}

  // NaN when it is no number; then every comparison is false.
  static double Number(std::string_view text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? value : NAN;
  }
  static void SetCount(epp::Sink& sink, Attr attr, std::string_view text) {
    const double value = Number(text);
    if (value >= 0 && value < 1e9) {
      sink.Set(attr, static_cast<int64_t>(value));
    } else {
      sink.Clear(attr);  // better unknown than the value of the page before
    }
  }

  std::string path_;
  uint32_t port_;
};

}  // namespace

EPP_LIBRARY("example-scraper", "1.0.0", TernMetrics)
