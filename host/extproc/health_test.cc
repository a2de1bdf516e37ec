#include "host/extproc/health.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/extproc/health.grpc.pb.h"

namespace epp::extproc {
namespace {

struct FakeState final : HealthState {
  bool Live() const override { return live; }
  bool ProtocolOk() const override { return protocol; }
  bool PluginsReady() const override { return plugins; }
  bool Draining() const override { return draining; }
  bool Leader() const override { return leader; }

  bool live = true;
  bool protocol = true;
  bool plugins = true;
  bool draining = false;
  bool leader = true;
};

constexpr auto kServing = HealthStatus::kServing;
constexpr auto kNot = HealthStatus::kNotServing;
constexpr auto kUnknownName = HealthStatus::kServiceUnknown;

struct Case {
  const char* name;
  bool election;
  void (*change)(FakeState&);
  HealthStatus readiness;  // also "" and the ext-proc service
  HealthStatus liveness;
  HealthStatus other;
};

TEST(HealthTest, C113_To_C117_Check) {
  const Case cases[] = {
      {"all well", false, [](FakeState&) {}, kServing, kServing, kServing},
      {"C113 not live", false, [](FakeState& s) { s.live = false; }, kNot, kNot, kNot},
      {"C113 C117 protocol", false, [](FakeState& s) { s.protocol = false; }, kNot, kNot, kNot},
      {"C114 plugins", false, [](FakeState& s) { s.plugins = false; }, kNot, kServing, kServing},
      {"C116 draining", false, [](FakeState& s) { s.draining = true; }, kNot, kNot, kNot},
      {"no election, no leader", false, [](FakeState& s) { s.leader = false; }, kServing, kServing,
       kServing},
      {"election", true, [](FakeState&) {}, kServing, kServing, kUnknownName},
      {"C115 not leader", true, [](FakeState& s) { s.leader = false; }, kNot, kServing,
       kUnknownName},
      {"election, not live", true, [](FakeState& s) { s.live = false; }, kNot, kServing,
       kUnknownName},
      {"election, plugins", true, [](FakeState& s) { s.plugins = false; }, kNot, kServing,
       kUnknownName},
      {"election, protocol", true, [](FakeState& s) { s.protocol = false; }, kNot, kServing,
       kUnknownName},
      {"C116 election, draining", true, [](FakeState& s) { s.draining = true; }, kNot, kServing,
       kUnknownName},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    FakeState state;
    c.change(state);
    EXPECT_EQ(EvaluateHealth(state, c.election, "readiness"), c.readiness);
    EXPECT_EQ(EvaluateHealth(state, c.election, ""), c.readiness);
    EXPECT_EQ(EvaluateHealth(state, c.election, kExtProcService), c.readiness);
    EXPECT_EQ(EvaluateHealth(state, c.election, "liveness"), c.liveness);
    EXPECT_EQ(EvaluateHealth(state, c.election, "inference-extension"), c.other);
  }
}

TEST(HealthTest, ServedOverGrpc) {
  FakeState state;
  for (const bool election : {false, true}) {
    auto server = HealthServer::Start({"127.0.0.1", 0, election}, state);
    ASSERT_TRUE(server.ok()) << server.status();
    const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string((*server)->port()),
                                             grpc::InsecureChannelCredentials());
    const auto stub = grpc::health::v1::Health::NewStub(channel);
    {
      grpc::health::v1::HealthCheckRequest request;
      request.set_service("unknown");
      grpc::health::v1::HealthCheckResponse response;
      grpc::ClientContext context;
      ASSERT_TRUE(stub->Check(&context, request, &response).ok());
      EXPECT_EQ(response.status(), election ? grpc::health::v1::HealthCheckResponse::SERVICE_UNKNOWN
                                            : grpc::health::v1::HealthCheckResponse::SERVING);
    }
    {
      grpc::health::v1::HealthListResponse list;
      grpc::ClientContext context;
      ASSERT_TRUE(stub->List(&context, {}, &list).ok());
      EXPECT_EQ(list.statuses_size(), election ? 3 : 1);
      EXPECT_EQ(list.statuses().count(std::string(kExtProcService)), 1U);
    }
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckResponse response;
    const auto watch = stub->Watch(&context, {});
    EXPECT_FALSE(watch->Read(&response));
    EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  }
}

TEST(HealthTest, PortInUse) {
  FakeState state;
  const auto first = HealthServer::Start({"127.0.0.1", 0, false}, state);
  ASSERT_TRUE(first.ok());
  const auto second = HealthServer::Start({"127.0.0.1", (*first)->port(), false}, state);
  EXPECT_THAT(std::string(second.status().message()),
              testing::HasSubstr("port is in use by process"));
}

}  // namespace
}  // namespace epp::extproc
