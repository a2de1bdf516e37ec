// epp pool: the endpoints as a table.
#include <ostream>

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"
#include "host/cli/admin_client.h"

namespace epp::cli {
namespace {

class Pool final : public ClientCommand {
 public:
  Pool()
      : ClientCommand("pool", "The endpoints of the running epp, as a table",
                      "  epp pool --sort waiting --limit 10\n") {
    app()
        .add_option("--sort", sort_, "name, waiting, running, kv or age; numbers largest first")
        ->check(CLI::IsMember({"name", "waiting", "running", "kv", "age"}));
    app().add_option("--limit", limit_, "most rows");
    app().add_flag("--no-header", no_header_, "leave the first line out");
  }

 private:
  int Run(Io& io) override {
    int exit_code = kDone;
    const auto response =
        Get(io, StrCat("/admin/pool?sort=", sort_, "&limit=", limit_), !json(), &exit_code);
    if (!response.ok()) return exit_code;
    std::string_view body = response->body;
    if (no_header_ && !json()) body.remove_prefix(std::min(body.size(), body.find('\n') + 1));
    io.out << body;
    if (!body.empty() && !body.ends_with('\n')) io.out << "\n";
    return kDone;
  }

  std::string sort_ = "name";
  uint32_t limit_ = 500;
  bool no_header_ = false;
};

}  // namespace

std::unique_ptr<Command> MakePool() { return std::make_unique<Pool>(); }

}  // namespace epp::cli
