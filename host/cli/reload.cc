// epp reload: reads the configuration and the plugin directories again, now.
#include <ostream>

#include "CLI/CLI.hpp"
#include "host/base/json_writer.h"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"
#include "host/cli/admin_client.h"

namespace epp::cli {
namespace {

class Reload final : public ClientCommand {
 public:
  Reload()
      : ClientCommand("reload",
                      "Makes the running epp read its config and plugin directories again",
                      "  epp reload --wait\n"
                      "  epp diff --live && epp reload --wait --expect 91be03d4\n") {
    wait_option_ = app()
                       .add_option("--wait", wait_, "for the outcome, this long; default 30s")
                       ->expected(0, 1);
    app().add_option("--expect", expect_, "fail unless the text on disk has this digest");
    app().add_flag("--force", force_, "rebuild the wiring although nothing changed");
  }

 private:
  int Run(Io& io) override {
    absl::Duration wait;
    if (wait_option_->count() > 0) {
      const bool bare = wait_.empty() || wait_ == "true";
      const auto parsed = ParseGoDuration(bare ? "30s" : wait_);
      if (!parsed.ok() || *parsed < absl::Milliseconds(1) || *parsed > absl::Minutes(10)) {
        return Fail(io, kUsage, "EPP-CLI-USAGE",
                    StrCat("--wait is ", wait_, ", want a duration up to 10m such as 30s"));
      }
      wait = *parsed;
    }
    std::string body;
    JsonWriter w(&body);
    w.BeginObject();
    w.Field("wait_ms", absl::ToInt64Milliseconds(wait)).Field("force", force_);
    if (!expect_.empty()) w.Field("expect", expect_);
    w.EndObject();
    int exit_code = kDone;
    const auto response =
        Post(io, "/admin/reload", body, !json(), wait + absl::Seconds(10), &exit_code);
    return response.ok() ? PrintOutcome(io, *response) : exit_code;
  }

  CLI::Option* wait_option_ = nullptr;
  std::string wait_;
  std::string expect_;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeReload() { return std::make_unique<Reload>(); }

}  // namespace epp::cli
