// epp shadow: compares a candidate config with the serving one, on live requests.
#include <charconv>
#include <ostream>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "host/base/json_writer.h"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"
#include "host/cli/admin_client.h"
#include "host/cli/load.h"
#include "host/config/includes.h"

namespace epp::cli {
namespace {

// For the whole answer: a candidate is loaded and tried before it comes.
constexpr absl::Duration kWithin = absl::Seconds(30);

// "10%" or "0.1"; nothing when it is neither, or no share.
std::optional<double> ParseShare(std::string_view text) {
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (percent) value /= 100;
  if (!(value > 0 && value <= 1)) return std::nullopt;
  return value;
}

// The config at `path` as one text: a running epp reads no file that a client names. What is wrong
// with included files goes to `out`.
absl::StatusOr<std::string> ReadWhole(const std::string& path, config::Diagnostics& out) {
  const auto text = ReadText(path);
  if (!text.ok()) return text.status();
  config::IncludedFiles files(path);
  const auto whole = config::ReadIncludes(**text, files);
  if (whole->included.empty()) return whole->text;
  const std::optional<config::Node> composed = config::Compose(whole, out);
  return composed ? config::ToJson(*composed) : std::string();
}

class Shadow final : public ClientCommand {
 public:
  Shadow()
      : ClientCommand("shadow", "Compares a candidate config with the serving one on live requests",
                      "  epp shadow start candidate.yaml --sample 10% --for 1h\n"
                      "  epp shadow\n"
                      "  epp shadow stop\n") {
    app()
        .add_option("action", action_, "start, report or stop; report is the default")
        ->check(CLI::IsMember({"start", "report", "stop"}));
    app().add_option("file", file_, "start: the candidate's config");
    app().add_option("--sample", sample_, "start: share of requests, as 10% or 0.1");
    app().add_option("--for", for_, "start: how long, as 30m or 1h; it ends by itself");
  }

 private:
  int Run(Io& io) override {
    if (action_ == "start") return Start(io);
    if (!file_.empty()) {
      return Fail(io, kUsage, "EPP-CLI-USAGE", StrCat("\"", file_, "\" has no use with ", action_));
    }
    int exit_code = kDone;
    const bool stop = action_ == "stop";
    const auto response = stop ? Post(io, "/admin/shadow/stop", "", !json(), kWithin, &exit_code)
                               : Get(io, "/admin/shadow", !json(), &exit_code);
    return response.ok() ? Show(io, *response) : exit_code;
  }

  int Start(Io& io) {
    if (file_.empty()) return Fail(io, kUsage, "EPP-CLI-USAGE", "start wants a FILE");
    const std::optional<double> sample = ParseShare(sample_);
    if (!sample) {
      return Fail(io, kUsage, "EPP-CLI-USAGE",
                  StrCat("--sample is \"", sample_, "\", want a share such as 10% or 0.1"));
    }
    const auto span = ParseGoDurationNs(for_);
    if (!span.ok() || *span <= 0) {
      return Fail(io, kUsage, "EPP-CLI-USAGE",
                  StrCat("--for is \"", for_, "\", want a duration such as 30m or 1h"));
    }
    config::Diagnostics found;
    const auto text = ReadWhole(file_, found);
    if (!text.ok()) return Fail(io, kUsage, "EPP-CLI-USAGE", View(text.status()));
    if (!found.ok()) return Fail(io, kUsage, "EPP-CFG-INCLUDE", found.Render());
    std::string body;
    JsonWriter w(&body);
    w.BeginObject();
    w.Field("file", file_).Field("text", *text).Field("sample", *sample);
    w.Field("minutes", static_cast<double>(*span) / 60e9);
    w.EndObject();
    int exit_code = kDone;
    const auto response = Post(io, "/admin/shadow", body, !json(), kWithin, &exit_code);
    return response.ok() ? Show(io, *response) : exit_code;
  }

  int Show(Io& io, const http::ClientResponse& response) {
    if (response.status == 404) {
      return Fail(io, kRefused, "EPP-CLI-REFUSED", StrCat(address(), " knows no shadows"));
    }
    const bool refused = response.status == 409;
    std::ostream& out = refused && !json() ? io.err : io.out;
    out << response.body;
    if (!response.body.ends_with('\n')) out << "\n";
    return refused ? kRefused : kDone;
  }

  std::string action_ = "report";
  std::string file_;
  std::string sample_ = "10%";
  std::string for_ = "1h";
};

}  // namespace

std::unique_ptr<Command> MakeShadow() { return std::make_unique<Shadow>(); }

}  // namespace epp::cli
