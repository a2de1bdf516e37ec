#include "host/pool/endpoints_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"
#include "host/base/hostport.h"
#include "host/base/strings.h"
#include "host/base/utf8.h"
#include "host/config/split_documents.h"

namespace epp::pool {
namespace {

constexpr std::string_view kSyntax = "EPP-POOL-SYNTAX";
constexpr std::string_view kType = "EPP-POOL-TYPE";
constexpr std::string_view kUnknownKey = "EPP-POOL-UNKNOWN-KEY";
constexpr std::string_view kMissing = "EPP-POOL-MISSING";
constexpr std::string_view kName = "EPP-POOL-NAME";
constexpr std::string_view kAddress = "EPP-POOL-ADDRESS";
constexpr std::string_view kPort = "EPP-POOL-PORT";
constexpr std::string_view kDuplicate = "EPP-POOL-DUPLICATE";

constexpr size_t kMaxNameBytes = 253;
constexpr size_t kMaxPorts = 64;
constexpr size_t kMaxLabels = 256;
constexpr size_t kMaxLabelBytes = 4096;

constexpr std::string_view kFileKeys[] = {"endpoints"};
constexpr std::string_view kEntryKeys[] = {"name", "namespace", "address",
                                           "port", "ports",     "labels"};

// What the user wrote, fit for a message.
std::string Shown(std::string_view text) { return MiddleEllipsis(utf8::Sanitise(text), 64); }

bool ValidName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && utf8::Valid(name) &&
         std::none_of(name.begin(), name.end(),
                      [](char c) { return c == '/' || (c >= 0 && c <= ' ') || c == 0x7F; });
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsAlnum(char c) { return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// A DNS name whose last label is not a number, so that a mistyped IPv4 address is not one.
bool ValidHostName(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  while (true) {
    const size_t dot = host.find('.');
    const std::string_view label = host.substr(0, dot);
    if (label.empty() || label.size() > 63 || !IsAlnum(label.front()) || !IsAlnum(label.back()) ||
        !std::all_of(label.begin(), label.end(), [](char c) { return IsAlnum(c) || c == '-'; })) {
      return false;
    }
    if (dot == std::string_view::npos) {
      return !std::all_of(label.begin(), label.end(), IsDigit);
    }
    host.remove_prefix(dot + 1);
  }
}

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

std::string_view KindOf(const YAML::Node& node) {
  if (node.IsScalar()) return "a scalar";
  if (node.IsSequence()) return "a list";
  return node.IsMap() ? "a mapping" : "nothing";
}

// A document of another kind, such as an InferenceObjective.
bool IsObject(const YAML::Node& node) {
  return node.IsMap() && node["kind"].IsDefined() && !node["endpoints"].IsDefined();
}
bool MayBeObject(std::string_view text) {
  return text.starts_with("kind:") || text.find("\nkind:") != std::string_view::npos;
}

class Reader {
 public:
  Reader(std::shared_ptr<const config::SourceText> source, bool check_metrics_labels,
         config::Diagnostics& out)
      : source_(std::move(source)), check_metrics_labels_(check_metrics_labels), out_(out) {}

  std::optional<EndpointsFile> Read() {
    const std::vector<config::DocumentPart> parts = config::SplitDocuments(source_->text);
    std::optional<YAML::Node> root;
    for (const config::DocumentPart& part : parts) {
      lines_before_ = part.lines_before;
      try {
        YAML::Node node = YAML::Load(std::string(part.text));
        if (parts.size() > 1 && (node.IsNull() || IsObject(node))) continue;
        if (root) {
          Warning(MarkOf(node), kDuplicate, "another document, ignored: the first one counts");
          continue;
        }
        root = std::move(node);
        root_lines_before_ = lines_before_;
      } catch (const YAML::Exception& e) {
        if (parts.size() > 1 && MayBeObject(part.text)) continue;  // who reads objects says it
        Error(MarkAt(e.mark, 0), kSyntax, absl::StrFormat("not readable as YAML: %s", e.msg));
        return std::nullopt;
      } catch (const std::exception& e) {
        Error({source_, 0, 0, 0}, kSyntax, absl::StrFormat("not readable as YAML: %s", e.what()));
        return std::nullopt;
      }
    }
    lines_before_ = root_lines_before_;
    try {
      return ReadRoot(root.value_or(YAML::Node()));
    } catch (const std::exception& e) {
      Error({source_, 0, 0, 0}, kSyntax, absl::StrFormat("not readable as YAML: %s", e.what()));
    }
    return std::nullopt;
  }

 private:
  config::Mark MarkAt(const YAML::Mark& mark, size_t length) const {
    if (mark.is_null()) return {source_, 0, 0, 0};
    return {source_, static_cast<uint32_t>(mark.line + 1) + lines_before_,
            static_cast<uint32_t>(mark.column + 1), static_cast<uint32_t>(length)};
  }
  config::Mark MarkOf(const YAML::Node& node) const {
    return MarkAt(node.Mark(), node.IsScalar() ? node.Scalar().size() : 0);
  }
  void Error(config::Mark mark, std::string_view code, std::string message, std::string caret = {},
             std::string hint = {}) {
    out_.Error(std::move(mark), std::string(code), std::move(message), std::move(caret),
               std::move(hint));
  }
  void Warning(config::Mark mark, std::string_view code, std::string message,
               std::string caret = {}) {
    out_.Warning(std::move(mark), std::string(code), std::move(message), std::move(caret));
  }

  // The known members of a mapping; the first of a repeated key. Others are warned of.
  std::map<std::string, YAML::Node> Members(const YAML::Node& map, std::string_view where,
                                            std::span<const std::string_view> known) {
    std::map<std::string, YAML::Node> members;
    for (const auto& member : map) {
      const std::string key = member.first.IsScalar() ? member.first.Scalar() : "";
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        const std::string_view nearest = Nearest(key, known);
        Warning(MarkOf(member.first), kUnknownKey,
                absl::StrFormat("%s: unknown key \"%s\", ignored", where, Shown(key)),
                nearest.empty() ? "" : absl::StrFormat("did you mean \"%s\"?", nearest));
      } else if (!members.emplace(key, member.second).second) {
        Warning(MarkOf(member.first), kDuplicate,
                absl::StrFormat("%s: key \"%s\" again, the first one counts", where, key));
      }
    }
    return members;
  }

  std::optional<EndpointsFile> ReadRoot(const YAML::Node& root) {
    EndpointsFile file;
    if (!root.IsMap()) {
      Error(MarkOf(root), kType,
            absl::StrFormat("the file holds %s, want a mapping with \"endpoints\"", KindOf(root)));
      return std::nullopt;
    }
    const auto members = Members(root, "endpoints file", kFileKeys);
    const auto list = members.find("endpoints");
    if (list == members.end()) {
      Error(MarkOf(root), kMissing, "\"endpoints\" is missing, want a list of endpoints", {},
            "write \"endpoints: []\" for none");
      return std::nullopt;
    }
    if (!list->second.IsSequence() && !list->second.IsNull()) {
      Error(MarkOf(list->second), kType,
            absl::StrFormat("\"endpoints\" is %s, want a list", KindOf(list->second)));
      return std::nullopt;
    }
    std::vector<config::Mark> marks;
    size_t index = 0;
    for (const YAML::Node& node : list->second) {
      ReadEntry(node, index++, file, marks);
    }
    DropDuplicates(file, marks);
    return file;
  }

  void ReadEntry(const YAML::Node& node, size_t index, EndpointsFile& file,
                 std::vector<config::Mark>& marks) {
    const size_t errors_before = out_.errors();
    std::string where = absl::StrFormat("endpoints[%d]", index);
    if (!node.IsMap()) {
      Error(MarkOf(node), kType,
            absl::StrFormat("%s is %s, want a mapping with name, address and port", where,
                            KindOf(node)));
      file.refused.emplace_back();
      return;
    }
    auto members = Members(node, where, kEntryKeys);
    EndpointsFile::Entry entry;
    config::Mark mark = MarkOf(node);
    if (ReadName(members, "name", where, entry.name)) {
      mark = MarkOf(members["name"]);
      where = absl::StrFormat("endpoint \"%s\"", entry.name);
    } else if (!members.contains("name")) {
      Error(MarkOf(node), kMissing, absl::StrFormat("%s: \"name\" is missing", where));
    }
    entry.name_space = "default";
    if (!ReadName(members, "namespace", where, entry.name_space) && members.contains("namespace")) {
      entry.name.clear();  // which entry it was is not known
    }
    Endpoint::Fields fields;
    fields.name_space = entry.name_space;
    ReadAddress(members, node, where, fields.address);
    ReadLabels(members, where, fields.labels);
    bool ranked = false;
    const std::vector<uint16_t> ports = ReadPorts(members, node, where, ranked);
    if (out_.errors() != errors_before) {
      file.refused.push_back({std::move(entry.name_space), std::move(entry.name)});
      return;
    }
    for (size_t rank = 0; rank < ports.size(); ++rank) {
      fields.name = ranked ? absl::StrFormat("%s-rank-%d", entry.name, rank) : entry.name;
      fields.port = ports[rank];
      fields.rank = static_cast<uint32_t>(rank);
      entry.endpoints.push_back(fields);
    }
    file.entries.push_back(std::move(entry));
    marks.push_back(std::move(mark));
  }

  // The text of a scalar member; nothing when it is absent or null. Another kind is an error.
  std::optional<std::string> ReadScalar(const std::map<std::string, YAML::Node>& members,
                                        const std::string& key, std::string_view where) {
    const auto at = members.find(key);
    if (at == members.end() || at->second.IsNull()) return std::nullopt;
    if (at->second.IsScalar()) return at->second.Scalar();
    Error(MarkOf(at->second), kType,
          absl::StrFormat("%s: \"%s\" is %s, want text", where, key, KindOf(at->second)));
    return std::nullopt;
  }

  bool ReadName(std::map<std::string, YAML::Node>& members, const std::string& key,
                std::string_view where, std::string& name) {
    const auto at = members.find(key);
    if (at != members.end() && at->second.IsNull()) members.erase(at);  // as if it were not there
    std::optional<std::string> text = ReadScalar(members, key, where);
    if (!text) return false;
    if (!ValidName(*text)) {
      Error(MarkOf(members[key]), kName,
            absl::StrFormat("%s: %s is \"%s\", want 1 to %d bytes without blanks and \"/\"", where,
                            key, Shown(*text), kMaxNameBytes));
      return false;
    }
    name = std::move(*text);
    return true;
  }

  void CheckAddress(const YAML::Node& node, std::string_view where, std::string_view what,
                    const std::string& address) {
    if (IsIpLiteral(address) || ValidHostName(address)) return;
    std::string hint;
    if (address.size() > 2 && address.front() == '[' && address.back() == ']') {
      hint = "write the IPv6 address without brackets";
    } else if (SplitHostPort(address).ok()) {
      hint = "the port goes to \"port\"";
    }
    Error(MarkOf(node), kAddress,
          absl::StrFormat("%s: %s is \"%s\", want an IPv4 or IPv6 address or a host name", where,
                          what, Shown(address)),
          "not an address", std::move(hint));
  }

  void ReadAddress(const std::map<std::string, YAML::Node>& members, const YAML::Node& entry,
                   std::string_view where, std::string& address) {
    const size_t errors_before = out_.errors();
    std::optional<std::string> text = ReadScalar(members, "address", where);
    if (text) {
      CheckAddress(members.at("address"), where, "address", *text);
      address = std::move(*text);
    } else if (out_.errors() == errors_before) {
      Error(MarkOf(entry), kMissing, absl::StrFormat("%s: \"address\" is missing", where));
    }
  }

  void ReadPort(const YAML::Node& node, std::string_view where, std::string_view what,
                std::vector<uint16_t>& ports) {
    if (!node.IsScalar()) {
      Error(MarkOf(node), kType,
            absl::StrFormat("%s: %s is %s, want a number in 1..65535", where, what, KindOf(node)));
      return;
    }
    const std::optional<uint16_t> port = ParsePort(node.Scalar());
    if (!port) {
      Error(MarkOf(node), kPort,
            absl::StrFormat("%s: %s is \"%s\", want a number in 1..65535", where, what,
                            Shown(node.Scalar())));
    } else if (std::find(ports.begin(), ports.end(), *port) != ports.end()) {
      Error(MarkOf(node), kPort, absl::StrFormat("%s: port %d twice", where, *port));
    } else {
      ports.push_back(*port);
    }
  }

  std::vector<uint16_t> ReadPorts(const std::map<std::string, YAML::Node>& members,
                                  const YAML::Node& entry, std::string_view where, bool& ranked) {
    std::vector<uint16_t> ports;
    const auto one = members.find("port");
    const auto many = members.find("ports");
    ranked = many != members.end();
    if (ranked && one != members.end()) {
      Error(MarkOf(many->second), kPort,
            absl::StrFormat("%s: both \"port\" and \"ports\", want one of them", where));
    } else if (ranked) {
      if (!many->second.IsSequence() || many->second.size() == 0 ||
          many->second.size() > kMaxPorts) {
        Error(MarkOf(many->second), kType,
              absl::StrFormat("%s: ports is %s, want a list of 1 to %d ports", where,
                              KindOf(many->second), kMaxPorts));
        return ports;
      }
      for (const YAML::Node& node : many->second) ReadPort(node, where, "a port", ports);
    } else if (one != members.end() && !one->second.IsNull()) {
      ReadPort(one->second, where, "port", ports);
    } else {
      Error(MarkOf(entry), kMissing, absl::StrFormat("%s: \"port\" is missing", where));
    }
    return ports;
  }

  void ReadLabels(const std::map<std::string, YAML::Node>& members, std::string_view where,
                  std::vector<std::pair<std::string, std::string>>& labels) {
    const auto at = members.find("labels");
    if (at == members.end() || at->second.IsNull()) return;
    if (!at->second.IsMap() || at->second.size() > kMaxLabels) {
      Error(MarkOf(at->second), kType,
            absl::StrFormat("%s: labels is %s, want a mapping of at most %d texts", where,
                            KindOf(at->second), kMaxLabels));
      return;
    }
    std::set<std::string> seen;
    for (const auto& label : at->second) {
      const YAML::Node& value = label.second;
      if (!label.first.IsScalar() || !(value.IsScalar() || value.IsNull()) ||
          label.first.Scalar().size() > kMaxLabelBytes ||
          (value.IsScalar() && value.Scalar().size() > kMaxLabelBytes)) {
        Error(MarkOf(label.first), kType,
              absl::StrFormat("%s: a label is %s: %s, want text: text of at most %d bytes", where,
                              KindOf(label.first), KindOf(value), kMaxLabelBytes));
        continue;
      }
      const std::string key = label.first.Scalar();
      const std::string text = value.IsScalar() ? value.Scalar() : "";
      if (!utf8::Valid(key) || !utf8::Valid(text)) {
        Error(MarkOf(label.first), kType, absl::StrFormat("%s: a label is not UTF-8", where));
      } else if (!seen.insert(key).second) {
        Warning(MarkOf(label.first), kDuplicate,
                absl::StrFormat("%s: label \"%s\" again, the first one counts", where, Shown(key)));
      } else {
        if (check_metrics_labels_) CheckMetricsLabel(value, where, key, text);
        labels.emplace_back(key, text);
      }
    }
  }

  void CheckMetricsLabel(const YAML::Node& node, std::string_view where, const std::string& key,
                         const std::string& text) {
    if (key == kMetricsAddressLabel) CheckAddress(node, where, "label metricsAddress", text);
    if (key == kMetricsPortLabel && !ParsePort(text)) {
      Error(MarkOf(node), kPort,
            absl::StrFormat("%s: label metricsPort is \"%s\", want a number in 1..65535", where,
                            Shown(text)));
    }
  }

  // Of entries that lead to one endpoint name, the last stays.
  void DropDuplicates(EndpointsFile& file, const std::vector<config::Mark>& marks) {
    std::set<std::pair<std::string, std::string>> seen;
    std::vector<EndpointsFile::Entry> kept;
    for (size_t i = file.entries.size(); i-- > 0;) {
      EndpointsFile::Entry& entry = file.entries[i];
      const bool twice =
          std::any_of(entry.endpoints.begin(), entry.endpoints.end(), [&](const auto& endpoint) {
            return seen.contains({endpoint.name_space, endpoint.name});
          });
      if (twice) {
        Warning(marks[i], kDuplicate,
                absl::StrFormat("endpoint \"%s\" is listed again below, the last one counts",
                                entry.name));
        continue;
      }
      for (const auto& endpoint : entry.endpoints) {
        seen.insert({endpoint.name_space, endpoint.name});
      }
      kept.push_back(std::move(entry));
    }
    std::reverse(kept.begin(), kept.end());
    file.entries = std::move(kept);
  }

  const std::shared_ptr<const config::SourceText> source_;
  const bool check_metrics_labels_;
  config::Diagnostics& out_;
  uint32_t lines_before_ = 0;  // of the document that is read
  uint32_t root_lines_before_ = 0;
};

}  // namespace

std::optional<EndpointsFile> ParseEndpointsFile(std::shared_ptr<const config::SourceText> source,
                                                bool check_metrics_labels,
                                                config::Diagnostics& out) {
  if (source->text.size() > kMaxEndpointsFileBytes) {
    out.Error({source, 0, 0, 0}, "EPP-POOL-TOO-LARGE",
              absl::StrFormat("the file has more than %d bytes", kMaxEndpointsFileBytes));
    return std::nullopt;
  }
  return Reader(std::move(source), check_metrics_labels, out).Read();
}

}  // namespace epp::pool
