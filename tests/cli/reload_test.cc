// Libraries, configs and directories that change under a serving process, in every way in which
// they change. The names are those of the pitfalls that they stand for.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/http/client.h"
#include "nlohmann/json.hpp"
#include "tests/cli/live_fixture.h"

namespace epp::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Build(int version) { return EPP_VERSIONED + std::to_string(version) + ".so"; }

std::string Bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream all;
  all << in.rdbuf();
  return all.str();
}

// As cp over an existing file: the same inode, truncated and written again.
void WriteInPlace(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class ReloadTest : public LiveTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(LiveTest::SetUp());
    plugins_ = dir_ + "/plugins";
    library_ = plugins_ + "/versioned.so";
    config_ = dir_ + "/config.yaml";
    fs::create_directory(plugins_);
    Install(1);
    Replace(config_, Config(""));
  }
  void ServeAll(const std::vector<std::string>& more = {}) {
    const std::string own = fs::path(EPP_BINARY).parent_path().parent_path() / "lib/epp/plugins";
    std::vector<std::string> command{
        "--config-file", config_, "--set", "plugins.dirs=" + own + "," + plugins_, "-v", "4"};
    command.insert(command.end(), more.begin(), more.end());
    ASSERT_NO_FATAL_FAILURE(Serve(command));
    ASSERT_NO_FATAL_FAILURE(WaitUntilFresh());
    ASSERT_EQ(Version(), "1") << serve_->output();
  }
  // In one step, as a package manager does.
  void Install(int version) const {
    fs::copy_file(Build(version), library_ + ".tmp", fs::copy_options::overwrite_existing);
    fs::rename(library_ + ".tmp", library_);
  }
  static std::string Config(const std::string& more_plugins) {
    return "apiVersion: llm-d.ai/v1alpha1\n"
           "kind: EndpointPickerConfig\n"
           "plugins:\n"
           "- {type: queue-scorer}\n"
           "- {type: versioned-hook}\n" +
           more_plugins +
           "schedulingProfiles:\n"
           "- name: default\n"
           "  plugins:\n"
           "  - {pluginRef: queue-scorer}\n";
  }
  std::string Version() const { return Header("x-version"); }
  bool Serves(const std::string& version) const {
    return Eventually([&] { return Version() == version; });
  }
  double Generation() const { return Metric("epp_generation"); }
  bool Raised(const std::string& code) const {
    return Metric("epp_degraded{reason=\"" + code + "\"}") == 1;
  }

  std::string plugins_;
  std::string library_;
  std::string config_;
};

// P1: the loader must not take a new file at an old path for the old code.
TEST_F(ReloadTest, ReloadSamePath) {
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  Install(2);
  EXPECT_TRUE(Serves("2")) << "by rename";
  fs::copy_file(Build(1), plugins_ + "/other.tmp");
  fs::remove(library_);
  fs::create_hard_link(plugins_ + "/other.tmp", library_);
  EXPECT_TRUE(Serves("1")) << "by hard link";
  // As Kubernetes mounts a volume: the file is a link through ..data, which turns.
  for (const int version : {1, 2}) {
    const std::string volume = plugins_ + "/..v" + std::to_string(version);
    fs::create_directory(volume);
    fs::copy_file(Build(version), volume + "/versioned.so");
  }
  fs::create_symlink("..v1", plugins_ + "/..data");
  fs::create_symlink("..data/versioned.so", plugins_ + "/versioned.link");
  fs::rename(plugins_ + "/versioned.link", library_);
  fs::create_symlink("..v2", plugins_ + "/..data_tmp");
  fs::rename(plugins_ + "/..data_tmp", plugins_ + "/..data");
  EXPECT_TRUE(Serves("2")) << "by a link that turns";
  EXPECT_FALSE(Raised("plugin-refused"));
}

