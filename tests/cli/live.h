// A serving epp with two simulated model servers, for tests that ask it from outside.
#pragma once

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "host/extproc/ext_proc.grpc.pb.h"
#include "nlohmann/json.hpp"
#include "tests/cli/child.h"

namespace epp::testing {

// "127.0.0.1:36823" of "... http://127.0.0.1:36823 ...".
inline std::string PortOfSim(const std::string& line) {
  const size_t colon = line.rfind(':', line.find(" model"));
  return line.substr(colon + 1, line.find(' ', colon) - colon - 1);
}

inline int PortOf(const std::string& listen) {
  return std::stoi(listen.substr(listen.rfind(':') + 1));
}

class LiveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/epp_cli_XXXXXX";
    dir_ = mkdtemp(name);
    std::string file = "endpoints:\n";
    for (int i = 0; i < 2; ++i) {
      sims_.push_back(
          std::make_unique<Child>(std::vector<std::string>{EPP_SIM_BINARY, "--port", "0"}));
      const std::string line = sims_.back()->WaitForLine("listening on");
      ASSERT_FALSE(line.empty()) << sims_.back()->output();
      file += "- {name: vllm-" + std::to_string(i) +
              ", address: 127.0.0.1, port: " + PortOfSim(line) + "}\n";
    }
    std::ofstream(dir_ + "/endpoints.yaml") << file;
    admin_ = "unix:" + dir_ + "/admin.sock";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::vector<std::string> ServeCommand(const std::string& grpc_port = "0") const {
    return {EPP_BINARY,
            "serve",
            "--endpoints-file",
            dir_ + "/endpoints.yaml",
            "--grpc-port",
            grpc_port,
            "--grpc-health-port",
            "0",
            "--metrics-port",
            "0",
            "--set",
            "serve.grpc_listen=127.0.0.1:" + grpc_port,
            "--set",
            "admin.socket=" + dir_ + "/admin.sock",
            "--set",
            "tls.secure=false",
            "--set",
            "log.format=json",
            "--set",
            "serve.workers=1",
            "--drain-timeout",
            "0s"};
  }

  void Serve(const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = ServeCommand();
    command.insert(command.end(), more.begin(), more.end());
    serve_ = std::make_unique<Child>(command);
    const std::string ready = serve_->WaitForLine("\"msg\":\"ready\"");
    ASSERT_FALSE(ready.empty()) << serve_->output();
    const auto line = nlohmann::json::parse(ready);
    grpc_port_ = PortOf(line["grpc"]);
    metrics_port_ = PortOf(line["metrics"]);
  }

  Result Ask(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), EPP_BINARY);
    arguments.insert(arguments.end(), {"--admin", admin_});
    return RunToEnd(arguments);
  }

  // Until both simulated servers were scraped.
  void WaitUntilFresh() {
    const auto until = std::chrono::steady_clock::now() + kDeadline;
    while (std::chrono::steady_clock::now() < until) {
      const Result result = Ask({"status", "--json"});
      const auto status = nlohmann::json::parse(result.out, nullptr, false);
      if (status.is_object() && status["pool"]["endpoints"]["fresh"] == 2) return;
    }
    FAIL() << "the endpoints never became fresh: " << Ask({"status"}).out;
  }

  // One request through ext-proc; the destination that epp chose.
  std::string Decide(const std::string& request_id) const {
    const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(grpc_port_),
                                             grpc::InsecureChannelCredentials());
    namespace pb = envoy::service::ext_proc::v3;
    const auto stub = pb::ExternalProcessor::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kDeadline);
    auto stream = stub->Process(&context);
    pb::ProcessingRequest headers;
    const auto add = [&](const char* name, const std::string& value) {
      auto* header = headers.mutable_request_headers()->mutable_headers()->add_headers();
      header->set_key(name);
      header->set_raw_value(value);
    };
    add(":method", "POST");
    add(":path", "/v1/completions");
    add("x-request-id", request_id);
    pb::ProcessingRequest body;
    body.mutable_request_body()->set_body(R"({"model":"demo","prompt":"hello"})");
    body.mutable_request_body()->set_end_of_stream(true);
    if (!stream->Write(headers) || !stream->Write(body)) return "";
    pb::ProcessingResponse response;
    std::string destination;
    while (destination.empty() && stream->Read(&response)) {
      for (const auto& option :
           response.request_headers().response().header_mutation().set_headers()) {
        if (option.header().key() == "x-gateway-destination-endpoint") {
          destination = option.header().raw_value();
        }
      }
    }
    stream->WritesDone();
    while (stream->Read(&response)) {
    }
    (void)stream->Finish();
    return destination;
  }

  std::string dir_;
  std::string admin_;
  std::vector<std::unique_ptr<Child>> sims_;
  std::unique_ptr<Child> serve_;
  int grpc_port_ = 0;
  int metrics_port_ = 0;
};

// As an operator replaces a mounted file: in one step.
inline void Replace(const std::string& path, const std::string& text) {
  std::ofstream(path + ".new") << text;
  std::filesystem::rename(path + ".new", path);
}

inline std::string ConfigWithQueueWeight(const std::string& weight) {
  return "apiVersion: llm-d.ai/v1alpha1\n"
         "kind: EndpointPickerConfig\n"
         "plugins:\n"
         "- {type: queue-scorer}\n"
         "- {type: kv-cache-utilization-scorer}\n"
         "schedulingProfiles:\n"
         "- name: default\n"
         "  plugins:\n"
         "  - {pluginRef: queue-scorer, weight: " +
         weight +
         "}\n"
         "  - {pluginRef: kv-cache-utilization-scorer, weight: 1}\n";
}

}  // namespace epp::testing
