// epp rollback: makes the text of an older generation serve again.
#include <ostream>
#include <vector>

#include "CLI/CLI.hpp"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/cli/admin_client.h"
#include "host/cli/load.h"
#include "host/cli/staged_file.h"
#include "nlohmann/json.hpp"

namespace epp::cli {
namespace {

using Json = nlohmann::json;

constexpr int64_t kWaitMs = 30'000;

class Rollback final : public ClientCommand {
 public:
  Rollback()
      : ClientCommand("rollback", "Makes the text of an older generation serve again",
                      "  epp rollback --reason 'p99 doubled'\n"
                      "  epp rollback 42 --write\n") {
    app()
        .add_option("N", number_, "the generation; default: the one before what serves")
        ->check(CLI::PositiveNumber);
    app().add_flag("--write", write_,
                   "also write its text over the file; the former stays as .bak");
    app().add_option("--reason", reason_, "for the log and the history");
  }

 private:
  int Run(Io& io) override {
    int exit_code = kDone;
    std::vector<StagedFile> files;
    if (write_ && !StageFiles(io, files, &exit_code)) return exit_code;
    std::string body;
    JsonWriter w(&body);
    w.BeginObject();
    w.Field("to", number_).Field("reason", reason_).Field("wait_ms", kWaitMs);
    w.EndObject();
    const auto response = Post(io, "/admin/rollback", body, !json() && !write_,
                               absl::Milliseconds(kWaitMs) + absl::Seconds(10), &exit_code);
    if (!response.ok()) return exit_code;
    if (!write_ || response->status != 200) return PrintOutcome(io, *response);
    for (StagedFile& file : files) {
      if (const absl::Status status = file.Commit(); !status.ok()) {
        return Fail(io, kRefused, "EPP-CLI-WRITE",
                    StrCat("it serves, but the file is as it was: ", View(status)));
      }
    }
    if (json()) return PrintOutcome(io, *response);
    PrintWritten(io, Json::parse(response->body, nullptr, false), files);
    return kDone;
  }

  // Puts the texts of the generation beside the files that they are to replace, and makes number_
  // say which generation that is.
  bool StageFiles(Io& io, std::vector<StagedFile>& files, int* exit_code) {
    if (number_ == 0) {
      const auto list = Get(io, "/admin/generations", false, exit_code);
      if (!list.ok()) return false;
      const Json document = Json::parse(list->body, nullptr, false);
      number_ = document.is_object() ? document.value("before", uint64_t{0}) : 0;
      // The process has the words for it.
      if (number_ == 0) return true;
    }
    const auto response = Get(io, StrCat("/admin/generations/", number_), false, exit_code);
    if (!response.ok()) return false;
    if (response->status == 404) {
      *exit_code = Fail(io, kRefused, "EPP-ADM-NO-GENERATION", Detail(*response));
      return false;
    }
    const Json document = Json::parse(response->body, nullptr, false);
    const Json none = Json::array();
    const Json& parts =
        document.is_object() && document.contains("files") ? document["files"] : none;
    for (const Json& part : parts) {
      const std::string path = part.value("path", "");
      auto staged = path.starts_with('/')
                        ? StagedFile::Stage(path, part.value("text", ""))
                        : absl::FailedPreconditionError("the configuration is no file");
      if (!staged.ok()) {
        *exit_code = Fail(io, kRefused, "EPP-CLI-WRITE",
                          StrCat(View(staged.status()), "; nothing was rolled back"));
        return false;
      }
      files.push_back(*std::move(staged));
    }
    return true;
  }

  static void PrintWritten(Io& io, const Json& outcome, const std::vector<StagedFile>& files) {
    if (outcome.value("outcome", "") == "applied") {
      io.out << "generation " << outcome.value("generation", uint64_t{0}) << " serving after "
             << static_cast<int64_t>(outcome.value("took_ms", 0.0))
             << " ms: the text of generation " << outcome.value("restored", uint64_t{0});
    } else {
      io.out << "unchanged: generation " << outcome.value("generation", uint64_t{0})
             << " serves that text already";
    }
    io.out << " (digest " << outcome.value("digest", "") << ")\n";
    for (const StagedFile& file : files) {
      io.out << "written: " << file.path() << "; the former text is " << file.backup() << "\n";
    }
  }

  uint64_t number_ = 0;
  bool write_ = false;
  std::string reason_;
};

}  // namespace

std::unique_ptr<Command> MakeRollback() { return std::make_unique<Rollback>(); }

}  // namespace epp::cli
