// @NAME@: fetches a status page from every endpoint and reads its load.
//
// The page has one "key value" a line; "waiting" and "running" count requests. What the usual
// scorers read is found under the name "core-metrics-extractor": see README.md.
#include <algorithm>
#include <charconv>

#include "epp/plugin.hpp"

namespace {

class @CLASS@ {
 public:
  static constexpr const char* kName = "@NAME@";
  static constexpr const char* kDoc = "@DOC@";
  static constexpr const char* kPayload = "@NAME@";  // what the source says it fetches
  static constexpr std::array kParams{
      epp::String("path", "/status", "path of the page"),
      epp::Int("port", 0, 0, 65535, "port of the page; 0 is the endpoint's own")};
  enum Attr : uint32_t { kWaiting, kRunning };
  static constexpr std::array kProduces{epp::Makes(epp::attr::kWaitingQueueSize),
                                        epp::Makes(epp::attr::kRunningRequestsSize)};

  static epp::Result<@CLASS@> Create(const epp::Context& ctx) {
    if (!ctx.str(0).starts_with('/')) {
      return epp::Status::Invalid("path is \"" + std::string(ctx.str(0)) + "\", want a leading /");
    }
    return @CLASS@(std::string(ctx.str(0)), static_cast<uint32_t>(ctx.i64(1)));
  }

  epp::Status Plan(epp_fetch_plan& out) const {
    out.path = epp::Str(path_);
    out.port = port_;
    out.payload = epp::Str(kPayload);
    return {};
  }

  // The page comes from outside: expect anything. An error says that it is no good sample.
  epp::Status Scrape(const epp_scrape& in, epp::Sink& sink) const {
    std::string_view rest = epp::View(in.body);
    size_t found = 0;
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      found += Read(line, "waiting ", kWaiting, sink) + Read(line, "running ", kRunning, sink);
    }
    return found ? epp::Status() : epp::Status::Invalid("got no \"waiting\" and no \"running\"");
  }

 private:
  @CLASS@(std::string path, uint32_t port) : path_(std::move(path)), port_(port) {}

  static bool Read(std::string_view line, std::string_view key, Attr attr, epp::Sink& sink) {
    if (!line.starts_with(key)) return false;
    line.remove_prefix(key.size());
    int64_t value = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error != std::errc() || end != line.data() + line.size() || value < 0) {
      sink.Clear(attr);  // better unknown than the value of the page before
      return false;
    }
    sink.Set(attr, value);
    return true;
  }

  std::string path_;
  uint32_t port_;
};

}  // namespace

EPP_LIBRARY("@NAME@", "0.1.0", @CLASS@)
