#include "host/preflight/quarantine.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <mutex>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "host/base/str_cat.h"
#include "host/loader/guard.h"

namespace epp::preflight {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr size_t kFields = 8;
constexpr size_t kDigestDigits = 64;
constexpr size_t kMinPrefix = 8;
constexpr const char* kDoc = "Stands in for a type of a quarantined library.";

bool IsHex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::vector<std::string> ReadLines(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text(kMaxFileBytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

epp_status ScoreNothing(void*, const epp_call*, const epp_candidates*, double*,
                        epp_error*) EPP_NOEXCEPT {
  return EPP_OK;
}
epp_status KeepAll(void*, const epp_call*, const epp_candidates* in, uint64_t* keep,
                   epp_error*) EPP_NOEXCEPT {
  std::fill_n(keep, (in->count + 63) / 64, ~uint64_t{0});
  return EPP_OK;
}
epp_status SayNo(void*, const epp_call*, const epp_candidates*, uint32_t*,
                 epp_error*) EPP_NOEXCEPT {
  return EPP_OK;
}
constexpr epp_scorer kScorer{sizeof(epp_scorer), 0, &ScoreNothing};
constexpr epp_filter kFilter{sizeof(epp_filter), 0, &KeepAll};
constexpr epp_decider kDecider{sizeof(epp_decider), 0, &SayNo};

void* Create(const epp_host*, epp_str, const epp_value*, epp_error*) EPP_NOEXCEPT {
  static char instance;  // has no state
  return &instance;
}
void Destroy(void*) EPP_NOEXCEPT {}
const void* GetInterface(void*, const char* id) EPP_NOEXCEPT {
  if (std::string_view(id) == EPP_SCORER_ID) return &kScorer;
  if (std::string_view(id) == EPP_FILTER_ID) return &kFilter;
  if (std::string_view(id) == EPP_DECIDER_ID) return &kDecider;
  return nullptr;
}

struct StandIn {
  std::string name;
  std::vector<const char*> interfaces;
  epp_plugin_type abi{};
};

// For "name=interface+interface"; null when more than a scorer, filter or decider would be missed.
const epp_plugin_type* StandInFor(const std::string& offer) {
  static auto& known = *new std::map<std::string, StandIn>;
  static auto& mutex = *new std::mutex;
  const size_t equals = offer.find('=');
  if (equals == std::string::npos) return nullptr;
  StandIn made;
  const std::vector<std::string> ids = absl::StrSplit(offer.substr(equals + 1), '+');
  for (const std::string& id : ids) {
    if (id == EPP_SCORER_ID) {
      made.interfaces.push_back(EPP_SCORER_ID);
    } else if (id == EPP_FILTER_ID) {
      made.interfaces.push_back(EPP_FILTER_ID);
    } else if (id == EPP_DECIDER_ID) {
      made.interfaces.push_back(EPP_DECIDER_ID);
    } else if (id != EPP_PRE_REQUEST_ID && id != EPP_RESPONSE_ID && id != EPP_POOL_EVENTS_ID &&
               id != EPP_READINESS_ID && id != EPP_DUMP_STATE_ID && id != EPP_ATTRIBUTES_ID &&
               id != loader::NameOf(loader::Entry::kState)) {
      return nullptr;
    }
  }
  if (made.interfaces.empty()) return nullptr;
  std::lock_guard lock(mutex);
  const auto [it, is_new] = known.try_emplace(offer, std::move(made));
  StandIn& type = it->second;
  if (is_new) {
    type.name = offer.substr(0, equals);
    type.abi.struct_size = sizeof(epp_plugin_type);
    type.abi.flags = EPP_TYPE_ANY_PARAMS;
    type.abi.stability = EPP_STABILITY_STABLE;
    type.abi.interface_count = static_cast<uint32_t>(type.interfaces.size());
    type.abi.name = type.name.c_str();
    type.abi.doc = kDoc;
    type.abi.interfaces = type.interfaces.data();
    type.abi.create = &Create;
    type.abi.destroy = &Destroy;
    type.abi.get_interface = &GetInterface;
  }
  return &type.abi;
}

}  // namespace

std::string QuarantineFile(const std::string& state_dir) {
  return state_dir.empty() ? std::string() : StrCat(state_dir, "/quarantine");
}

std::vector<Crash> ReadQuarantine(const std::string& file) {
  std::vector<Crash> out;
  if (file.empty()) return out;
  for (const std::string& line : ReadLines(file)) {
    const std::vector<std::string> f = absl::StrSplit(line, '\t');
    Crash crash;
    if (f.size() != kFields || f[0].size() != kDigestDigits || !IsHex(f[0]) ||
        !absl::SimpleAtoi(f[1], &crash.unix_s)) {
      continue;
    }
    crash.digest = f[0];
    crash.what = f[2];
    crash.library = f[3];
    crash.type = f[4];
    crash.instance = f[5];
    crash.interface_id = f[6];
    crash.offers = f[7];
    out.push_back(std::move(crash));
  }
  return out;
}

absl::StatusOr<size_t> Forgive(const std::string& file, std::string_view prefix) {
  if (prefix.size() < kMinPrefix || prefix.size() > kDigestDigits || !IsHex(prefix)) {
    return absl::InvalidArgumentError(
        StrCat("\"", prefix, "\" is no digest, want its first 8 to 64 hexadecimal digits"));
  }
  size_t removed = 0;
  std::string kept;
  for (const std::string& line : ReadLines(file)) {
    if (line.starts_with(prefix)) {
      ++removed;
    } else {
      StrAppend(&kept, line, "\n");
    }
  }
  if (removed == 0) return removed;
  const std::string fresh = StrCat(file, ".new");
  std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
  out << kept;
  out.close();
  if (!out || std::rename(fresh.c_str(), file.c_str()) != 0) {
    unlink(fresh.c_str());
    return absl::PermissionDeniedError(StrCat(file, ": cannot be replaced"));
  }
  return removed;
}

std::string Describe(const Crash& crash) {
  const std::string where = crash.instance.empty()
                                ? std::string()
                                : StrCat(" of plugin \"", crash.instance, "\" (", crash.type, ")");
  return StrCat("in quarantine: ", crash.what, " in ", crash.interface_id, where, " at ",
                absl::FormatTime("%Y-%m-%dT%H:%M:%SZ",
                                 absl::FromUnixSeconds(static_cast<int64_t>(crash.unix_s)),
                                 absl::UTCTimeZone()),
                "; install another build, or lift it with: epp plugins --forgive ",
                std::string_view(crash.digest).substr(0, 12));
}

std::vector<const epp_plugin_type*> StandIns(const std::vector<Crash>& crashes) {
  std::vector<const epp_plugin_type*> out;
  for (const Crash& crash : crashes) {
    const std::vector<std::string> offers = absl::StrSplit(crash.offers, ',', absl::SkipEmpty());
    for (const std::string& offer : offers) {
      const epp_plugin_type* type = StandInFor(offer);
      if (type != nullptr && std::ranges::find(out, type) == out.end()) out.push_back(type);
    }
  }
  return out;
}

bool IsStandIn(const epp_plugin_type& type) { return type.create == &Create; }

}  // namespace epp::preflight
