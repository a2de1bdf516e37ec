#include "host/request/header_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace epp::request {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class HeaderMapTest : public testing::Test {
 protected:
  void Receive(std::vector<Header> headers) { map_.Assign(headers); }
  std::vector<std::string> Set(bool echo_all = false) {
    HeaderMutation mutation;
    map_.AppendChanges(echo_all, &mutation);
    std::vector<std::string> out;
    for (const HeaderSet& h : mutation.set) out.push_back(h.name + "=" + h.value);
    removed_ = mutation.remove;
    return out;
  }

  BlockCache blocks_;
  Arena arena_{&blocks_};
  HeaderMap map_{&arena_};
  std::vector<std::string> removed_;
};

TEST_F(HeaderMapTest, C001_NamesAreLowerCased) {
  Receive({{"X-Test", "val"}});
  EXPECT_EQ(map_.Find("x-test"), "val");
}

TEST_F(HeaderMapTest, C003_CanonicalNameWinsOverAlias) {
  Receive({{"x-gateway-inference-objective", "old"}, {"x-llm-d-inference-objective", "new"}});
  EXPECT_EQ(map_.Find("x-llm-d-inference-objective", "x-gateway-inference-objective"), "new");
}

TEST_F(HeaderMapTest, CanonicalNameWinsEvenWhenEmpty) {
  Receive({{"x-llm-d-inference-objective", ""}, {"x-gateway-inference-objective", "old"}});
  EXPECT_EQ(map_.Find("x-llm-d-inference-objective", "x-gateway-inference-objective"), "");
}

TEST_F(HeaderMapTest, C005_AliasIsUsedWhenAlone) {
  Receive({{"x-gateway-inference-objective", "old"}});
  EXPECT_EQ(map_.Find("x-llm-d-inference-objective", "x-gateway-inference-objective"), "old");
}

TEST_F(HeaderMapTest, LastOfARepeatedNameWins) {
  Receive({{"a", "1"}, {"A", "2"}, {"b", "3"}, {"a", "4"}});
  EXPECT_EQ(map_.Find("a"), "4");
  EXPECT_EQ(map_.view().size(), 2u);
}

TEST_F(HeaderMapTest, ManyHeadersAreDeduplicatedToo) {
  std::vector<std::string> names;
  for (int i = 0; i < 500; ++i) names.push_back("h" + std::to_string(i % 250));
  std::vector<Header> headers;
  for (size_t i = 0; i < names.size(); ++i) headers.push_back({names[i], names[499 - i]});
  Receive(headers);
  EXPECT_EQ(map_.view().size(), 250u);
  EXPECT_EQ(map_.Find("h3"), names[499 - 253]);
}

TEST(SystemOwnedTest, C006_ListIncludesAliases) {
  for (const char* name :
       {"x-llm-d-inference-objective", "x-gateway-inference-objective",
        "x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id",
        "x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite", "x-llm-d-slo-ttft-ms",
        "x-slo-ttft-ms", "x-llm-d-slo-tpot-ms", "x-slo-tpot-ms", "x-llm-d-video-fps",
        "x-llm-d-video-duration-seconds", "x-llm-d-video-resolution",
        "x-gateway-destination-endpoint-subset", "x-gateway-destination-endpoint",
        "x-gateway-destination-endpoint-served", "x-llm-d-request-dropped-reason",
        "content-length"}) {
    EXPECT_TRUE(IsSystemOwned(name)) << name;
  }
  EXPECT_FALSE(IsSystemOwned("x-user-data"));
}

TEST_F(HeaderMapTest, NothingChangedMeansNothingToSay) {
  Receive({{"cookie", "a"}, {"cookie", "b"}, {":path", "/v1/completions"}});
  EXPECT_THAT(Set(), IsEmpty());
}

TEST_F(HeaderMapTest, NewAndChangedEntriesAreTold) {
  Receive({{"a", "1"}, {"b", "2"}});
  map_.Set("b", "3");
  map_.Set("x-prefiller-host-port", "10.0.0.1:8000");
  EXPECT_THAT(Set(), ElementsAre("b=3", "x-prefiller-host-port=10.0.0.1:8000"));
}

TEST_F(HeaderMapTest, SettingTheSameValueIsNoChange) {
  Receive({{"a", "1"}});
  map_.Set("A", "1");
  EXPECT_THAT(Set(), IsEmpty());
}

TEST_F(HeaderMapTest, RemovedReceivedHeaderIsTold) {
  Receive({{"x-prefiller-host-port", "evil:1"}, {"b", "2"}});
  map_.Remove("X-Prefiller-Host-Port");
  EXPECT_THAT(Set(), IsEmpty());
  EXPECT_THAT(removed_, ElementsAre("x-prefiller-host-port"));
}

TEST_F(HeaderMapTest, RemovedThenSetIsAChangeOnly) {
  Receive({{"a", "1"}});
  map_.Remove("a");
  map_.Set("a", "2");
  EXPECT_THAT(Set(), ElementsAre("a=2"));
  EXPECT_THAT(removed_, IsEmpty());
}

TEST_F(HeaderMapTest, RemovingWhatAPluginSetIsNoRemoval) {
  Receive({{"a", "1"}});
  map_.Set("n", "1");
  map_.Remove("n");
  EXPECT_THAT(Set(), IsEmpty());
  EXPECT_THAT(removed_, IsEmpty());
}

TEST_F(HeaderMapTest, C009_EchoAllLeavesSystemOwnedOut) {
  Receive({{"x-llm-d-inference-objective", "o"},
           {"x-gateway-inference-objective", "o"},
           {"x-gateway-destination-endpoint", "fake"},
           {"Content-Length", "99999"},
           {"x-user", "u"}});
  EXPECT_THAT(Set(true), ElementsAre("x-user=u"));
}

TEST_F(HeaderMapTest, C137_HopByHopIsNeverEchoed) {
  Receive({{"transfer-encoding", "chunked"}, {"connection", "close"}, {"x-a", "1"}});
  EXPECT_THAT(Set(true), UnorderedElementsAre("x-a=1"));
}

TEST_F(HeaderMapTest, RemovedSetAndRemovedAgainIsRemoved) {
  Receive({{"x-a", "1"}});
  map_.Remove("x-a");
  map_.Set("x-a", "2");
  EXPECT_THAT(Set(), ElementsAre("x-a=2"));
  EXPECT_THAT(removed_, IsEmpty());
  map_.Remove("x-a");
  EXPECT_THAT(Set(), IsEmpty());
  EXPECT_THAT(removed_, ElementsAre("x-a"));
}

TEST_F(HeaderMapTest, WhatNoHeaderCanCarryIsLeftOut) {
  map_.Set("x-cr", "a\rb");
  map_.Set("x-lf", "a\nx-injected: b");
  map_.Set("x-nul", std::string_view("a\0b", 3));
  map_.Set("x-name\r\nx-injected", "b");
  map_.Set("", "b");
  map_.Set("x-tab", "a\tb");
  EXPECT_THAT(Set(), ElementsAre("x-tab=a\tb"));
}

}  // namespace
}  // namespace epp::request
