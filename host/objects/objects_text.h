// InferenceObjective and InferenceModelRewrite objects in YAML or JSON text, as a cluster has them:
//
//   apiVersion: llm-d.ai/v1alpha2          # or the older inference.networking.x-k8s.io/v1alpha2
//   kind: InferenceObjective
//   metadata: {name: batch}
//   spec:
//     priority: -1
//     poolRef: {name: my-pool}             # group: inference.networking.k8s.io
//   ---
//   apiVersion: llm-d.ai/v1alpha2
//   kind: InferenceModelRewrite
//   metadata: {name: canary}               # creationTimestamp: of equal rules the oldest wins
//   spec:
//     poolRef: {name: my-pool}
//     rules:
//       - matches: [{model: {value: llama}}]      # none: every model
//         targets: [{modelRewrite: llama-v1, weight: 9}, {modelRewrite: llama-v2, weight: 1}]
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/config/diagnostics.h"
#include "host/objects/object_set.h"

namespace epp::objects {

// Whose objects count.
struct PoolIdentity {
  std::string name = {};        // empty: those of every pool
  std::string group = {};       // empty: inference.networking.k8s.io
  std::string name_space = {};  // empty: those of every namespace
};

enum class Kind : uint8_t { kObjective, kRewrite };

struct Object {
  Kind kind = Kind::kObjective;
  std::string name;
  bool legacy = false;   // of the older API group
  bool refused = false;  // has an error: only kind and name are known
  bool ours = true;      // of the pool, and not being deleted
  config::Mark mark;
  Objective objective;  // by kind, one of the two
  ModelRewrite rewrite;
};

struct ObjectsText {
  std::vector<Object> objects;  // in order
  // Something that should be an object cannot even be named.
  bool nameless = false;
};

// "InferenceObjective", "InferenceModelRewrite".
std::string_view KindName(Kind kind);

// Whether the text can hold such objects at all.
bool MentionsObjects(std::string_view text);

// Reads all documents of `source`. Those of other kinds are somebody else's and passed over, as is
// text that is no YAML and mentions no kind of ours. An object with an error is refused as a whole,
// the others are kept.
ObjectsText ParseObjects(const std::shared_ptr<const config::SourceText>& source,
                         const PoolIdentity& pool, config::Diagnostics& out);

}  // namespace epp::objects
