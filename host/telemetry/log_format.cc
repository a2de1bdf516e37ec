#include "host/telemetry/log_format.h"

#include <time.h>

#include <algorithm>
#include <cstdio>

#include "host/base/json_writer.h"
#include "host/base/utf8.h"

namespace epp::log {
namespace {

constexpr size_t kMaxStringBytes = 1024;

// `text`, or its beginning and its length.
std::string_view Cut(std::string_view text, std::string* buffer) {
  if (text.size() <= kMaxStringBytes) return text;
  *buffer = utf8::Truncate(text, kMaxStringBytes);
  buffer->append("... (").append(std::to_string(text.size())).append(" bytes)");
  return *buffer;
}

void AddValue(JsonWriter& w, const Field::Value& value, std::string* buffer) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    w.Value(Cut(*text, buffer));
  } else {
    std::visit(
        [&w](const auto& v) {
          if constexpr (!std::same_as<std::decay_t<decltype(v)>, std::string_view>) w.Value(v);
        },
        value);
  }
}

// Also hides U+0080..U+009F, which terminals take for control sequences.
void AppendQuoted(std::string_view text, std::string* out) {
  std::string quoted;
  AppendJsonString(text, &quoted);
  for (size_t i = 0; i < quoted.size(); ++i) {
    const auto c = static_cast<unsigned char>(quoted[i]);
    const auto next = static_cast<unsigned char>(i + 1 < quoted.size() ? quoted[i + 1] : 0);
    if (c == 0xC2 && next >= 0x80 && next <= 0x9F) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", next);
      out->append(escape);
      ++i;
    } else {
      out->push_back(quoted[i]);
    }
  }
}

bool Bare(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 0x7F && c != '"' && c != '=' && c != '\\';
  });
}

// `text` as it is when that cannot be mistaken for anything else.
void AppendSafe(std::string_view text, bool spaces_allowed, std::string* out) {
  const bool plain = std::all_of(text.begin(), text.end(), [&](char c) {
    return (c > ' ' && c < 0x7F) || (spaces_allowed && c == ' ');
  });
  if (plain && (spaces_allowed || Bare(text))) {
    out->append(text);
  } else {
    AppendQuoted(text, out);
  }
}

void AppendBody(const Line& line, std::string* out) {
  std::string buffer;
  AppendSafe(Cut(line.component, &buffer), true, out);
  out->append(": ");
  AppendSafe(Cut(line.message, &buffer), true, out);
  for (const Field& field : line.fields) {
    out->push_back(' ');
    AppendSafe(field.key, false, out);
    out->push_back('=');
    if (const auto* text = std::get_if<std::string_view>(&field.value)) {
      AppendSafe(Cut(*text, &buffer), false, out);
    } else {
      JsonWriter w(out);
      AddValue(w, field.value, &buffer);
    }
  }
  if (line.suppressed != 0) out->append(" suppressed=").append(std::to_string(line.suppressed));
  if (!line.caller.empty()) out->append(" caller=").append(line.caller);
}

}  // namespace

std::string ToJson(const Line& line) {
  std::string out, buffer;
  out.reserve(256);
  JsonWriter w(&out);
  char ts[32];
  std::snprintf(ts, sizeof(ts), "%llu.%06llu",
                static_cast<unsigned long long>(line.unix_ns / 1'000'000'000),
                static_cast<unsigned long long>(line.unix_ns / 1000 % 1'000'000));
  w.BeginObject().Field("level", LevelName(line.level)).Key("ts").Raw(ts);
  w.Field("logger", Cut(line.component, &buffer));
  if (!line.caller.empty()) w.Field("caller", line.caller);
  w.Field("msg", Cut(line.message, &buffer));
  for (const Field& field : line.fields) {
    w.Key(field.key);
    AddValue(w, field.value, &buffer);
  }
  if (line.suppressed != 0) w.Field("suppressed", line.suppressed);
  w.EndObject();
  return out;
}

std::string ToText(const Line& line, bool color) {
  static constexpr const char* kColors[] = {"\x1b[31m", "\x1b[33m", "", "\x1b[2m", "\x1b[2m"};
  const auto seconds = static_cast<time_t>(line.unix_ns / 1'000'000'000);
  tm local{};
  localtime_r(&seconds, &local);
  const char* on = color ? kColors[static_cast<int>(line.level)] : "";
  char head[64];
  std::snprintf(head, sizeof(head), "%02d:%02d:%02d.%03d %s%-5s%s ", local.tm_hour, local.tm_min,
                local.tm_sec, static_cast<int>(line.unix_ns / 1'000'000 % 1000), on,
                std::string(LevelName(line.level)).c_str(), *on == '\0' ? "" : "\x1b[0m");
  std::string out = head;
  AppendBody(line, &out);
  return out;
}

std::string ToJournal(const Line& line) {
  static constexpr const char* kPriorities[] = {"<3>", "<4>", "<6>", "<7>", "<7>"};
  std::string out = kPriorities[static_cast<int>(line.level)];
  AppendBody(line, &out);
  return out;
}

}  // namespace epp::log
