// epp explain: why this endpoint.
#include <algorithm>
#include <chrono>
#include <ostream>
#include <sstream>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"
#include "host/cli/admin_client.h"
#include "nlohmann/json.hpp"

namespace epp::cli {
namespace {

constexpr auto kPollEvery = std::chrono::milliseconds(500);

class Explain final : public ClientCommand {
 public:
  Explain()
      : ClientCommand("explain", "Why a request went where it went",
                      "  epp explain 0b8c4f2e-7d61-4f0a-9b7e-4a1f5f0f2c11\n"
                      "  epp explain --last\n"
                      "  epp explain --last 20 --match outcome=rejected,model=chat\n"
                      "  epp explain --follow --match 'slower=1ms'\n") {
    app().add_option("ID", id_, "an x-request-id, or a decision id such as d-1f");
    last_option_ = app()
                       .add_option("--last", last_, "the newest N decisions, default 1")
                       ->expected(0, 1)
                       ->check(CLI::Range(1, 500));
    app().add_flag("--follow", follow_, "decisions as they are made, until interrupted");
    app().add_option("--match", match_,
                     "comma means and: model=, endpoint=, candidate=, outcome=, code=, profile=, "
                     "generation=, slower=1ms, ttft>500ms, margin<0.1");
    app().add_flag("--all", all_, "every candidate, not only the best");
    app().add_flag("--columns", columns_, "raw columns too");
  }

 private:
  int Run(Io& io) override {
    const bool listed = last_option_->count() > 0;
    if (int{!id_.empty()} + int{listed} + int{follow_} != 1) {
      return Fail(io, kUsage, "EPP-CLI-USAGE", "want one of: an ID, --last, --follow");
    }
    last_ = std::max(last_, 1);  // a bare --last leaves 0
    if (!id_.empty()) return One(io);
    return follow_ ? Follow(io) : Last(io);
  }

  std::string Details() const { return StrCat(all_ ? "&all=1" : "", columns_ ? "&columns=1" : ""); }
  std::string ListPath(size_t last) const {
    return StrCat("/admin/decisions?last=", last, "&match=", PercentEncode(match_), Details());
  }

  int One(Io& io) {
    int exit_code = kDone;
    const auto response = Get(io, StrCat("/admin/decisions/", PercentEncode(id_), "?", Details()),
                              !json(), &exit_code);
    if (!response.ok()) return exit_code;
    if (response->status == 404) {
      return Fail(io, kNo, "EPP-ADM-NO-DECISION", Detail(*response));
    }
    return Print(io, response->body);
  }

  int Last(Io& io) {
    int exit_code = kDone;
    // One decision in full, several as a list to choose from.
    const std::string full = last_ == 1 || all_ || columns_ ? "&full=1" : "";
    const auto response = Get(io, ListPath(static_cast<size_t>(last_)) + full, !json(), &exit_code);
    if (!response.ok()) return exit_code;
    if (!json() && response->body.empty()) {
      return Fail(io, kNo, "EPP-ADM-NO-DECISION",
                  match_.empty() ? "no decision was made yet" : "no kept decision matches");
    }
    return Print(io, response->body);
  }

  int Follow(Io& io) {
    int exit_code = kDone;
    std::string after = "d-0";
    bool first = true;
    for (;;) {
      const std::string path = StrCat(ListPath(first ? 1 : 500), "&after=", after);
      const auto list = Get(io, path, false, &exit_code);
      if (!list.ok()) return exit_code;
      const auto document = nlohmann::json::parse(list->body, nullptr, false);
      if (!document.is_object() || !document.contains("decisions")) {
        return Fail(io, kRefused, "EPP-CLI-REFUSED", "the answer is no list of decisions");
      }
      std::vector<nlohmann::json> fresh = document["decisions"];
      if (!fresh.empty()) after = fresh.front().value("id", after);
      if (first) io.err << "following " << address() << std::endl;
      if (!first) {
        std::reverse(fresh.begin(), fresh.end());
        if (!ShowFresh(io, fresh, &exit_code)) return exit_code;
      }
      first = false;
      std::this_thread::sleep_for(kPollEvery);
    }
  }

  bool ShowFresh(Io& io, const std::vector<nlohmann::json>& fresh, int* exit_code) {
    for (const nlohmann::json& decision : fresh) {
      if (json()) {
        io.out << decision.dump() << "\n";
        continue;
      }
      const auto text = Get(
          io, StrCat("/admin/decisions/", PercentEncode(decision.value("id", "")), "?", Details()),
          true, exit_code);
      if (!text.ok()) return false;
      if (text->status == 200) io.out << text->body << "\n";
    }
    io.out.flush();
    return !io.out.fail();
  }

  static int Print(Io& io, const std::string& body) {
    io.out << body;
    if (!body.ends_with('\n')) io.out << "\n";
    return kDone;
  }

  std::string id_;
  CLI::Option* last_option_ = nullptr;
  int last_ = 1;
  bool follow_ = false;
  std::string match_;
  bool all_ = false;
  bool columns_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeExplain() { return std::make_unique<Explain>(); }

}  // namespace epp::cli
