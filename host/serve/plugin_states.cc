#include "host/serve/plugin_states.h"

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"

namespace epp::serve {
namespace {

constexpr size_t kMaxStateBytes = 256 * 1024;

void Append(void* ctx, epp_str text) EPP_NOEXCEPT {
  auto& out = *static_cast<std::string*>(ctx);
  if (text.size && out.size() + text.size <= kMaxStateBytes) out.append(text.data, text.size);
}

}  // namespace

bool PluginsReady(const runtime::Generation& generation, std::string* reason) {
  for (const auto& instance : generation.instances()) {
    if (instance->guard().stuck()) continue;  // asking could take this thread, too
    const auto* ready = instance->Get<epp_readiness>(EPP_READINESS_ID);
    epp_error err{sizeof(epp_error), EPP_OK, {}};
    const loader::InFlight inside(instance->guard(), loader::Entry::kReadiness, 0);
    if (ready && ready->ready(instance->self(), &err) != EPP_OK) {
      *reason =
          StrCat("plugin \"", instance->name(), "\" is not ready: ", std::string_view(err.message));
      return false;
    }
  }
  return true;
}

std::string StateJson(const loader::Instance& instance) {
  std::string state;
  const auto* dump = instance.Get<epp_dump_state>(EPP_DUMP_STATE_ID);
  if (instance.guard().stuck()) {
    JsonWriter(&state).Value("plugin does not return from another call");
    return state;
  }
  if (dump == nullptr) {
    JsonWriter(&state).Value("plugin does not support state collection");
    return state;
  }
  const epp_writer writer{sizeof(epp_writer), 0, &state, &Append};
  epp_error err{sizeof(epp_error), EPP_OK, {}};
  const loader::InFlight inside(instance.guard(), loader::Entry::kDumpState, 0);
  if (dump->dump(instance.self(), &writer, &err) != EPP_OK) {
    state.clear();
    JsonWriter(&state).Value(
        StrCat("failed to dump plugin state: ", std::string_view(err.message)));
  }
  return state.empty() ? "null" : state;
}

std::string AllStatesJson(const runtime::Generation& generation) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("timestamp", absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ", absl::Now(), absl::UTCTimeZone()));
  w.Key("plugins").BeginObject();
  for (const auto& instance : generation.instances()) {
    w.Key(instance->name()).BeginObject();
    w.Field("name", instance->name()).Field("type", instance->type().name());
    const bool has = instance->Get<epp_dump_state>(EPP_DUMP_STATE_ID) != nullptr;
    w.Key(has ? "state" : "message").Raw(StateJson(*instance));
    w.EndObject();
  }
  w.EndObject();
  w.EndObject();
  out += '\n';
  return out;
}

}  // namespace epp::serve
