#include "host/pool/endpoints_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace epp::pool {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Parsed {
  std::optional<EndpointsFile> file;
  config::Diagnostics diagnostics;
};

Parsed Parse(std::string text, bool metrics_labels = false) {
  auto source = std::make_shared<config::SourceText>();
  source->name = "endpoints.yaml";
  source->text = std::move(text);
  Parsed parsed;
  parsed.file = ParseEndpointsFile(source, metrics_labels, parsed.diagnostics);
  return parsed;
}

// "ns/name=address:port#rank" of all endpoints.
std::vector<std::string> Shown(const EndpointsFile& file) {
  std::vector<std::string> out;
  for (const auto& entry : file.entries) {
    for (const auto& e : entry.endpoints) {
      out.push_back(
          absl::StrCat(e.name_space, "/", e.name, "=", e.address, " ", e.port, " #", e.rank));
    }
  }
  return out;
}

// "line:column CODE" of all diagnostics.
std::vector<std::string> Places(const config::Diagnostics& diagnostics) {
  std::vector<std::string> out;
  for (const auto& d : diagnostics.all()) {
    out.push_back(absl::StrCat(d.severity == config::Severity::kError ? "E " : "W ", d.mark.line,
                               ":", d.mark.column, " ", d.code));
  }
  return out;
}

