#include "host/cli/admin_client.h"

#include <dirent.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <ostream>

#include "CLI/CLI.hpp"
#include "host/base/str_cat.h"
#include "host/cli/load.h"
#include "host/config/settings.h"
#include "nlohmann/json.hpp"

namespace epp::cli {
namespace {

constexpr const char* kDefaultSettings = "/etc/epp/epp.toml";

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

AdminAddress UnixAddress(std::string path) {
  AdminAddress address;
  address.shown = StrCat("unix:", path);
  address.target.unix_path = std::move(path);
  return address;
}

std::vector<std::string> SocketsIn(const std::string& directory) {
  std::vector<std::string> sockets;
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return sockets;
  while (const dirent* entry = readdir(dir)) {
    const std::string path = StrCat(directory, "/", entry->d_name);
    struct stat info;
    if (path.ends_with(".sock") && stat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) {
      sockets.push_back(path);
    }
  }
  closedir(dir);
  std::sort(sockets.begin(), sockets.end());
  return sockets;
}

// The socket that a settings file names; empty when it names none.
absl::StatusOr<std::string> SocketOfSettings(const std::string& path) {
  const auto text = ReadText(path);
  if (!text.ok()) return text.status();
  config::SettingsBuilder settings;
  config::Diagnostics found;
  settings.ApplyFile(*text, found);
  if (!found.ok()) return absl::InvalidArgumentError(found.Render());
  if (settings.origin("admin.socket") == "default") return std::string();
  return settings.settings().admin_socket;
}

http::ClientRequest MakeRequest(std::string_view method, const std::string& path, bool text) {
  http::ClientRequest request;
  request.method = method;
  request.path = path;
  request.headers.emplace_back("Accept", text ? "text/plain" : "application/json");
  return request;
}

}  // namespace

absl::StatusOr<AdminAddress> ParseAdminAddress(std::string_view text) {
  if (text.starts_with("unix:")) text.remove_prefix(5);
  if (text.starts_with('/')) return UnixAddress(std::string(text));
  const absl::Status bad = absl::InvalidArgumentError(
      StrCat("admin address is \"", text, "\", want unix:PATH or http://HOST:PORT"));
  constexpr std::string_view kHttp = "http://";
  if (!text.starts_with(kHttp)) return bad;
  std::string_view rest = text.substr(kHttp.size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return bad;
  AdminAddress address;
  const auto [end, error] =
      std::from_chars(rest.data() + colon + 1, rest.data() + rest.size(), address.target.port);
  if (error != std::errc() || end != rest.data() + rest.size()) return bad;
  std::string_view host = rest.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  address.target.host = std::string(host);
  address.shown = StrCat(kHttp, rest);
  return address;
}

absl::StatusOr<AdminAddress> FindAdmin(const AdminSearch& search) {
  if (!search.flag.empty()) return ParseAdminAddress(search.flag);
  if (!search.environment.empty()) return ParseAdminAddress(search.environment);
  if (!search.settings_file.empty()) {
    const absl::StatusOr<std::string> socket = SocketOfSettings(search.settings_file);
    if (!socket.ok()) return absl::InvalidArgumentError(socket.status().message());
    if (!socket->empty()) return UnixAddress(*socket);
  }
  for (const std::string& directory : search.directories) {
    const std::vector<std::string> sockets = SocketsIn(directory);
    if (sockets.size() == 1) return UnixAddress(sockets[0]);
    if (sockets.size() > 1) {
      std::string list;
      for (const std::string& socket : sockets) {
        StrAppend(&list, "\n  --admin unix:", socket, "  (", DescribeSocket(socket), ")");
      }
      return absl::InvalidArgumentError(StrCat("several processes, name one:", list));
    }
  }
  return UnixAddress(search.directories.empty() ? "/run/epp/admin.sock"
                                                : StrCat(search.directories[0], "/admin.sock"));
}

std::string DescribeSocket(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return "";
  std::string mode = S_ISSOCK(info.st_mode) ? "s" : S_ISDIR(info.st_mode) ? "d" : "-";
  for (int shift = 6; shift >= 0; shift -= 3) {
    const mode_t bits = info.st_mode >> shift;
    mode += bits & 4 ? 'r' : '-';
    mode += bits & 2 ? 'w' : '-';
    mode += bits & 1 ? 'x' : '-';
  }
  const passwd* user = getpwuid(info.st_uid);
  const group* owner = getgrgid(info.st_gid);
  return StrCat(mode, " ", user ? user->pw_name : StrCat(info.st_uid), ":",
                owner ? owner->gr_name : StrCat(info.st_gid));
}

ClientCommand::ClientCommand(std::string_view name, std::string_view summary,
                             std::string_view examples)
    : Command(name, summary, examples) {
  app().add_option("--admin", admin_, "unix:PATH or http://HOST:PORT; also EPP_ADMIN");
  app().add_option("--settings", settings_, "settings file whose [admin] section says where");
  AddJsonFlag();
}

absl::StatusOr<http::ClientResponse> ClientCommand::Get(Io& io, const std::string& path, bool text,
                                                        int* exit_code) {
  return Ask(io, MakeRequest("GET", path, text), {200, 404}, exit_code);
}

absl::StatusOr<http::ClientResponse> ClientCommand::Post(Io& io, const std::string& path,
                                                         const std::string& body, bool text,
                                                         absl::Duration timeout, int* exit_code) {
  http::ClientRequest request = MakeRequest("POST", path, text);
  request.body = body;
  request.timeout = timeout;
  if (!body.empty()) request.headers.emplace_back("Content-Type", "application/json");
  return Ask(io, request, {200, 202, 404, 409, 412, 504}, exit_code);
}

int ClientCommand::PrintOutcome(Io& io, const http::ClientResponse& response) const {
  const bool done = response.status == 200 || response.status == 202;
  const int exit_code = done ? kDone : response.status == 504 ? kTimedOut : kRefused;
  if (response.content_type.starts_with("application/problem+json") && !json()) {
    return Fail(io, exit_code, "EPP-CLI-REFUSED", Detail(response));
  }
  // Either way the answer is the product of the command; a reader in a terminal finds the reasons
  // of a refusal where errors are.
  std::ostream& out = done || json() ? io.out : io.err;
  out << response.body;
  if (!response.body.ends_with('\n')) out << "\n";
  return exit_code;
}

absl::StatusOr<http::ClientResponse> ClientCommand::Ask(Io& io, const http::ClientRequest& request,
                                                        std::initializer_list<int> answers,
                                                        int* exit_code) {
  AdminSearch search;
  search.flag = admin_;
  search.environment = Environment("EPP_ADMIN");
  search.settings_file = settings_;
  if (settings_.empty() && access(kDefaultSettings, R_OK) == 0) {
    search.settings_file = kDefaultSettings;
  }
  search.directories.push_back("/run/epp");
  if (const std::string runtime = Environment("XDG_RUNTIME_DIR"); !runtime.empty()) {
    search.directories.push_back(StrCat(runtime, "/epp"));
  }
  const absl::StatusOr<AdminAddress> address = FindAdmin(search);
  if (!address.ok()) {
    *exit_code = Fail(io, kUsage, "EPP-CLI-ADMIN", View(address.status()));
    return address.status();
  }
  address_ = address->shown;
  absl::StatusOr<http::ClientResponse> response = http::Call(address->target, request);
  if (!response.ok()) {
    const bool late = absl::IsDeadlineExceeded(response.status());
    // The client's own message begins with the address.
    std::string_view why = View(response.status());
    if (why.starts_with(address_)) why.remove_prefix(std::min(why.size(), address_.size() + 2));
    std::string message = StrCat("no running epp at ", address_, ": ", why);
    if (const std::string socket = DescribeSocket(address->target.unix_path); !socket.empty()) {
      StrAppend(&message, " (", socket, ")");
    }
    *exit_code = Fail(io, late ? kTimedOut : kUnreachable, "EPP-CLI-UNREACHABLE", message);
    if (!json() && admin_.empty()) io.err << "  hint: --admin or EPP_ADMIN name another place\n";
    return response.status();
  }
  if (std::find(answers.begin(), answers.end(), response->status) == answers.end()) {
    *exit_code = Fail(io, response->status == 400 ? kUsage : kRefused, "EPP-CLI-REFUSED",
                      StrCat(address_, " answered ", response->status, ": ", Detail(*response)));
    return absl::FailedPreconditionError("refused");
  }
  return response;
}

std::string ClientCommand::Detail(const http::ClientResponse& response) {
  const nlohmann::json document = nlohmann::json::parse(response.body, nullptr, false);
  if (document.is_object() && document.contains("detail") && document["detail"].is_string()) {
    return document["detail"].get<std::string>();
  }
  return response.body.substr(0, 400);
}

std::string PercentEncode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      out += {'%', kHex[static_cast<unsigned char>(c) >> 4], kHex[c & 0xf]};
    }
  }
  return out;
}

}  // namespace epp::cli
