// session-affinity-filter, session-affinity-scorer and multicluster-session-affinity-filter: keep
// the requests of a session on one endpoint.
//
//   pinned = the endpoint that the request's header names, or that its session is bound to
//   filter:  only pinned, if it is a candidate; else everyone
//   scorer:  1 for pinned, 0 for the others
//
// encoded_endpoint_header: the header holds base64("NAMESPACE/NAME"); every response sets it.
// session_id: an identifier of the request leads to the endpoint, see sessions.h.
#include "epp/plugin.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base64.h"
#include "plugins/common/attributes.hpp"
#include "plugins/common/json.hpp"
#include "plugins/common/text.hpp"
#include "sessions.h"

namespace {

using epp::common::Lower;
using epp::common::Quoted;
using epp::common::SameName;
using epp::common::Trim;
using epp::session::Bound;
using epp::session::SessionKey;
using epp::session::Sessions;

constexpr const char* kStrategies[] = {"encoded_endpoint_header", "session_id"};
constexpr const char* kTokenHeader = "x-session-token";
constexpr const char* kSessionHeader = "x-session-id";
constexpr int64_t kTtlSeconds = 300;
constexpr int64_t kSweepSeconds = 10;
constexpr uint64_t kSecond = 1'000'000'000;
constexpr size_t kMaxNameBytes = 1024;

// Where an identifier may come from: a header, or a text attribute of the request.
struct Source {
  std::string header;  // lower case; empty for an attribute
  std::string attribute;
  std::string producer;  // may be empty
};

bool ReadSource(epp::common::JsonReader& in, Source* out) {
  std::optional<std::string> producer;
  const bool read = in.Object([&](const std::string& field) {
    if (in.Null()) return true;
    if (SameName(field, "header")) return in.String(&out->header);
    if (SameName(field, "attribute")) return in.String(&out->attribute);
    if (SameName(field, "producer")) return in.String(&producer.emplace());
    return in.Fail("unknown field " + Quoted(field) + ", want header, attribute or producer");
  });
  if (!read) return false;
  out->header = Lower(Trim(out->header));
  if (out->header.empty() == out->attribute.empty()) {
    return in.Fail("source: want either header or attribute");
  }
  if (out->attribute.empty() && producer)
    return in.Fail("source: only an attribute has a producer");
  // The one attribute of this kind that has a producer of its own.
  const epp::AttributeKind& known = epp::common::kSessionId;
  out->producer = producer.value_or(out->attribute == known.key ? known.producer : "");
  return true;
}

epp::Status ReadSources(std::string_view json, std::vector<Source>* out) {
  epp::common::JsonReader in(json);
  if (!json.empty() && !in.Null()) in.Array([&] { return ReadSource(in, &out->emplace_back()); });
  if (!json.empty() && !in.Done()) {
    return epp::Status::Invalid("sessionIdConfig.sources: " + in.error());
  }
  if (out->empty()) out->push_back({kSessionHeader, "", ""});
  return {};
}

uint64_t OrDefault(int64_t seconds, int64_t by_default) {
  return static_cast<uint64_t>(seconds == 0 ? by_default : seconds) * kSecond;
}

// What the three types share.
class Affinity {
 public:
  static constexpr std::array kParams{
      epp::String("strategy", "encoded_endpoint_header", "How a request names its session.")
          .OneOf(kStrategies),
      epp::String("encodedEndpointHeaderConfig.header", kTokenHeader,
                  "Header of requests and responses that holds the endpoint."),
      epp::Json("sessionIdConfig.sources",
                "List of {header} or {attribute, producer}; the first that is not blank identifies "
                "the session. Default: header x-session-id."),
      epp::Int("sessionIdConfig.evictionTtlSeconds", kTtlSeconds, 0, 1e9,
               "Sessions idle for longer are forgotten; 0: 300."),
      epp::Int("sessionIdConfig.evictionSweepSeconds", kSweepSeconds, 0, 1e9,
               "How often idle sessions are looked for; 0: 10."),
      epp::String("profileName", "", "Profile whose target counts; the primary one if empty.")};
  enum Index { kStrategy, kHeader, kSources, kTtl, kSweep, kProfile };
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr uint32_t kWants = EPP_WANT_HEADERS;
  static constexpr uint32_t kStateVersion = 1;

