#include "host/config/merge.h"

#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <unordered_map>
#include <utility>

#include "host/base/str_cat.h"

namespace epp::config {
namespace {

constexpr std::string_view kRemove = "$remove";

// A list whose entries are known by the first of these keys that they have.
struct NamedList {
  std::string_view what;  // one entry, for messages
  std::array<std::string_view, 2> keys;
};
constexpr NamedList kPlugins{"plugin", {"name", "type"}};
constexpr NamedList kProfiles{"profile", {"name", ""}};
constexpr NamedList kProfileEntries{"profile entry", {"pluginRef", ""}};

const Node* NameOf(const Node& entry, const NamedList& list) {
  for (const std::string_view key : list.keys) {
    const Node* name = key.empty() ? nullptr : entry.Find(key);
    if (name != nullptr && name->IsText() && !name->text.empty()) return name;
  }
  return nullptr;
}

class Merger {
 public:
  explicit Merger(Diagnostics& out) : out_(out) {}

  void Document(Node over, Node* base) {
    Maps(std::move(over), base, [this](std::string_view key, Node value, Node* into) {
      if (key == "plugins") return Lists(std::move(value), into, kPlugins);
      if (key == "schedulingProfiles") return Lists(std::move(value), into, kProfiles);
      Plain(std::move(value), into);
    });
  }

 private:
  using Each = std::function<void(std::string_view key, Node value, Node* into)>;

  // `each` merges the values; without it they are merged as plain data.
  void Maps(Node over, Node* base, const Each& each) {
    if (over.kind != Node::Kind::kMap) {
      *base = std::move(over);
      return;
    }
    if (base->kind != Node::Kind::kMap) {
      base->kind = Node::Kind::kMap;
      base->members.clear();
      base->items.clear();
    }
    base->mark = over.mark;
    std::unordered_map<std::string, size_t> index;
    for (size_t i = 0; i < base->members.size(); ++i) index.emplace(base->members[i].first.text, i);
    for (auto& [key, value] : over.members) {
      const auto [at, fresh] = index.emplace(key.text, base->members.size());
      if (fresh) base->members.emplace_back();
      auto& [base_key, base_value] = base->members[at->second];
      base_key = std::move(key);
      if (each) {
        each(base_key.text, std::move(value), &base_value);
      } else {
        Plain(std::move(value), &base_value);
      }
    }
  }

  void Plain(Node over, Node* base) { Maps(std::move(over), base, nullptr); }

  void Lists(Node over, Node* base, const NamedList& list) {
    if (over.kind != Node::Kind::kList) {
      *base = std::move(over);
      return;
    }
    if (base->kind != Node::Kind::kList) {
      *base = Node();
      base->kind = Node::Kind::kList;
    }
    base->mark = over.mark;
    // Positions of each name that nothing was laid over yet. Repeated names are matched in order,
    // so that those of one file stay apart and are reported.
    std::unordered_map<std::string, std::vector<size_t>> open;
    for (size_t i = base->items.size(); i-- > 0;) {
      if (const Node* name = NameOf(base->items[i], list)) open[name->text].push_back(i);
    }
    std::vector<bool> removed(base->items.size(), false);
    for (Node& entry : over.items) {
      const Node* name = NameOf(entry, list);
      const auto at = name ? open.find(name->text) : open.end();
      const bool exists = at != open.end() && !at->second.empty();
      if (const Node* remove = entry.Find(kRemove)) {
        if (!Removes(entry, *remove, list)) continue;
        if (!exists) {
          out_.Error(name ? name->mark : entry.mark, "EPP-CFG-REMOVE",
                     name ? StrCat(list.what, " \"", name->text, "\" is not there to be removed")
                          : StrCat("a ", list.what, " to remove has no ", list.keys[0]),
                     "", "$remove deletes what an included file says");
          continue;
        }
        for (const size_t position : at->second) removed[position] = true;
        at->second.clear();
      } else if (exists) {
        Node* const into = &base->items[at->second.back()];
        at->second.pop_back();
        Entries(std::move(entry), into, list);
      } else {
        Node& added = base->items.emplace_back();
        removed.push_back(false);
        Entries(std::move(entry), &added, list);
      }
    }
    size_t kept = 0;
    for (size_t i = 0; i < removed.size(); ++i) {
      if (removed[i]) continue;
      if (kept != i) base->items[kept] = std::move(base->items[i]);
      ++kept;
    }
    base->items.resize(kept);
  }

  // Whether `entry` is well formed to remove something.
  bool Removes(const Node& entry, const Node& remove, const NamedList& list) {
    if (AsBool(remove) != true) {
      out_.Error(remove.mark, "EPP-CFG-REMOVE",
                 StrCat("$remove is ", remove.text.empty() ? remove.KindName() : remove.text,
                        ", want true"));
      return false;
    }
    for (const auto& [key, value] : entry.members) {
      const auto& keys = list.keys;
      if (key.text == kRemove || std::find(keys.begin(), keys.end(), key.text) != keys.end()) {
        continue;
      }
      out_.Error(key.mark, "EPP-CFG-REMOVE",
                 StrCat("a ", list.what, " to remove has \"", key.text, "\", want only its ",
                        list.keys[0]));
      return false;
    }
    return true;
  }

  void Entries(Node over, Node* base, const NamedList& list) {
    if (&list == &kPlugins) {
      const Node* type = over.Find("type");
      const Node* former = base->Find("type");
      if (type && former && type->IsText() && type->text != former->text) *base = Node();
      Plain(std::move(over), base);
    } else if (&list == &kProfiles) {
      Maps(std::move(over), base, [this](std::string_view key, Node value, Node* into) {
        if (key == "plugins") return Lists(std::move(value), into, kProfileEntries);
        Plain(std::move(value), into);
      });
    } else {
      Plain(std::move(over), base);
    }
  }

  Diagnostics& out_;
};

}  // namespace

void MergeConfig(Node over, Node* base, Diagnostics& out) {
  Merger(out).Document(std::move(over), base);
}

}  // namespace epp::config