TEST(EndpointsFile, AmongDocumentsOfOtherKinds) {
  const Parsed p = Parse(R"(---
kind: InferenceObjective
metadata: {name: a}
---
endpoints:
  - {name: v4, address: 10.0.0.5, port: 8000}
  - {name: bad, address: 10.0.0.5, port: x}
---
kind: InferenceObjective
spec: [
---
)");
  ASSERT_TRUE(p.file.has_value()) << p.diagnostics.Render();
  EXPECT_THAT(Shown(*p.file), ElementsAre("default/v4=10.0.0.5 8000 #0"));
  EXPECT_THAT(Places(p.diagnostics), ElementsAre("E 7:42 EPP-POOL-PORT"));
}

TEST(EndpointsFile, OfTwoDocumentsTheFirstCounts) {
  const Parsed p = Parse("endpoints: []\n---\nendpoints: [{}]\n");
  ASSERT_TRUE(p.file.has_value());
  EXPECT_THAT(Places(p.diagnostics), ElementsAre("W 3:1 EPP-POOL-DUPLICATE"));
}

TEST(EndpointsFile, OnlyOtherKindsAreNotEndpoints) {
  const Parsed p = Parse("kind: A\n---\nkind: B\n");
  EXPECT_FALSE(p.file.has_value());
}

TEST(EndpointsFile, EveryKindOfEntry) {
  const Parsed p = Parse(R"(
endpoints:
  - {name: v4, address: 10.0.0.5, port: "8000", labels: {llm-d.ai/role: decode, n: 1, e: }}
  - name: v6
    namespace: prod
    address: fd00::1
    port: 8000
  - name: host
    address: gpu-1.example.com
    ports: [8000, "8001"]
)");
  ASSERT_TRUE(p.file);
  EXPECT_THAT(Places(p.diagnostics), IsEmpty());
  EXPECT_THAT(Shown(*p.file), ElementsAre("default/v4=10.0.0.5 8000 #0", "prod/v6=fd00::1 8000 #0",
                                          "default/host-rank-0=gpu-1.example.com 8000 #0",
                                          "default/host-rank-1=gpu-1.example.com 8001 #1"));
  using Label = std::pair<std::string, std::string>;
  EXPECT_THAT(p.file->entries[0].endpoints[0].labels,
              ElementsAre(Label("llm-d.ai/role", "decode"), Label("n", "1"), Label("e", "")));
}

TEST(EndpointsFile, JsonIsYaml) {
  const Parsed p = Parse(
      R"({"endpoints": [{"name": "a", "address": "10.0.0.1", "port": "80", "labels": {"x": "y"}}]})");
  ASSERT_TRUE(p.file);
  EXPECT_TRUE(p.diagnostics.ok());
  EXPECT_THAT(Shown(*p.file), ElementsAre("default/a=10.0.0.1 80 #0"));
}

TEST(EndpointsFile, AnEmptyListIsValid) {
  for (const char* text : {"endpoints: []", "endpoints:", "{\"endpoints\": []}"}) {
    const Parsed p = Parse(text);
    ASSERT_TRUE(p.file) << text;
    EXPECT_TRUE(p.diagnostics.ok());
    EXPECT_THAT(p.file->entries, IsEmpty());
  }
}

TEST(EndpointsFile, TheLastOfEqualNamesCounts) {
  const Parsed p = Parse(R"(endpoints:
  - {name: a, address: 10.0.0.1, port: 1}
  - {name: b-rank-1, address: 10.0.0.2, port: 2}
  - {name: a, namespace: other, address: 10.0.0.3, port: 3}
  - {name: a, address: 10.0.0.4, port: 4}
  - {name: b, address: 10.0.0.5, ports: [5, 6]}
)");
  ASSERT_TRUE(p.file);
  EXPECT_THAT(Shown(*p.file),
              ElementsAre("other/a=10.0.0.3 3 #0", "default/a=10.0.0.4 4 #0",
                          "default/b-rank-0=10.0.0.5 5 #0", "default/b-rank-1=10.0.0.5 6 #1"));
  EXPECT_THAT(Places(p.diagnostics), testing::UnorderedElementsAre("W 2:12 EPP-POOL-DUPLICATE",
                                                                   "W 3:12 EPP-POOL-DUPLICATE"));
}

TEST(EndpointsFile, UnknownKeysAreWarnings) {
  const Parsed p = Parse(R"(version: 1
endpoints:
  - {name: a, adress: x, address: 10.0.0.1, port: 1, weight: 3}
)");
  ASSERT_TRUE(p.file);
  EXPECT_TRUE(p.diagnostics.ok());
  EXPECT_THAT(Shown(*p.file), ElementsAre("default/a=10.0.0.1 1 #0"));
  EXPECT_THAT(Places(p.diagnostics),
              ElementsAre("W 1:1 EPP-POOL-UNKNOWN-KEY", "W 3:15 EPP-POOL-UNKNOWN-KEY",
                          "W 3:54 EPP-POOL-UNKNOWN-KEY"));
  EXPECT_EQ(p.diagnostics.all()[1].caret, "did you mean \"address\"?");
}

struct BadEntry {
  const char* name;
  const char* entry;
  const char* place;
  const char* message;
  const char* refused = "bad";
};

void PrintTo(const BadEntry& c, std::ostream* os) { *os << c.name; }

class BadEntryTest : public testing::TestWithParam<BadEntry> {};

TEST_P(BadEntryTest, IsRefusedAndTheOthersStay) {
  const BadEntry& c = GetParam();
  const Parsed p = Parse(absl::StrCat("endpoints:\n- {name: ok, address: 10.0.0.1, port: 1}\n- ",
                                      c.entry, "\n- {name: ok2, address: 10.0.0.2, port: 2}\n"),
                         true);
  ASSERT_TRUE(p.file);
  EXPECT_THAT(Shown(*p.file), ElementsAre("default/ok=10.0.0.1 1 #0", "default/ok2=10.0.0.2 2 #0"));
  ASSERT_EQ(p.file->refused.size(), 1u);
  EXPECT_EQ(p.file->refused[0].name, c.refused);
  ASSERT_FALSE(p.diagnostics.ok());
  EXPECT_THAT(Places(p.diagnostics), ElementsAre(absl::StrCat("E ", c.place)));
  EXPECT_THAT(p.diagnostics.all()[0].message, HasSubstr(c.message));
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadEntryTest,
    testing::Values(
        BadEntry{"NotAMapping", "42", "3:3 EPP-POOL-TYPE", "endpoints[1] is a scalar", ""},
        BadEntry{"NoName", "{address: 10.0.0.1, port: 1}", "3:3 EPP-POOL-MISSING",
                 "endpoints[1]: \"name\" is missing", ""},
        BadEntry{"NullName", "{name: , address: 10.0.0.1, port: 1}", "3:3 EPP-POOL-MISSING",
                 "\"name\" is missing", ""},
        BadEntry{"NameWithSlash", "{name: a/b, address: 10.0.0.1, port: 1}", "3:10 EPP-POOL-NAME",
                 "name is \"a/b\"", ""},
        BadEntry{"NamespaceIsAList", "{name: bad, namespace: [], address: 10.0.0.1, port: 1}",
                 "3:26 EPP-POOL-TYPE", "\"namespace\" is a list", ""},
        BadEntry{"NoAddress", "{name: bad, port: 1}", "3:3 EPP-POOL-MISSING",
                 "endpoint \"bad\": \"address\" is missing"},
        BadEntry{"AddressWithPort", "{name: bad, address: '10.0.0.1:80', port: 1}",
                 "3:24 EPP-POOL-ADDRESS", "address is \"10.0.0.1:80\""},
        BadEntry{"AddressInBrackets", "{name: bad, address: '[fd00::1]', port: 1}",
                 "3:24 EPP-POOL-ADDRESS", "address is \"[fd00::1]\""},
        BadEntry{"MistypedIpv4", "{name: bad, address: 10.0.0.256, port: 1}",
                 "3:24 EPP-POOL-ADDRESS", "address is \"10.0.0.256\""},
        BadEntry{"AddressIsAMapping", "{name: bad, address: {}, port: 1}", "3:24 EPP-POOL-TYPE",
                 "\"address\" is a mapping, want text"},
        BadEntry{"NoPort", "{name: bad, address: h}", "3:3 EPP-POOL-MISSING",
                 "\"port\" is missing"},
        BadEntry{"PortZero", "{name: bad, address: h, port: 0}", "3:33 EPP-POOL-PORT",
                 "port is \"0\", want a number in 1..65535"},
        BadEntry{"PortTooLarge", "{name: bad, address: h, port: '65536'}", "3:33 EPP-POOL-PORT",
                 "port is \"65536\""},
        BadEntry{"PortIsText", "{name: bad, address: h, port: http}", "3:33 EPP-POOL-PORT",
                 "port is \"http\""},
        BadEntry{"PortAndPorts", "{name: bad, address: h, port: 1, ports: [2]}",
                 "3:43 EPP-POOL-PORT", "both \"port\" and \"ports\""},
        BadEntry{"NoPorts", "{name: bad, address: h, ports: []}", "3:34 EPP-POOL-TYPE",
                 "want a list of 1 to 64 ports"},
        BadEntry{"PortTwice", "{name: bad, address: h, ports: [2, 2]}", "3:38 EPP-POOL-PORT",
                 "port 2 twice"},
        BadEntry{"LabelIsAList", "{name: bad, address: h, port: 1, labels: {a: []}}",
                 "3:45 EPP-POOL-TYPE", "a label is a scalar: a list"},
        BadEntry{"LabelsAreAList", "{name: bad, address: h, port: 1, labels: [a]}",
                 "3:44 EPP-POOL-TYPE", "labels is a list"},
        BadEntry{"MetricsPort", "{name: bad, address: h, port: 1, labels: {metricsPort: x}}",
                 "3:58 EPP-POOL-PORT", "label metricsPort is \"x\""},
        BadEntry{"MetricsAddress", "{name: bad, address: h, port: 1, labels: {metricsAddress: -}}",
                 "3:61 EPP-POOL-ADDRESS", "label metricsAddress is \"-\""}),
    [](const auto& info) { return info.param.name; });

TEST(EndpointsFile, AllErrorsAreReported) {
  const Parsed p = Parse("endpoints:\n- {name: a, address: '', port: 0}\n- {name: b}\n");
  ASSERT_TRUE(p.file);
  EXPECT_EQ(p.diagnostics.errors(), 4u);
}

TEST(EndpointsFile, UnusableAsAWhole) {
  const std::string deep(100'000, '[');
  const std::string large(kMaxEndpointsFileBytes + 1, ' ');
  for (const std::string& text :
       {std::string("endpoints: {"), std::string("[]"), std::string(""), std::string("42"),
        std::string("endpoints: 5"), std::string("endpoint: []"), std::string("endpoints: [*x]"),
        std::string("\xff\xfe\x00", 3), deep, large}) {
    const Parsed p = Parse(text);
    EXPECT_FALSE(p.file) << text.substr(0, 20);
    EXPECT_FALSE(p.diagnostics.ok()) << text.substr(0, 20);
  }
}

TEST(EndpointsFile, SyntaxErrorsHaveAPlace) {
  const Parsed p = Parse("endpoints:\n  - name: a\n    port: [1\n");
  ASSERT_EQ(p.diagnostics.errors(), 1u);
  EXPECT_GE(p.diagnostics.all()[0].mark.line, 3u);
}

}  // namespace
}  // namespace epp::pool
