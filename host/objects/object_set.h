// What the objects InferenceObjective and InferenceModelRewrite say, as requests look it up.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace epp::objects {

// The importance of requests that name it. Higher is more important; below 0 means sheddable.
struct Objective {
  std::string name;
  std::optional<int32_t> priority;
};

struct Target {
  std::string model;
  int32_t weight = 0;  // 0: none was given
};

struct Rule {
  bool generic = true;              // for every model that has no rule of its own
  std::vector<std::string> models;  // otherwise: for these
  std::vector<Target> targets;
};

struct ModelRewrite {
  std::string name;
  int64_t created_unix_s = 0;  // 0: not known, older than every other
  std::vector<Rule> rules;
};

// Immutable; what it returns lives as long as it.
class ObjectSet {
 public:
  struct Match {
    const ModelRewrite* rewrite = nullptr;  // null: no rule
    const Rule* rule = nullptr;
  };

  ObjectSet() = default;
  // Of equal names the last one counts.
  ObjectSet(std::vector<Objective> objectives, std::vector<ModelRewrite> rewrites);
  ObjectSet(const ObjectSet&) = delete;
  ObjectSet& operator=(const ObjectSet&) = delete;

  // 0 for an objective that is not there, or has none.
  int32_t Priority(std::string_view objective) const;
  // The rule for requests of that model: of those for its name, or else of the generic ones, that
  // of the oldest object; of equal age the first by object name, then by place in the object.
  Match FindRule(std::string_view model) const;

  const std::vector<Objective>& objectives() const { return objectives_; }
  const std::vector<ModelRewrite>& rewrites() const { return rewrites_; }
  size_t rule_count() const;
  // Each once.
  std::set<int32_t> Priorities() const;
  // Every model that a rule names, as a match or as a target.
  std::set<std::string_view> Models() const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  template <class T>
  using ByName = std::unordered_map<std::string, T, Hash, std::equal_to<>>;

  std::vector<Objective> objectives_;   // by name
  std::vector<ModelRewrite> rewrites_;  // oldest first
  ByName<int32_t> priorities_;
  ByName<Match> exact_;
  Match generic_;
};

// One of the rule's targets, by weight; without weights each is as likely. Beside targets with a
// weight, those without are never chosen. "" when the rule has none. `draw`: 64 random bits.
std::string_view ChooseTarget(const Rule& rule, uint64_t draw);

// The current set. One writer publishes, each worker reads through its own ObjectReader.
class ObjectSlot {
 public:
  void Publish(std::shared_ptr<const ObjectSet> objects) {
    const std::lock_guard lock(mutex_);
    current_ = std::move(objects);
    version_.fetch_add(1, std::memory_order_release);
  }
  // Never null.
  std::shared_ptr<const ObjectSet> current() const {
    const std::lock_guard lock(mutex_);
    return current_;
  }

 private:
  friend class ObjectReader;
  mutable std::mutex mutex_;
  std::shared_ptr<const ObjectSet> current_ = std::make_shared<const ObjectSet>();
  std::atomic<uint64_t> version_{0};
};

// One worker's view: one load while nothing changed. Not thread-safe.
class ObjectReader {
 public:
  // Null: there never are any objects.
  explicit ObjectReader(const ObjectSlot* slot) : slot_(slot) {}
  // Valid until the next call; null without a slot.
  const ObjectSet* Get() {
    if (slot_ == nullptr) return nullptr;
    const uint64_t version = slot_->version_.load(std::memory_order_acquire);
    if (version != version_) {
      current_ = slot_->current();
      version_ = version;
    }
    return current_.get();
  }

 private:
  const ObjectSlot* slot_;
  uint64_t version_ = ~uint64_t{0};
  std::shared_ptr<const ObjectSet> current_;
};

}  // namespace epp::objects