// P2: whoever maps the installed file itself crashes here.
TEST_F(ReloadTest, OverwriteInPlace) {
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  std::atomic<bool> stop{false};
  std::atomic<int> picked{0};
  std::atomic<int> dropped{0};
  std::vector<std::thread> load;
  for (int i = 0; i < 2; ++i) {
    load.emplace_back([&] {
      while (!stop) ++(Decide("").empty() ? dropped : picked);
    });
  }
  WriteInPlace(library_, Bytes(Build(2)));
  EXPECT_TRUE(Serves("2"));
  WriteInPlace(library_, "");
  EXPECT_TRUE(Eventually([&] { return Raised("plugin-refused"); })) << serve_->output();
  EXPECT_EQ(Version(), "2") << "the former build goes on";
  const Result refused = Ask({"reload", "--wait"});
  EXPECT_EQ(refused.exit_code, 4) << refused.out;
  EXPECT_THAT(refused.err, HasSubstr(library_));
  EXPECT_THAT(refused.err, HasSubstr("its former build goes on"));
  EXPECT_THAT(Ask({"status"}).out, HasSubstr("plugin-refused"));
  WriteInPlace(library_, Bytes(Build(1)));
  EXPECT_TRUE(Serves("1"));
  EXPECT_TRUE(Eventually([&] { return !Raised("plugin-refused"); }));
  stop = true;
  for (std::thread& thread : load) thread.join();
  EXPECT_EQ(dropped, 0) << serve_->output();
  EXPECT_GT(picked, 0);
}

// P4: what counts is what is in the file.
TEST_F(ReloadTest, SameMtimeNewBytesNewMtimeSameBytes) {
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  struct stat before {};
  ASSERT_EQ(stat(library_.c_str(), &before), 0);
  fs::copy_file(Build(2), library_ + ".tmp");
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, (library_ + ".tmp").c_str(), times, 0), 0);
  fs::rename(library_ + ".tmp", library_);
  EXPECT_TRUE(Serves("2"));
  const double generation = Generation();
  ASSERT_EQ(utimensat(AT_FDCWD, library_.c_str(), nullptr, 0), 0);
  const Result unchanged = Ask({"reload", "--wait"});
  EXPECT_EQ(unchanged.exit_code, 0) << unchanged.err;
  EXPECT_THAT(unchanged.out, HasSubstr("unchanged"));
  EXPECT_EQ(Generation(), generation);
}

// P23: a hook of the old build runs while its generation is replaced.
TEST_F(ReloadTest, ReloadWhileAHookRuns) {
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  const std::string file = dir_ + "/go-on";
  std::string version;
  std::thread slow([&] { version = Header("x-version", {{"x-wait", file}}); });
  EXPECT_TRUE(Eventually([&] { return fs::exists(file + ".running"); }));
  Install(2);
  EXPECT_TRUE(Eventually([&] { return Generation() == 2; }));
  std::ofstream(file) << "now";
  slow.join();
  EXPECT_EQ(version, "1") << serve_->output();
  EXPECT_EQ(Version(), "2");
  EXPECT_TRUE(Eventually([&] { return Metric("epp_generations_draining") == 0; }));
}

// P6: what an instance gave away is there for as long as a request may look at it.
TEST_F(ReloadTest, OpaqueOutlivesGeneration) {
  Replace(config_, Config("- {name: reader, type: versioned-hook, parameters: {fail: value}}\n- "
                          "{type: versioned-value}\n"));
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  const std::string file = dir_ + "/go-on";
  std::string value;
  std::thread slow([&] { value = Header("x-value", {{"x-wait", file}}); });
  EXPECT_TRUE(Eventually([&] { return fs::exists(file + ".running"); }));
  Install(2);
  EXPECT_TRUE(Eventually([&] { return Generation() == 2; }));
  std::ofstream(file) << "now";
  slow.join();
  EXPECT_EQ(value, "a value that no small string holds, of build 1") << serve_->output();
  EXPECT_EQ(Header("x-value"), "a value that no small string holds, of build 2");
}

