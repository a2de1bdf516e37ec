// Finding a running epp and asking it.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "host/cli/command.h"
#include "host/http/client.h"

namespace epp::cli {

struct AdminAddress {
  std::string shown;  // "unix:/run/epp/admin.sock"
  http::ClientTarget target;
};

// Where to look for a process, and in what order.
struct AdminSearch {
  std::string flag;                           // --admin
  std::string environment;                    // EPP_ADMIN
  std::string settings_file;                  // whose [admin] socket counts; empty: none
  std::vector<std::string> directories = {};  // that hold sockets, the first with one counts
};

// "unix:PATH", "http://HOST:PORT" or an absolute path. Errors: InvalidArgument.
absl::StatusOr<AdminAddress> ParseAdminAddress(std::string_view text);

// The flag, else the environment, else the settings file, else the socket in the first directory
// that has one. Errors: InvalidArgument for an address that cannot be read, and for several sockets
// in one directory (the message lists them).
absl::StatusOr<AdminAddress> FindAdmin(const AdminSearch& search);

// `ls -l` of a socket in a few words: "srw-rw---- root:epp"; empty when there is no such file.
std::string DescribeSocket(const std::string& path);

// A command that asks a running process.
class ClientCommand : public Command {
 protected:
  ClientCommand(std::string_view name, std::string_view summary, std::string_view examples);

  // Fetches `path`. When there is no answer to work with, says why and sets `exit_code`; a 404 is
  // an answer.
  absl::StatusOr<http::ClientResponse> Get(Io& io, const std::string& path, bool text,
                                           int* exit_code);
  // As Get, but asks for something to be done, with a JSON body (empty: none). Refusals with their
  // reasons (404, 409, 412) and a 504 are answers, too. `timeout` is for the whole answer.
  absl::StatusOr<http::ClientResponse> Post(Io& io, const std::string& path,
                                            const std::string& body, bool text,
                                            absl::Duration timeout, int* exit_code);
  // Prints the answer of a reload or a rollback: the outcome, or why not. Returns the exit code.
  int PrintOutcome(Io& io, const http::ClientResponse& response) const;
  // "detail" of a problem document, or the whole body.
  static std::string Detail(const http::ClientResponse& response);
  // --settings.
  const std::string& settings_file() const { return settings_; }
  // Where the last request went.
  const std::string& address() const { return address_; }

 private:
  absl::StatusOr<http::ClientResponse> Ask(Io& io, const http::ClientRequest& request,
                                           std::initializer_list<int> answers, int* exit_code);

  std::string admin_;
  std::string settings_;
  std::string address_;
};

// For a query: everything but letters, digits and "-._~" percent-encoded.
std::string PercentEncode(std::string_view text);

}  // namespace epp::cli
