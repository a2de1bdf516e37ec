#include "tests/safety/rig.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "grpcpp/grpcpp.h"
#include "host/extproc/ext_proc.grpc.pb.h"
#include "nlohmann/json.hpp"

namespace epp::testing {
namespace {

namespace fs = std::filesystem;
namespace pb = envoy::service::ext_proc::v3;

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void Replace(const std::string& path, const std::string& content) {
  std::ofstream(path + ".new", std::ios::binary) << content;
  fs::rename(path + ".new", path);
}

std::string OwnPlugins() {
  return fs::path(EPP_BINARY).parent_path().parent_path().string() + "/lib/epp/plugins";
}

}  // namespace

void SafetyRig::SetUp() {
  char name[] = "/tmp/epp_safety_XXXXXX";
  dir_ = mkdtemp(name);
  fs::create_directory(dir_ + "/plugins");
  std::ofstream(dir_ + "/endpoints.yaml")
      << "endpoints:\n- {name: a, address: 127.0.0.1, port: 9}\n"
         "- {name: b, address: 127.0.0.1, port: 10}\n";
}

void SafetyRig::TearDown() {
  serve_.reset();
  fs::remove_all(dir_);
}

void SafetyRig::Install(const std::string& name, const std::string& salt) const {
  Replace(dir_ + "/plugins/" + name + ".so",
          Read(std::string(EPP_FLAWED_LIBS) + "/" + name + ".so") + salt);
}

void SafetyRig::Remove(const std::string& name) const {
  fs::remove(dir_ + "/plugins/" + name + ".so");
}

void SafetyRig::Configure(const std::vector<std::string>& types, int number) const {
  std::string plugins = "- {type: queue-scorer}\n";
  std::string profile = "  - {pluginRef: queue-scorer, weight: 1}\n";
  for (const std::string& type : types) {
    plugins += "- {type: " + type + ", parameters: {number: " + std::to_string(number) + "}}\n";
    profile += "  - {pluginRef: " + type + ", weight: 1}\n";
  }
  Replace(dir_ + "/config.yaml",
          "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n" + plugins +
              "schedulingProfiles:\n- name: default\n  plugins:\n" + profile);
}

std::vector<std::string> SafetyRig::Command(const std::string& command,
                                            const std::vector<std::string>& more) const {
  std::vector<std::string> out = {EPP_BINARY, command};
  for (const std::string& setting :
       {"plugins.dirs=" + OwnPlugins() + "," + dir_ + "/plugins",
        std::string("serve.grpc_listen=127.0.0.1:0"), "admin.socket=" + dir_ + "/admin.sock",
        std::string("tls.secure=false"), std::string("log.format=json"),
        std::string("serve.workers=2"), "config.state_dir=" + dir_ + "/state"}) {
    out.insert(out.end(), {"--set", setting});
  }
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

namespace {
const std::vector<std::string> kServeFlags = {"--grpc-port",    "0", "--grpc-health-port", "0",
                                              "--metrics-port", "0", "--drain-timeout",    "0s"};
}  // namespace

void SafetyRig::Serve(const std::vector<std::string>& more) {
  std::vector<std::string> command = Command("serve", kServeFlags);
  command.insert(command.end(), {"--endpoints-file", dir_ + "/endpoints.yaml", "--config-file",
                                 dir_ + "/config.yaml"});
  command.insert(command.end(), more.begin(), more.end());
  serve_ = std::make_unique<Child>(command);
  const std::string ready = serve_->WaitForLine("\"msg\":\"ready\"");
  ASSERT_FALSE(ready.empty()) << serve_->output();
  const std::string grpc = nlohmann::json::parse(ready)["grpc"];
  port_ = std::stoi(grpc.substr(grpc.rfind(':') + 1));
}

Result SafetyRig::ServeToEnd(const std::vector<std::string>& more) const {
  std::vector<std::string> command = Command("serve", kServeFlags);
  command.insert(command.end(), {"--endpoints-file", dir_ + "/endpoints.yaml", "--config-file",
                                 dir_ + "/config.yaml"});
  command.insert(command.end(), more.begin(), more.end());
  return RunToEnd(command);
}

Result SafetyRig::Ask(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), EPP_BINARY);
  arguments.insert(arguments.end(), {"--admin", "unix:" + dir_ + "/admin.sock"});
  return RunToEnd(arguments);
}

bool SafetyRig::StatusSays(const std::string& text) const {
  const auto until = std::chrono::steady_clock::now() + kDeadline;
  do {
    if (Ask({"status", "--json"}).out.find(text) != std::string::npos) return true;
  } while (std::chrono::steady_clock::now() < until);
  return false;
}

std::string SafetyRig::Decide(const std::string& flaw, int deadline_s) const {
  const auto channel =
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port_), grpc::InsecureChannelCredentials());
  const auto stub = pb::ExternalProcessor::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(deadline_s));
  auto stream = stub->Process(&context);
  pb::ProcessingRequest headers;
  for (const auto& [name, value] : {std::pair<std::string, std::string>{":method", "POST"},
                                    {":path", "/v1/completions"},
                                    {"flaw", flaw}}) {
    auto* header = headers.mutable_request_headers()->mutable_headers()->add_headers();
    header->set_key(name);
    header->set_raw_value(value);
  }
  pb::ProcessingRequest body;
  body.mutable_request_body()->set_body(R"({"model":"demo","prompt":"hello"})");
  body.mutable_request_body()->set_end_of_stream(true);
  std::string destination;
  if (stream->Write(headers) && stream->Write(body)) {
    pb::ProcessingResponse response;
    while (destination.empty() && stream->Read(&response)) {
      const auto& mutation = response.request_headers().response().header_mutation();
      for (const auto& option : mutation.set_headers()) {
        if (option.header().key() == "x-gateway-destination-endpoint") {
          destination = option.header().raw_value();
        }
      }
      if (response.has_immediate_response()) break;
    }
    stream->WritesDone();
    while (stream->Read(&response)) {
    }
  }
  (void)stream->Finish();
  return destination;
}

}  // namespace epp::testing