  Affinity(const epp::Context& ctx, std::vector<Source> sources)
      : host_(ctx.host()),
        by_header_(ctx.str(kStrategy) == kStrategies[0]),
        header_(Lower(Trim(ctx.str(kHeader)))),
        profile_(ctx.str(kProfile)),
        sources_(std::move(sources)),
        sessions_(host_.random_u64(), host_.mono_ns(), OrDefault(ctx.i64(kTtl), kTtlSeconds),
                  OrDefault(ctx.i64(kSweep), kSweepSeconds)) {
    if (header_.empty()) header_ = kTokenHeader;
    if (by_header_) return;
    for (const Source& s : sources_) {
      if (s.attribute.empty()) continue;
      const epp::AttributeKind kind{s.attribute.c_str(), EPP_T_OPAQUE, EPP_SCOPE_REQUEST,
                                    s.producer.empty() ? nullptr : s.producer.c_str(),
                                    EPP_TEXT_SCHEMA};
      consumes_.push_back(&specs_.emplace_back(epp::Needs(kind)).spec);
    }
  }

  std::span<const epp_attr_spec* const> Consumes() const { return consumes_; }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }

  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling& done, const epp::Candidates&,
                         epp::Editor&) {
    const size_t profile = profile_.empty() ? done.primary() : done.Find(profile_);
    if (profile >= done.size() || !done.ok(profile)) return {};
    const epp_endpoint& target = *done.result(profile).targets[0];
    if (by_header_) return profile_.empty() ? epp::Status() : Remember(call, target);
    const std::string_view identifier = Identifier(call);
    if (identifier.empty()) return {};
    const Seen* const seen = call.state<Seen>();
    sessions_.Use(sessions_.KeyOf(identifier), {target.id, host_.Intern(epp::View(target.name))},
                  seen != nullptr && !seen->present ? &seen->bound : nullptr, call.now_ns());
    return {};
  }

  epp::Status OnHeaders(const epp::Call& call, const epp_response_event& event,
                        epp::Editor& editor) const {
    if (!by_header_) return {};
    if (!profile_.empty()) {
      const Reply* const reply = call.state<Reply>();
      if (reply != nullptr) editor.SetHeader(header_, {reply->text, reply->size});
      return {};
    }
    if (event.served == nullptr) return {};
    const std::string_view name = epp::View(event.served->name);
    const size_t size = epp::session::EncodedSize(name.size());
    char* const text = call.Alloc<char>(size);
    if (text == nullptr) return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    epp::session::Encode(name, text);
    editor.SetHeader(header_, {text, size});
    return {};
  }

  epp::Status SaveState(std::string& bytes) const {
    if (!by_header_ && sessions_.size() > 0) bytes = sessions_.Save();
    return {};
  }
  epp::Status LoadState(uint32_t version, std::string_view bytes) {
    if (version != kStateVersion) {
      return epp::Status::Invalid("the sessions have version " + std::to_string(version) +
                                  ", want " + std::to_string(kStateVersion));
    }
    if (bytes.empty()) return {};
    if (by_header_) return epp::Status::Invalid("got sessions, want none with this strategy");
    if (!sessions_.Restore(bytes)) return epp::Status::Invalid("the sessions are malformed");
    return {};
  }

  epp::Status Dump(std::string& out) const {
    out = "{\"sessions\":" + std::to_string(sessions_.size()) + "}";
    return {};
  }

 protected:
  // Position of the pinned endpoint among the candidates.
  std::optional<size_t> Pinned(const epp::Call& call, const epp::Candidates& in) const {
    if (by_header_) {
      std::array<char, kMaxNameBytes> memory;
      const auto name = epp::session::Decode(call.header(header_).value_or(""), memory);
      return name && !name->empty() ? Named(in, *name) : std::nullopt;
    }
    const std::string_view identifier = Identifier(call);
    if (identifier.empty()) return std::nullopt;
    const auto bound = sessions_.Find(sessions_.KeyOf(identifier), call.now_ns());
    if (!bound) return std::nullopt;
    std::optional<size_t> at;
    for (size_t i = 0; i < in.size() && !at; ++i) {
      if (in.endpoint(i).id == bound->id) at = i;
    }
    if (!at) at = Named(in, host_.Text(bound->name));
    Note(call, *bound, at.has_value());
    return at;
  }

 private:
  // What this request saw of the endpoint that its session is bound to.
  struct Seen {
    Bound bound;
    bool present;  // in any profile
  };
  // The header of the response.
  struct Reply {
    const char* text;
    size_t size;
  };

  static std::optional<size_t> Named(const epp::Candidates& in, std::string_view name) {
    for (size_t i = 0; i < in.size(); ++i) {
      if (epp::View(in.endpoint(i).name) == name) return i;
    }
    return std::nullopt;
  }

  static void Note(const epp::Call& call, const Bound& bound, bool present) {
    Seen*& seen = call.state<Seen>();
    if (seen == nullptr) seen = call.Alloc<Seen>();
    if (seen == nullptr) return;
    const bool before = seen->present && seen->bound.id == bound.id;
    *seen = {bound, present || before};
  }

  epp::Status Remember(const epp::Call& call, const epp_endpoint& target) const {
    const std::string_view name = epp::View(target.name);
    const size_t size = epp::session::EncodedSize(name.size());
    char* const text = call.Keep<char>(size);
    Reply* const reply = call.Keep<Reply>();
    if (text == nullptr || reply == nullptr) {
      return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    }
    epp::session::Encode(name, text);
    *reply = {text, size};
    call.state<Reply>() = reply;
    return {};
  }

  // Empty when no source has one.
  std::string_view Identifier(const epp::Call& call) const {
    size_t column = 0;
    for (const Source& s : sources_) {
      std::string_view text;
      if (!s.header.empty()) {
        text = call.header(s.header).value_or("");
      } else if (const void* value = call.column<const void*>(column++)[0]) {
        text = epp::View(*static_cast<const epp_str*>(value));
      }
      if (text = Trim(text); !text.empty()) return text;
    }
    return {};
  }

  const epp::Host host_;
  const bool by_header_;
  std::string header_;  // lower case
  const std::string profile_;
  const std::vector<Source> sources_;
  std::deque<epp::Attribute> specs_;  // their texts are those of sources_
  std::vector<const epp_attr_spec*> consumes_;
  Sessions sessions_;  // thread-safe; unused by the header strategy
};