int64_t ResidentBytes(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/statm");
  int64_t size = 0;
  int64_t resident = 0;
  in >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// P24: one stream that never ends holds its own generation, and nothing more.
TEST_F(ReloadTest, StuckStream) {
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  int64_t resident = 0;
  OpenRequest stuck(grpc_port_, "stuck");
  ASSERT_EQ(stuck.header("x-version"), "1");
  for (int i = 0; i < 6; ++i) {
    Install(i % 2 == 0 ? 2 : 1);
    EXPECT_EQ(Ask({"reload", "--wait"}).exit_code, 0);  // or the watch came first
    EXPECT_TRUE(Serves(i % 2 == 0 ? "2" : "1"));
    if (i == 2) resident = ResidentBytes(serve_->pid());
  }
  EXPECT_LT(ResidentBytes(serve_->pid()) - resident, 32 << 20);
  EXPECT_GE(Generation(), 7);
  EXPECT_TRUE(Eventually([&] { return Metric("epp_generations_draining") == 1; }));
  stuck.End();
  EXPECT_TRUE(Eventually([&] { return Metric("epp_generations_draining") == 0; }));
}

// P26: all or nothing.
TEST_F(ReloadTest, ThirdOfFiveFails) {
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  for (const char* fault : {"create", "bind"}) {
    std::string plugins;
    for (int i = 1; i <= 5; ++i) {
      plugins += "- {name: hook-" + std::to_string(i) + ", type: versioned-hook" +
                 (i == 3 ? std::string(", parameters: {fail: ") + fault + "}" : "") + "}\n";
    }
    Replace(config_, Config(plugins));
    const Result refused = Ask({"reload", "--wait"});
    EXPECT_EQ(refused.exit_code, 4) << fault << ": " << refused.out;
    EXPECT_THAT(refused.err, HasSubstr("\"hook-3\""));
    EXPECT_EQ(Generation(), 1) << fault;
    EXPECT_EQ(Header("x-count"), fault == std::string("create") ? "2" : "3")
        << "the same instance goes on, alone";
  }
  EXPECT_TRUE(Raised("config-refused"));
  Replace(config_, Config("- {name: hook-2, type: versioned-hook}\n"));
  EXPECT_TRUE(Eventually([&] { return Generation() == 2; }));
  EXPECT_FALSE(Raised("config-refused"));
}

// P29: a series goes on with its number, and so does what the plugin learned.
TEST_F(ReloadTest, CounterSurvivesReload) {
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  EXPECT_EQ(Header("x-count"), "2");
  Install(2);
  const Result reload = Ask({"reload", "--wait", "--json"});
  ASSERT_EQ(reload.exit_code, 0) << reload.err;
  ASSERT_TRUE(Eventually([&] { return Generation() == 2; }));
  EXPECT_EQ(Header("x-count"), "3");
  EXPECT_EQ(Version(), "2");
  EXPECT_TRUE(
      Eventually([&] { return Metric("epp_state_transfers_total{result=\"carried\"}") == 1; }));
  EXPECT_EQ(Metric("epp_plugin_versioned_requests_total"), 4);
  // A build that refuses the state starts empty, and the answer says so.
  Install(3);
  ASSERT_TRUE(Serves("3"));
  EXPECT_FALSE(
      serve_->WaitForLine("\"why\":\"the new instance refused it: build 3 reads no state\"")
          .empty());
  const auto history =
      http::Call({.unix_path = dir_ + "/admin.sock"}, {.path = "/admin/generations"});
  ASSERT_TRUE(history.ok()) << history.status();
  const auto newest = nlohmann::json::parse(history->body)["generations"][0];
  ASSERT_EQ(newest["lost"].size(), 1u) << history->body;
  EXPECT_EQ(newest["lost"][0]["plugin"], "versioned-hook");
}

// What began on the old instance is still in flight, and ends there.
TEST_F(ReloadTest, CountsInFlightFollow) {
  const auto config = [](const std::string& ratio) {
    return Config("- {type: inflight-load-producer, parameters: {outputRatio: " + ratio + "}}\n");
  };
  Replace(config_, config("1"));
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  const auto in_flight = [&] {
    const auto state = http::Call({.unix_path = dir_ + "/admin.sock"},
                                  {.path = "/admin/plugins/inflight-load-producer/state"});
    int64_t sum = -1;
    const auto json = nlohmann::json::parse(state.ok() ? state->body : "", nullptr, false);
    if (!json.is_object()) return sum;
    sum = 0;
    for (const auto& e : json["endpoints"]) sum += e.value("requests", 0);
    return sum;
  };
  OpenRequest first(grpc_port_, "first");
  ASSERT_TRUE(Eventually([&] { return in_flight() == 1; }));
  Replace(config_, config("2"));
  ASSERT_TRUE(Eventually([&] { return Generation() == 2; }));
  EXPECT_EQ(in_flight(), 1);
  OpenRequest second(grpc_port_, "second");
  Replace(config_, config("3"));
  ASSERT_TRUE(Eventually([&] { return Generation() == 3; }));
  EXPECT_EQ(in_flight(), 2);
  second.End();
  EXPECT_TRUE(Eventually([&] { return in_flight() == 1; }));
  first.End();
  EXPECT_TRUE(Eventually([&] { return in_flight() == 0; }));
}

TEST_F(ReloadTest, FileHalfWrittenWhenRead) {
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  const std::string whole = Config("- {name: another, type: versioned-hook}\n");
  WriteInPlace(config_, std::string_view(whole).substr(0, whole.size() / 2));
  ASSERT_FALSE(serve_->WaitForLine("may be half written").empty());
  WriteInPlace(config_, whole);
  EXPECT_TRUE(Eventually([&] { return Generation() == 2; }));
  EXPECT_THAT(serve_->output(), Not(HasSubstr("config refused")));

  const std::string bytes = Bytes(Build(2));
  WriteInPlace(library_, std::string_view(bytes).substr(0, bytes.size() / 2));
  ASSERT_FALSE(serve_->WaitForLine("in a moment\",\"cause\":\"plugin directory change\"").empty())
      << serve_->output();
  EXPECT_EQ(Version(), "1");
  WriteInPlace(library_, bytes);
  EXPECT_TRUE(Serves("2"));
  EXPECT_EQ(Generation(), 3);
  EXPECT_FALSE(Raised("plugin-refused"));
  EXPECT_THAT(serve_->output(), Not(HasSubstr("plugin-refused")));
}

TEST_F(ReloadTest, PluginDirectoryDeleted) {
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  fs::remove_all(plugins_);
  EXPECT_TRUE(Eventually([&] { return Raised("plugin-missing"); }));
  EXPECT_EQ(Version(), "1");
  EXPECT_THAT(Ask({"status"}).out, HasSubstr(library_));
  // The config may change meanwhile; what is loaded can still be used.
  Replace(config_, Config("- {name: another, type: versioned-hook}\n"));
  EXPECT_TRUE(Eventually([&] { return Generation() == 2; })) << serve_->output();
  EXPECT_EQ(Version(), "1");
  fs::create_directory(plugins_);
  Install(2);
  EXPECT_TRUE(Serves("2"));
  EXPECT_TRUE(Eventually([&] { return !Raised("plugin-missing"); }));
}

TEST_F(ReloadTest, ALibraryThatAnybodyMayWriteIsRefusedUntilMended) {
  ASSERT_NO_FATAL_FAILURE(ServeAll());
  Install(2);
  ASSERT_TRUE(Serves("2"));
  fs::permissions(library_, fs::perms::all);
  EXPECT_TRUE(Eventually([&] { return Raised("plugin-refused"); }));
  const auto answer = Ask({"reload", "--wait", "--json"});
  const auto json = nlohmann::json::parse(answer.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << answer.out << answer.err;
  ASSERT_EQ(json["refused_libraries"].size(), 1u) << answer.out;
  EXPECT_EQ(json["refused_libraries"][0]["path"], library_);
  EXPECT_EQ(json["refused_libraries"][0]["former_goes_on"], true);
  EXPECT_EQ(Version(), "2");
  fs::permissions(library_, fs::perms(0644));
  EXPECT_TRUE(Eventually([&] { return !Raised("plugin-refused"); }));
}

TEST_F(ReloadTest, WithoutWatchOnlyACommandApplies) {
  ASSERT_NO_FATAL_FAILURE(ServeAll({"--set", "config.watch=false"}));
  Install(2);
  Replace(config_, Config("- {name: another, type: versioned-hook}\n"));
  EXPECT_EQ(Generation(), 1);
  EXPECT_EQ(Version(), "1");
  serve_->Signal(SIGHUP);
  EXPECT_TRUE(Serves("2"));
  EXPECT_EQ(Generation(), 2);
}

}  // namespace
}  // namespace epp::testing
