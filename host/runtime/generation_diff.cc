#include "host/runtime/generation_diff.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "host/base/json_writer.h"
#include "host/base/str_cat.h"

namespace epp::runtime {
namespace {

constexpr size_t kMaxValue = 60;  // bytes of a value that are shown
constexpr size_t kNameWidth = 17;
constexpr size_t kWhatWidth = 45;  // of name and what, before the fate

std::string Number(double value) {
  std::string out;
  AppendJsonDouble(value, &out);
  return out;
}

std::string Shown(std::string_view value) {
  return value.size() <= kMaxValue ? std::string(value)
                                   : StrCat(value.substr(0, kMaxValue - 3), "...");
}

std::string Join(const std::vector<std::string>& names, std::string_view separator) {
  std::string out;
  for (const std::string& name : names) StrAppend(&out, out.empty() ? "" : separator, name);
  return out.empty() ? "none" : out;
}

std::string LibraryOf(const Outline::Instance& i) {
  if (i.library.empty()) return "epp";
  return StrCat(i.library, i.version.empty() ? "" : " ", i.version, " (",
                i.identity.code.substr(0, 8), ")");
}

// The type, where the name does not say it.
std::string TypeOf(const Outline::Instance& i) {
  return i.identity.type == i.identity.name ? "" : i.identity.type;
}

class Comparison {
 public:
  Comparison(const Outline& from, const Outline& to) : from_(from), to_(to) {
    for (const Outline::Instance& i : from.instances) old_.emplace(i.identity.name, &i);
    for (const Outline::Instance& i : to.instances) new_.emplace(i.identity.name, &i);
  }

  GenerationDiff Run() {
    Profiles();
    Instances();
    Lists();
    return std::move(diff_);
  }

 private:
  using ByName = std::map<std::string, const Outline::Instance*, std::less<>>;

  void Add(char mark, std::string section, std::string subject, std::string what = {},
           std::string fate = {}) {
    if (mark == '+') ++diff_.added;
    if (mark == '-') ++diff_.dropped;
    if (mark == '~') ++diff_.changed;
    diff_.changes.push_back(
        {mark, std::move(section), std::move(subject), std::move(what), std::move(fate)});
  }

  static const Outline::Profile* Find(const Outline& in, const std::string& name) {
    for (const Outline::Profile& profile : in.profiles) {
      if (profile.name == name) return &profile;
    }
    return nullptr;
  }

  static std::string WhatOf(const Outline::Entry& entry) {
    return entry.role == "scorer" ? StrCat("weight ", Number(entry.weight)) : entry.role;
  }

  void Profiles() {
    for (const Outline::Profile& profile : to_.profiles) {
      const std::string section = StrCat("profile ", profile.name);
      if (const Outline::Profile* former = Find(from_, profile.name)) {
        Entries(section, former->entries, profile.entries);
      } else {
        Entries(section, {}, profile.entries);
      }
    }
    for (const Outline::Profile& profile : from_.profiles) {
      if (!Find(to_, profile.name)) Add('-', StrCat("profile ", profile.name), "all of it");
    }
  }

  void Entries(const std::string& section, const std::vector<Outline::Entry>& from,
               const std::vector<Outline::Entry>& to) {
    std::vector<const Outline::Entry*> left;
    for (const Outline::Entry& entry : from) left.push_back(&entry);
    for (const Outline::Entry& entry : to) {
      const auto it = std::ranges::find_if(
          left, [&](const Outline::Entry* e) { return e->plugin == entry.plugin; });
      if (it == left.end()) {
        Add('+', section, entry.plugin, WhatOf(entry));
        continue;
      }
      if ((*it)->weight != entry.weight) {
        Add('~', section, entry.plugin,
            StrCat("weight ", Number((*it)->weight), " -> ", Number(entry.weight)));
      } else {
        Add('=', section, entry.plugin, WhatOf(entry));
      }
      left.erase(it);
    }
    for (const Outline::Entry* entry : left) Add('-', section, entry->plugin, WhatOf(*entry));
    Order(section, from, to);
  }

  // Of the filters that both have.
  void Order(const std::string& section, const std::vector<Outline::Entry>& from,
             const std::vector<Outline::Entry>& to) {
    const auto filters = [](const std::vector<Outline::Entry>& of,
                            const std::vector<Outline::Entry>& other) {
      std::vector<std::string> names;
      for (const Outline::Entry& entry : of) {
        const bool both = std::ranges::any_of(
            other, [&](const Outline::Entry& e) { return e.plugin == entry.plugin; });
        if (entry.role == "filter" && both) names.push_back(entry.plugin);
      }
      return names;
    };
    const std::vector<std::string> before = filters(from, to);
    const std::vector<std::string> after = filters(to, from);
    if (before != after) {
      Add('~', section, "filters", StrCat("order ", Join(before, ", "), " -> ", Join(after, ", ")));
    }
  }

