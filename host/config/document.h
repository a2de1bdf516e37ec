// A YAML or JSON text as a tree whose every node knows its place.
//
// The subset that configs need: one document of maps, lists and scalars; no anchors, aliases, tags
// or repeated keys.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/config/diagnostics.h"

namespace epp::config {

struct Node {
  enum class Kind : uint8_t { kNull, kScalar, kMap, kList };
  // What a scalar would be in JSON.
  enum class Scalar : uint8_t { kText, kBool, kInt, kFloat };

  Kind kind = Kind::kNull;
  Scalar scalar = Scalar::kText;               // kText for everything quoted
  std::string text;                            // scalars: as written, without quotes
  std::vector<std::pair<Node, Node>> members;  // maps, in order; keys are scalars
  std::vector<Node> items;                     // lists
  Mark mark;

  // Defined where Node is complete, which its own pairs need.
  Node();
  ~Node();
  Node(const Node&);
  Node(Node&&) noexcept;
  Node& operator=(const Node&);
  Node& operator=(Node&&) noexcept;

  bool IsText() const { return kind == Kind::kScalar && scalar == Scalar::kText; }
  // The member of that name, exactly; null when there is none, or when this is no map.
  const Node* Find(std::string_view name) const;
  // "a string", "an integer", "a list" ... for messages.
  std::string_view KindName() const;
};

// Values of plain scalars, as YAML 1.1 (and so Kubernetes) reads them.
std::optional<bool> AsBool(const Node& node);
std::optional<int64_t> AsInt(const Node& node);   // also a float that is exactly an integer
std::optional<double> AsFloat(const Node& node);  // finite

// Canonical JSON: members sorted by name, no spaces.
std::string ToJson(const Node& node);

inline constexpr size_t kMaxDocumentBytes = size_t{1} << 20;

// Nothing when the text is unusable; the reasons are in `out` either way. An empty text is a null
// node.
std::optional<Node> ParseDocument(std::shared_ptr<const SourceText> source, Diagnostics& out);

}  // namespace epp::config
