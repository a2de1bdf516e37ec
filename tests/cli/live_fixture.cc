#include "tests/cli/live_fixture.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "grpcpp/grpcpp.h"
#include "host/extproc/ext_proc.grpc.pb.h"
#include "host/http/client.h"
#include "nlohmann/json.hpp"

namespace epp::testing {
namespace {

namespace pb = envoy::service::ext_proc::v3;

// "127.0.0.1:36823" of "... http://127.0.0.1:36823 ...".
std::string PortOfSim(const std::string& line) {
  const size_t colon = line.rfind(':', line.find(" model"));
  return line.substr(colon + 1, line.find(' ', colon) - colon - 1);
}

int PortOf(const std::string& listen) { return std::stoi(listen.substr(listen.rfind(':') + 1)); }

}  // namespace

void LiveTest::SetUp() {
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

void LiveTest::TearDown() { std::filesystem::remove_all(dir_); }

std::vector<std::string> LiveTest::ServeCommand(const std::string& grpc_port) const {
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
          "config.state_dir=" + dir_ + "/state",
          "--set",
          "tls.secure=false",
          "--set",
          "log.format=json",
          "--set",
          "serve.workers=1",
          "--drain-timeout",
          "0s"};
}

void LiveTest::Serve(const std::vector<std::string>& more) {
  std::vector<std::string> command = ServeCommand();
  command.insert(command.end(), more.begin(), more.end());
  serve_ = std::make_unique<Child>(command);
  const std::string ready = serve_->WaitForLine("\"msg\":\"ready\"");
  ASSERT_FALSE(ready.empty()) << serve_->output();
  const auto line = nlohmann::json::parse(ready);
  grpc_port_ = PortOf(line["grpc"]);
  metrics_port_ = PortOf(line["metrics"]);
}

Result LiveTest::Ask(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), EPP_BINARY);
  arguments.insert(arguments.end(), {"--admin", admin_});
  return RunToEnd(arguments);
}

void LiveTest::WaitUntilFresh() {
  const auto until = std::chrono::steady_clock::now() + kDeadline;
  while (std::chrono::steady_clock::now() < until) {
    const Result result = Ask({"status", "--json"});
    const auto status = nlohmann::json::parse(result.out, nullptr, false);
    if (status.is_object() && status["pool"]["endpoints"]["fresh"] == 2) return;
  }
  FAIL() << "the endpoints never became fresh: " << Ask({"status"}).out;
}

struct OpenRequest::Impl {
  std::unique_ptr<pb::ExternalProcessor::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<pb::ProcessingRequest, pb::ProcessingResponse>> stream;
};

OpenRequest::OpenRequest(int grpc_port, const std::string& request_id,
                         const std::map<std::string, std::string>& more)
    : impl_(std::make_unique<Impl>()) {
  const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(grpc_port),
                                           grpc::InsecureChannelCredentials());
  impl_->stub = pb::ExternalProcessor::NewStub(channel);
  // It outlasts what a test waits for meanwhile.
  impl_->context.set_deadline(std::chrono::system_clock::now() + 4 * kDeadline);
  impl_->stream = impl_->stub->Process(&impl_->context);
  pb::ProcessingRequest headers;
  const auto add = [&](const std::string& name, const std::string& value) {
    auto* header = headers.mutable_request_headers()->mutable_headers()->add_headers();
    header->set_key(name);
    header->set_raw_value(value);
  };
  add(":method", "POST");
  add(":path", "/v1/completions");
  add("x-request-id", request_id);
  for (const auto& [name, value] : more) add(name, value);
  pb::ProcessingRequest body;
  body.mutable_request_body()->set_body(R"({"model":"demo","prompt":"hello"})");
  body.mutable_request_body()->set_end_of_stream(true);
  if (!impl_->stream->Write(headers) || !impl_->stream->Write(body)) return;
  pb::ProcessingResponse response;
  while (destination().empty() && impl_->stream->Read(&response)) {
    for (const auto& option :
         response.request_headers().response().header_mutation().set_headers()) {
      headers_[option.header().key()] = option.header().raw_value();
    }
  }
}

OpenRequest::~OpenRequest() { impl_->context.TryCancel(); }

std::string OpenRequest::header(const std::string& name) const {
  const auto it = headers_.find(name);
  return it == headers_.end() ? "" : it->second;
}

void OpenRequest::End() {
  impl_->stream->WritesDone();
  pb::ProcessingResponse response;
  while (impl_->stream->Read(&response)) {
  }
  (void)impl_->stream->Finish();
}

std::string LiveTest::Header(const std::string& name,
                             const std::map<std::string, std::string>& more) const {
  OpenRequest request(grpc_port_, "", more);
  request.End();
  return request.header(name);
}

std::string LiveTest::Decide(const std::string& request_id) const {
  OpenRequest request(grpc_port_, request_id);
  request.End();
  return request.destination();
}

double LiveTest::Metric(const std::string& series) const {
  const auto page = http::Call({.host = "127.0.0.1", .port = static_cast<uint16_t>(metrics_port_)},
                               {.path = "/metrics"});
  if (!page.ok()) return -1;
  const size_t at = page->body.find("\n" + series + " ");
  if (at == std::string::npos) return -1;
  return std::strtod(page->body.c_str() + at + series.size() + 2, nullptr);
}

void Replace(const std::string& path, const std::string& text) {
  std::ofstream(path + ".new") << text;
  std::filesystem::rename(path + ".new", path);
}

}  // namespace epp::testing