  void Instances() {
    for (const Outline::Instance& instance : to_.instances) {
      const auto it = old_.find(instance.identity.name);
      if (it == old_.end()) {
        Add('+', "instances", instance.identity.name, TypeOf(instance),
            instance.learns ? "new, starts empty" : "new");
      } else if (it->second->identity == instance.identity) {
        ++diff_.kept;
        Add('=', "instances", instance.identity.name, TypeOf(instance),
            instance.learns ? "kept with its state" : "kept");
      } else {
        Rebuilt(*it->second, instance);
      }
    }
    for (const Outline::Instance& instance : from_.instances) {
      if (new_.contains(instance.identity.name)) continue;
      // What goes away on purpose is not called lost.
      Add('-', "instances", instance.identity.name, TypeOf(instance),
          instance.library.empty() ? "dropped" : "dropped; its library stays mapped");
    }
  }

  void Rebuilt(const Outline::Instance& from, const Outline::Instance& to) {
    std::vector<std::string> what;
    if (from.identity.type != to.identity.type) {
      what.push_back(StrCat("type ", from.identity.type, " -> ", to.identity.type));
    } else if (from.identity.code != to.identity.code) {
      what.push_back(StrCat("library ", LibraryOf(from), " -> ", LibraryOf(to)));
    }
    if (from.identity.type == to.identity.type) AppendValues(from, to, what);
    if (what.empty()) what.push_back("a secret parameter");
    std::string fate = "rebuild";
    if (from.learns && from.identity.type == to.identity.type && from.carries && to.carries) {
      fate += "; its state is carried over";
    } else if (from.learns) {
      fate += "; its state is LOST";
      diff_.lost.push_back(to.identity.name);
    }
    Add('~', "instances", to.identity.name, Join(what, "; "), std::move(fate));
  }

  static void AppendValues(const Outline::Instance& from, const Outline::Instance& to,
                           std::vector<std::string>& what) {
    const auto value = [](const Outline::Instance& of, const std::string& name) {
      for (const auto& [key, text] : of.values) {
        if (key == name) return Shown(text);
      }
      return std::string("unset");
    };
    std::set<std::string> names;
    for (const auto& [name, text] : from.values) names.insert(name);
    for (const auto& [name, text] : to.values) names.insert(name);
    for (const std::string& name : names) {
      const std::string before = value(from, name);
      const std::string after = value(to, name);
      if (before != after) what.push_back(StrCat(name, " ", before, " -> ", after));
    }
  }

  void Lists() {
    const auto pair = [&](const std::string& subject, const std::string& before,
                          const std::string& after) {
      if (before != after) Add('~', "wiring", subject, StrCat(before, " -> ", after));
    };
    const auto or_none = [](const std::string& name) { return name.empty() ? "none" : name; };
    pair("profile handler", from_.handler, to_.handler);
    pair("parsers", Join(from_.parsers, ", "), Join(to_.parsers, ", "));
    pair("discovery", or_none(from_.discovery), or_none(to_.discovery));
    const auto sources = [](const Outline& of) {
      std::vector<std::string> texts;
      for (const Outline::Source& source : of.sources) {
        std::vector<std::string> extractors = source.extractors;
        std::ranges::sort(extractors);
        texts.push_back(StrCat(source.plugin, " (", Join(extractors, ", "), ")"));
      }
      std::ranges::sort(texts);
      return Join(texts, ", ");
    };
    pair("sources", sources(from_), sources(to_));
  }

  const Outline& from_;
  const Outline& to_;
  ByName old_;
  ByName new_;
  GenerationDiff diff_;
};

}  // namespace

GenerationDiff Compare(const Outline& from, const Outline& to) {
  return Comparison(from, to).Run();
}

std::vector<std::string> ChangeLines(const GenerationDiff& diff) {
  std::vector<std::string> lines;
  for (const Change& c : diff.changes) {
    if (c.mark == '=') continue;
    std::string line(1, c.mark);
    StrAppend(&line, "   ", c.section, ": ", c.subject, c.what.empty() ? "" : " ", c.what,
              c.fate.empty() ? "" : "; ", c.fate);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string DiffText(const GenerationDiff& diff, bool all) {
  std::string out;
  const std::string* section = nullptr;
  for (const Change& c : diff.changes) {
    if (c.mark == '=' && !all) continue;
    if (!section || *section != c.section) StrAppend(&out, "  ", c.section, "\n");
    section = &c.section;
    std::string head(1, c.mark == '=' ? ' ' : c.mark);
    std::string text = c.subject;
    if (text.size() > kNameWidth && !c.what.empty()) {
      StrAppend(&out, std::exchange(head, " "), "   ", text, "\n");
      text = StrCat("  ", c.what);
    } else {
      if (text.size() < kNameWidth) text.resize(kNameWidth, ' ');
      if (!c.what.empty()) StrAppend(&text, " ", c.what);
    }
    if (!c.fate.empty()) {
      if (text.size() < kWhatWidth) text.resize(kWhatWidth, ' ');
      StrAppend(&text, "  ", c.fate);
    }
    while (text.ends_with(' ')) text.pop_back();
    StrAppend(&out, head, "   ", text, "\n");
  }
  if (diff.same()) {
    StrAppend(&out, out.empty() ? "" : "\n", "no change of meaning; ", diff.kept,
              " instances kept\n");
    return out;
  }
  StrAppend(&out, "\n", diff.added, " added, ", diff.changed, " changed, ", diff.dropped,
            " dropped, ", diff.kept, " instances kept; ",
            diff.lost.empty() ? std::string("no learned state is lost")
                              : StrCat("the state of ", Join(diff.lost, ", "), " is lost"),
            "\n");
  return out;
}

}  // namespace epp::runtime