template <class T>
epp::Result<T> Make(const epp::Context& ctx) {
  std::vector<Source> sources;
  epp::Status status = ReadSources(ctx.str(Affinity::kSources), &sources);
  if (!status.ok()) return status;
  return std::make_unique<T>(ctx, std::move(sources));
}

class SessionAffinityFilter : public Affinity {
 public:
  static constexpr const char* kName = "session-affinity-filter";
  static constexpr const char* kDoc = "Keeps the requests of a session on one endpoint.";
  using Affinity::Affinity;

  static epp::Result<SessionAffinityFilter> Create(const epp::Context& ctx) {
    return Make<SessionAffinityFilter>(ctx);
  }

  epp::Status Filter(const epp::Call& call, const epp::Candidates& in, epp::Keep& keep) const {
    const std::optional<size_t> pinned = Pinned(call, in);
    pinned ? keep.Set(*pinned) : keep.All();
    return {};
  }
};

class MulticlusterSessionAffinityFilter : public SessionAffinityFilter {
 public:
  static constexpr const char* kName = "multicluster-session-affinity-filter";
  static constexpr const char* kDoc = "Keeps the requests of a session on one cluster.";
  using SessionAffinityFilter::SessionAffinityFilter;

  static epp::Result<MulticlusterSessionAffinityFilter> Create(const epp::Context& ctx) {
    return Make<MulticlusterSessionAffinityFilter>(ctx);
  }
};

class SessionAffinityScorer : public Affinity {
 public:
  static constexpr const char* kName = "session-affinity-scorer";
  static constexpr const char* kDoc = "Prefers the endpoint that served the session before.";
  static constexpr uint32_t kCategory = EPP_CATEGORY_AFFINITY;
  using Affinity::Affinity;

  static epp::Result<SessionAffinityScorer> Create(const epp::Context& ctx) {
    return Make<SessionAffinityScorer>(ctx);
  }

  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    if (const std::optional<size_t> pinned = Pinned(call, in)) out[*pinned] = 1.0;
    return {};
  }
};

}  // namespace

EPP_LIBRARY("session-affinity", "0.1.0", SessionAffinityFilter, SessionAffinityScorer,
            MulticlusterSessionAffinityFilter)
