// epp reload: reads the configuration and the plugin directories again, now.
#include <ostream>

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"
#include "host/cli/admin_client.h"

namespace epp::cli {
namespace {

class Reload final : public ClientCommand {
 public:
  Reload()
      : ClientCommand("reload",
                      "Makes the running epp read its config and plugin directories again",
                      "  epp reload\n"
                      "  epp check --config new.yaml && mv new.yaml config.yaml && epp reload\n") {
    app().add_flag("--force", force_, "switch plugins on again that were switched off");
  }

 private:
  int Run(Io& io) override {
    int exit_code = kDone;
    const auto response =
        Post(io, force_ ? "/admin/reload?force=1" : "/admin/reload", !json(), &exit_code);
    if (!response.ok()) return exit_code;
    const bool refused = response->status == 409;
    // Either way the answer is the product of this command; a reader in a terminal finds the
    // reasons of a refusal where errors are.
    std::ostream& out = refused && !json() ? io.err : io.out;
    out << response->body;
    if (!response->body.ends_with('\n')) out << "\n";
    return refused ? kRefused : kDone;
  }

  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeReload() { return std::make_unique<Reload>(); }

}  // namespace epp::cli
