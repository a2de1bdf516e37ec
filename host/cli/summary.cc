#include "host/cli/summary.h"

#include <unistd.h>

#include "epp/abi.h"
#include "host/base/str_cat.h"
#include "host/cli/describe.h"
#include "host/cli/version.h"

namespace epp::cli {
namespace {

std::string Listeners(const config::Settings& settings, const serve::Facts& facts) {
  std::string out = StrCat("ext-proc ", facts.grpc);
  if (!settings.secure) {
    out += " plaintext";
  } else {
    out += settings.cert_dir.empty() ? " TLS self-signed" : StrCat(" TLS ", settings.cert_dir);
  }
  StrAppend(&out, "; health ", facts.health);
  if (!facts.metrics.empty()) StrAppend(&out, "; metrics ", facts.metrics);
  return out;
}

std::string Plugins(const serve::Facts& facts) {
  return StrCat(facts.libraries, " libraries from ", facts.plugin_dirs, "; ",
                facts.third_party_libraries, " third party",
                facts.unlisted_libraries > 0
                    ? StrCat(" (", facts.unlisted_libraries, " by no digest: plugins.sha256)")
                    : std::string(),
                ", ", facts.refused_libraries, " refused; ",
                facts.trial_ns > 0 ? StrCat("tried in ", facts.trial_ns / 1'000'000, " ms")
                                   : std::string("not tried before"));
}

std::string Requests(const config::Settings& settings, const serve::Facts& facts) {
  const bool read = facts.generation->serving().response_wants != 0 || settings.observe;
  if (read) return "responses are read: plugins or records use them";
  return settings.mode_override
             ? "response bodies not requested from the proxy: nothing here reads them"
             : "response bodies are sent, but nothing here reads them";
}

}  // namespace

Summary Summarise(const ServeCommandLine& line, const serve::Facts& facts,
                  const admin::Status& status) {
  const config::Settings& settings = line.settings.settings();
  const config::ResolvedConfig& config = facts.generation->config();
  Summary out;
  out.emplace_back(
      "epp", StrCat(Version(), "  ABI ", EPP_ABI_MAJOR, ".", EPP_ABI_MINOR, "  pid ", getpid(),
                    "  ", facts.workers, facts.workers == 1 ? " worker" : " workers"));
  out.emplace_back("settings",
                   StrCat(line.flags.settings_file.empty() ? "no file" : line.flags.settings_file,
                          "; ", line.settings.changed(), " not at their default"));
  std::string wiring = StrCat(status.config_path, " digest ", status.config_digest);
  for (const std::string& profile : DescribeProfiles(config)) StrAppend(&wiring, "; ", profile);
  out.emplace_back("config", std::move(wiring));
  out.emplace_back("instances", StrCat(DescribeInstances(config), " (epp check --print)"));
  out.emplace_back("plugins", Plugins(facts));
  out.emplace_back("pool", StrCat(status.pool_source, ": ", facts.endpoints, " endpoints"));
  out.emplace_back("requests", Requests(settings, facts));
  out.emplace_back("listen", Listeners(settings, facts));
  out.emplace_back("admin", facts.admin.empty() ? "off" : facts.admin);
  out.emplace_back("records", settings.records == 0 ? std::string("off")
                                                    : StrCat(settings.records, " decisions"));
  if (settings.secure && settings.cert_dir.empty()) {
    out.emplace_back("warn",
                     "ext-proc certificate is self-signed: proxies cannot verify it "
                     "[EPP-TLS-SELF-SIGNED]");
  }
  return out;
}

std::string SummaryText(const Summary& summary, const serve::Facts& facts) {
  std::string out;
  for (const auto& [name, text] : summary) {
    StrAppend(&out, name, name == "epp" ? " " : std::string(11 - name.size(), ' '), text, "\n");
  }
  StrAppend(&out, "ready in ", facts.took_ns / 1'000'000, " ms\n");
  return out;
}

}  // namespace epp::cli
