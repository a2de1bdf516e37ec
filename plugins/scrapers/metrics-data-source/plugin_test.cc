#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::View;
using testing::HasSubstr;

TEST(MetricsDataSource, Defaults) {
  auto source = epp::test::Make("metrics-data-source", {});
  const auto plan = source.Plan();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->flags, 0u);
  EXPECT_EQ(View(plan->path), "/metrics");
  EXPECT_EQ(plan->port, 0u);
  EXPECT_EQ(plan->interval_ns, 0u);
  EXPECT_EQ(View(plan->payload), "prometheus-text");
  EXPECT_EQ(View(plan->ca_file), "");
}

TEST(MetricsDataSource, EverythingSet) {
  auto source = epp::test::Make("metrics-data-source", {{"scheme", "https"},
                                                        {"path", "/m?x=1"},
                                                        {"port", 9100},
                                                        {"insecureSkipVerify", false},
                                                        {"caCertPath", "/ca"},
                                                        {"clientCertPath", "/cert"},
                                                        {"clientKeyPath", "/key"},
                                                        {"interval", "250ms"}});
  ASSERT_TRUE(source.ok()) << source.error();
  const auto plan = source.Plan();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->flags, EPP_SOURCE_TLS);
  EXPECT_EQ(View(plan->path), "/m?x=1");
  EXPECT_EQ(plan->port, 9100u);
  EXPECT_EQ(plan->interval_ns, 250'000'000u);
  EXPECT_EQ(View(plan->ca_file), "/ca");
  EXPECT_EQ(View(plan->cert_file), "/cert");
  EXPECT_EQ(View(plan->key_file), "/key");
}

TEST(MetricsDataSource, HttpsVerifiesOnlyWhenTold) {
  auto source =
      epp::test::Make("metrics-data-source", {{"scheme", "https"}, {"caCertPath", "/ca"}});
  EXPECT_EQ(source.Plan()->flags, EPP_SOURCE_TLS | EPP_SOURCE_TLS_INSECURE);
  ASSERT_EQ(source.host().logs().size(), 1u);
  EXPECT_THAT(source.host().logs()[0].text, HasSubstr("caCertPath has no effect"));
}

TEST(MetricsDataSource, Errors) {
  auto no_slash = epp::test::Make("metrics-data-source", {{"path", "metrics"}});
  EXPECT_THAT(no_slash.error(), HasSubstr("path is \"metrics\""));
  auto injected = epp::test::Make("metrics-data-source", {{"path", "/a HTTP/1.1\r\nX: y"}});
  EXPECT_FALSE(injected.ok());
  auto half = epp::test::Make("metrics-data-source", {{"clientCertPath", "/cert"}});
  EXPECT_THAT(half.error(), HasSubstr("needed together"));
}

}  // namespace
