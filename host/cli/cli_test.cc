#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"
#include "host/base/unique_fd.h"
#include "host/cli/admin_client.h"
#include "host/cli/command.h"
#include "host/cli/man.h"
#include "host/cli/notify.h"
#include "host/cli/roff.h"
#include "host/cli/table.h"
#include "host/cli/type_text.h"
#include "host/cli/version.h"
#include "host/config/settings.h"
#include "nlohmann/json.hpp"

namespace epp::cli {
namespace {

using ::testing::HasSubstr;

struct Ran {
  int exit_code;
  std::string out;
  std::string err;
};

Ran Epp(const std::vector<std::string>& arguments) {
  std::istringstream in;
  std::ostringstream out, err;
  Io io{in, out, err};
  const int exit_code = Dispatch(arguments, io);
  return {exit_code, out.str(), err.str()};
}

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/epp_cli_XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A bound Unix socket.
UniqueFd Bind(const std::string& path, int type) {
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

TEST(DispatchTest, UsageErrorsExitWithTwoAndNameWhatWasMeant) {
  const struct {
    std::vector<std::string> arguments;
    std::string error;
  } kCases[] = {
      {{}, "Usage: epp COMMAND"},
      {{"chekc"}, "did you mean \"check\"?"},
      {{"check", "--jsno"}, "did you mean --json?"},
      {{"check", "--stage", "nothing"}, "--stage"},
      {{"explain"}, "want one of"},
      {{"explain", "x", "--last"}, "want one of"},
      {{"help", "EPP-CFG-RANG"}, "did you mean \"EPP-CFG-RANGE\"?"},
      {{"status", "--admin", "ftp://x"}, "want unix:PATH or http://HOST:PORT"},
      {{"--set", "nothing"}, "SECTION.KEY=VALUE"},
      {{"pool", "--color", "pink"}, "--color"},
  };
  for (const auto& c : kCases) {
    const Ran ran = Epp(c.arguments);
    EXPECT_EQ(ran.exit_code, kUsage) << c.error;
    EXPECT_THAT(ran.err, HasSubstr(c.error));
    EXPECT_EQ(ran.out, "");
  }
}

TEST(DispatchTest, HelpIsAnAnswer) {
  for (const CommandEntry& entry : Commands()) {
    const Ran ran = Epp({std::string(entry.name), "-h"});
    EXPECT_EQ(ran.exit_code, kDone) << entry.name;
    EXPECT_THAT(ran.out, HasSubstr(std::string(entry.name)));
    EXPECT_EQ(ran.err, "");
  }
  EXPECT_THAT(Epp({"check", "--help"}).out, ::testing::StartsWith("Examples:"));
  EXPECT_THAT(Epp({"-h"}).out, HasSubstr("explain"));
}

TEST(DispatchTest, AnErrorWithJsonIsADocument) {
  const Ran ran = Epp({"status", "--json", "--admin", "unix:/no/such/socket"});
  EXPECT_EQ(ran.exit_code, kUnreachable);
  const auto document = nlohmann::json::parse(ran.out, nullptr, false);
  ASSERT_TRUE(document.is_object()) << ran.out;
  EXPECT_EQ(document["schema"], "epp.error/1");
  EXPECT_EQ(document["code"], "EPP-CLI-UNREACHABLE");
  EXPECT_EQ(ran.err, "");
}

TEST(HelpTest, ExplainsCodesAndTopics) {
  EXPECT_THAT(Epp({"help", "epp-cfg-range"}).out, HasSubstr("fix "));
  EXPECT_THAT(Epp({"help", "exit-codes"}).out, HasSubstr("78"));
  EXPECT_THAT(Epp({"help", "check"}).out, HasSubstr("--deny-warnings"));
}

TEST(ColourTest, NeedsATerminalUnlessForced) {
  std::istringstream in;
  std::ostringstream out;
  Io io{in, out, out};
  EXPECT_TRUE(ApplyColour("auto", io));
  EXPECT_FALSE(io.out_colour);
  EXPECT_TRUE(ApplyColour("always", io));
  EXPECT_TRUE(io.out_colour && io.err_colour);
  io.out_tty = true;
  setenv("NO_COLOR", "1", 1);
  ApplyColour("auto", io);
  EXPECT_FALSE(io.out_colour);
  unsetenv("NO_COLOR");
  setenv("TERM", "dumb", 1);
  ApplyColour("auto", io);
  EXPECT_FALSE(io.out_colour);
  EXPECT_FALSE(ApplyColour("sometimes", io));
}

TEST(AdminAddressTest, ReadsItsForms) {
  EXPECT_EQ(ParseAdminAddress("unix:/run/x.sock")->target.unix_path, "/run/x.sock");
  EXPECT_EQ(ParseAdminAddress("/run/x.sock")->shown, "unix:/run/x.sock");
  EXPECT_EQ(ParseAdminAddress("http://localhost:81/")->target.port, 81);
  EXPECT_EQ(ParseAdminAddress("http://[::1]:81")->target.host, "::1");
  for (const char* bad : {"", "x", "https://a:1", "http://a", "http://a:b", "http://a:70000"}) {
    EXPECT_FALSE(ParseAdminAddress(bad).ok()) << bad;
  }
}

TEST(FindAdminTest, FlagThenEnvironmentThenSettingsThenDirectories) {
  const TempDir dir;
  const std::string settings = dir.path() + "/epp.toml";
  std::ofstream(settings) << "[admin]\nsocket = \"/from/settings.sock\"\n";
  AdminSearch search;
  search.directories = {dir.path() + "/none", dir.path()};
  const UniqueFd one = Bind(dir.path() + "/admin.sock", SOCK_STREAM);
  EXPECT_EQ(FindAdmin(search)->shown, "unix:" + dir.path() + "/admin.sock");
  search.settings_file = settings;
  EXPECT_EQ(FindAdmin(search)->shown, "unix:/from/settings.sock");
  search.environment = "/from/environment.sock";
  EXPECT_EQ(FindAdmin(search)->shown, "unix:/from/environment.sock");
  search.flag = "/from/flag.sock";
  EXPECT_EQ(FindAdmin(search)->shown, "unix:/from/flag.sock");
}

TEST(FindAdminTest, SeveralSocketsAreListed) {
  const TempDir dir;
  const UniqueFd one = Bind(dir.path() + "/a.sock", SOCK_STREAM);
  const UniqueFd two = Bind(dir.path() + "/b.sock", SOCK_STREAM);
  AdminSearch search;
  search.directories = {dir.path()};
  const auto found = FindAdmin(search);
  ASSERT_FALSE(found.ok());
  EXPECT_THAT(std::string(found.status().message()), HasSubstr("a.sock"));
  EXPECT_THAT(std::string(found.status().message()), HasSubstr("b.sock"));
  EXPECT_THAT(DescribeSocket(dir.path() + "/a.sock"), ::testing::StartsWith("srw"));
  EXPECT_EQ(DescribeSocket(dir.path() + "/c.sock"), "");
}

TEST(NotifyTest, SendsADatagram) {
  const TempDir dir;
  const UniqueFd fd = Bind(dir.path() + "/notify", SOCK_DGRAM);
  setenv("NOTIFY_SOCKET", (dir.path() + "/notify").c_str(), 1);
  Notify("READY=1");
  unsetenv("NOTIFY_SOCKET");
  char buffer[64] = {};
  ASSERT_EQ(recv(fd.get(), buffer, sizeof(buffer), MSG_DONTWAIT), 7);
  EXPECT_STREQ(buffer, "READY=1");
  Notify("nobody listens");
}

// What arrived since the last call, as one line.
std::string Received(int fd) {
  std::string all;
  char buffer[256];
  for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0;) {
    StrAppend(&all, all.empty() ? "" : " | ", std::string_view(buffer, static_cast<size_t>(n)));
  }
  std::replace(all.begin(), all.end(), '\n', ' ');
  return all;
}

TEST(NotifyTest, TheSignOfLifeIsWithheldWhileAThreadIsStuck) {
  const TempDir dir;
  const UniqueFd fd = Bind(dir.path() + "/notify", SOCK_DGRAM);
  setenv("NOTIFY_SOCKET", (dir.path() + "/notify").c_str(), 1);
  setenv("WATCHDOG_USEC", "20000000", 1);
  bool alive = false;
  ServiceNotifier manager([&] { return alive; });
  const auto at = [](uint64_t seconds) { return (1000 + seconds) * 1'000'000; };
  manager.Ready("a", at(0));
  EXPECT_EQ(Received(fd.get()), "READY=1 STATUS=a");
  for (uint64_t s = 1; s < 9; ++s) manager.Tick("a", at(s));
  EXPECT_EQ(Received(fd.get()), "");
  alive = true;
  manager.Tick("a", at(9));
  EXPECT_EQ(Received(fd.get()), "WATCHDOG=1");
  manager.Tick("b", at(10));
  EXPECT_EQ(Received(fd.get()), "STATUS=b");
  manager.Tick("b", at(14));
  EXPECT_EQ(Received(fd.get()), "WATCHDOG=1");
  manager.Tick("b", at(20));
  EXPECT_EQ(Received(fd.get()), "STATUS=b | WATCHDOG=1");
  manager.Reloading(at(21));
  manager.Reloaded("c", at(22));
  EXPECT_EQ(Received(fd.get()), "RELOADING=1 MONOTONIC_USEC=1021000000 | READY=1 STATUS=c");
  manager.Draining(2);
  manager.Draining(1);
  EXPECT_EQ(Received(fd.get()),
            "STOPPING=1 EXTEND_TIMEOUT_USEC=30000000 STATUS=draining, open streams: 2 | "
            "EXTEND_TIMEOUT_USEC=30000000 STATUS=draining, open streams: 1");

  setenv("WATCHDOG_PID", "1", 1);  // somebody else's
  ServiceNotifier other([&]() -> bool {
    ADD_FAILURE() << "asked";
    return true;
  });
  other.Tick("a", at(9));
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) unsetenv(name);
}

TEST(ManTest, EveryCommandAndSettingIsDescribed) {
  std::map<std::string, std::string> pages;
  for (ManPage& page : ManPages()) pages[page.FileName()] = std::move(page.roff);
  for (const CommandEntry& entry : Commands()) {
    const std::string& page = pages[StrCat("epp-", entry.name, ".1")];
    for (const std::string& flag : entry.make()->FlagNames()) {
      EXPECT_THAT(page, HasSubstr(RoffText(flag))) << entry.name;
    }
    EXPECT_THAT(pages["epp.1"], HasSubstr(RoffText(entry.summary)));
  }
  for (const config::SettingSpec& spec : config::SettingSpecs()) {
    EXPECT_THAT(pages["epp.toml.5"], HasSubstr(RoffText(spec.doc))) << spec.key;
  }
}

TEST(ManTest, TextsAreNoRequests) {
  EXPECT_EQ(RoffText("--a 'b' \\ ~^`"), "\\-\\-a \\(aqb\\(aq \\e \\(ti\\(ha\\(ga");
  EXPECT_EQ(RoffText(".SH\n'x"), "\\&.SH \\(aqx");
  Roff page("epp-x", 1, "epp");
  page.Verbatim("a\n.b \"c\"\n");
  page.Section("\"");
  EXPECT_THAT(page.text(), HasSubstr("\na\n\\&.b \"c\"\n.EE\n"));
  EXPECT_THAT(page.text(), HasSubstr(".SH \"\\(dq\"\n"));
}

TEST(VersionTest, ComparesNumbers) {
  EXPECT_TRUE(IsNewer("1.10.0", "1.9.9"));
  EXPECT_FALSE(IsNewer("1.2.0", "1.2.0"));
  EXPECT_FALSE(IsNewer("1.1.9", "1.2.0"));
  EXPECT_FALSE(IsNewer("unknown", "1.2.0"));
}

TEST(TextTest, EncodesAndAligns) {
  EXPECT_EQ(PercentEncode("ttft>1ms,a b\xff"), "ttft%3E1ms%2Ca%20b%FF");
  Table table;
  table.Row({"A", "LONG"});
  table.Row({"abc", "x", ""});
  EXPECT_EQ(table.Text(), "A    LONG\nabc  x\n");
}

TEST(TypeTextTest, RangesReadAsPeopleWriteThem) {
  const struct {
    int32_t type;
    double min;
    double max;
    std::string text;
  } kCases[] = {
      {EPP_P_I64, 0, 9.3e18, ">= 0"},         {EPP_P_I64, 1, 9, "1 to 9"},
      {EPP_P_F64, -1e300, 0.5, "<= 0.5"},     {EPP_P_DURATION, 0.5, 60, "0.5s to 60s"},
      {EPP_P_F64, -1.0 / 0.0, 1.0 / 0.0, ""}, {EPP_P_STR, 0, 0, ""},
  };
  for (const auto& c : kCases) {
    epp_param_spec spec{};
    spec.type = c.type;
    spec.min = c.min;
    spec.max = c.max;
    EXPECT_EQ(FormatRange(spec), c.text);
  }
}

}  // namespace
}  // namespace epp::cli
