#include "plugins/producers/predicted-latency/predictor.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <ctime>

#include "plugins/common/json_text.hpp"

namespace epp::latency {
namespace {

using epp::json::Cursor;
using epp::json::Equals;
using epp::json::RawString;

constexpr uint64_t kSecond = 1'000'000'000;

// A whole number in [least, most], or nothing.
void ReadNumber(const char* name, uint64_t least, uint64_t most, uint64_t unit, uint64_t& out) {
  const char* const text = std::getenv(name);
  if (text == nullptr) return;
  uint64_t value = 0;
  const std::string_view all(text);
  const auto [end, error] = std::from_chars(all.data(), all.data() + all.size(), value);
  if (error != std::errc() || end != all.data() + all.size()) return;
  if (value >= least && value <= most) out = value * unit;
}

std::string Trimmed(std::string_view url) {
  while (!url.empty() && (url.front() == ' ')) url.remove_prefix(1);
  while (!url.empty() && (url.back() == ' ' || url.back() == '/')) url.remove_suffix(1);
  return std::string(url);
}

void Append(std::string& json, std::string_view key, double value) {
  std::array<char, 40> text;
  if (!std::isfinite(value)) value = 0;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  json.append(json.empty() || json.back() == '{' ? "\"" : ",\"").append(key).append("\":");
  json.append(text.data(), end);
}
void Append(std::string& json, std::string_view key, int64_t value) {
  json.append(json.back() == '{' ? "\"" : ",\"").append(key).append("\":");
  json += std::to_string(value);
}

epp_http_request Post(const std::string& url, const std::string& body, const epp_header& type,
                      uint64_t timeout_ns) {
  epp_http_request request{};
  request.struct_size = sizeof(request);
  request.method = epp::Str("POST");
  request.url = epp::Str(url);
  request.headers = &type;
  request.header_count = 1;
  request.body = epp::Str(body);
  request.timeout_ns = timeout_ns;
  return request;
}

const epp_header kJson{epp_str{"content-type", 12}, epp_str{"application/json", 16}};

std::vector<std::pair<double, double>> ReadPredictions(std::string_view text) {
  std::vector<std::pair<double, double>> out;
  Cursor in(text);
  const bool ok = in.Object([&](const RawString& key) {
    if (!Equals(key, "predictions") || in.Peek() != '[') return in.Skip();
    return in.Array([&] {
      double ttft = NAN, tpot = NAN;
      const bool row = in.Object([&](const RawString& name) {
        const bool is_ttft = Equals(name, "ttft_ms");
        const char c = in.Peek();
        if (!(is_ttft || Equals(name, "tpot_ms")) || !(c == '-' || epp::json::IsDigit(c))) {
          return in.Skip();
        }
        std::string_view number;
        if (!in.Number(number)) return false;
        (is_ttft ? ttft : tpot) = epp::json::ToDouble(number);
        return true;
      });
      if (!row || !std::isfinite(ttft) || !std::isfinite(tpot)) return in.Fault("no prediction");
      out.emplace_back(ttft, tpot);
      return true;
    });
  });
  if (!ok) out.clear();
  return out;
}

}  // namespace

ServerSettings ServerSettings::FromEnvironment() {
  ServerSettings s;
  const auto url = [](const char* name) {
    const char* const text = std::getenv(name);
    return std::string_view(text ? text : "");
  };
  if (const std::string one = Trimmed(url("TRAINING_SERVER_URL")); !one.empty()) {
    s.training_url = one;
  }
  std::vector<std::string> all;
  std::string_view rest = url("PREDICTION_SERVER_URL");
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    if (std::string one = Trimmed(rest.substr(0, comma)); !one.empty()) {
      all.push_back(std::move(one));
    }
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  if (!all.empty()) s.prediction_urls = std::move(all);
  ReadNumber("LATENCY_MAX_SAMPLE_SIZE", 1, 1'000'000, 1, s.max_samples);
  ReadNumber("LATENCY_FLUSH_INTERVAL_SEC", 1, 86400, kSecond, s.flush_ns);
  ReadNumber("LATENCY_HTTP_TIMEOUT_SEC", 1, 3600, kSecond, s.timeout_ns);
  ReadNumber("LATENCY_MAX_BULK_SIZE", 1, 100, 1, s.max_bulk);
  ReadNumber("LATENCY_COALESCE_WINDOW_MS", 0, 10'000, 1'000'000, s.window_ns);
  ReadNumber("LATENCY_MAX_COALESCED_ROWS", 0, 1'000'000, 1, s.max_rows);
  ReadNumber("LATENCY_MAX_CONCURRENT_DISPATCHES", 1, 100'000, 1, s.max_dispatches);
  return s;
}

void AppendFeatures(const Features& f, std::string& json) {
  std::string row = "{";
  Append(row, "kv_cache_percentage", f.kv_usage);
  Append(row, "input_token_length", f.input_tokens);
  Append(row, "num_request_waiting", f.waiting);
  Append(row, "num_request_running", f.running);
  Append(row, "num_tokens_generated", int64_t{1});
  Append(row, "prefix_cache_score", f.prefix_score);
  Append(row, "encoder_input_size", f.encoder_input);
  Append(row, "encoder_matched_size", std::min(f.encoder_matched, f.encoder_input));
  if (f.pod_type.size > 0) {
    row += ",\"pod_type\":\"";
    for (const char c : epp::View(f.pod_type)) {
      if (c == '"' || c == '\\') row += '\\';
      if (static_cast<unsigned char>(c) >= 0x20) row += c;
    }
    row += '"';
  }
  Append(row, "prefill_tokens_in_flight", f.prefill_tokens);
  Append(row, "decode_tokens_in_flight", int64_t{0});
  json.append(row).append("}");
}

Predictor::Predictor(epp::Host host, ServerSettings settings)
    : host_(host), http_(host), timers_(host), settings_(std::move(settings)) {}

void Predictor::Predict(std::shared_ptr<Prediction> prediction) {
  const uint64_t most = settings_.max_rows ? settings_.max_rows : settings_.max_bulk;
  Calls full;
  uint64_t close = 0;
  if (settings_.window_ns == 0) {
    full.push_back(std::move(prediction));
  } else {
    const std::lock_guard lock(mutex_);
    if (!open_.empty() && open_rows_ + prediction->count > most) {
      full.swap(open_);
      open_rows_ = 0;
    }
    open_rows_ += prediction->count;
    open_.push_back(std::move(prediction));
    if (open_.size() == 1) close = ++open_number_;
  }
  if (!full.empty()) Dispatch(std::move(full));
  if (close == 0) return;
  const auto self = shared_from_this();
  if (timers_.At(host_.mono_ns() + settings_.window_ns, [self, close] { self->Close(close); }) ==
      0) {
    Close(close);
  }
}

void Predictor::Close(uint64_t number) {
  Calls calls;
  {
    const std::lock_guard lock(mutex_);
    if (number != open_number_) return;  // went out early, when it was full
    calls.swap(open_);
    open_rows_ = 0;
  }
  if (!calls.empty()) Dispatch(std::move(calls));
}

void Predictor::Dispatch(Calls calls) {
  {
    const std::lock_guard lock(mutex_);
    if (dispatched_ >= settings_.max_dispatches) {
      waiting_.push_back(std::move(calls));
      return;
    }
    ++dispatched_;
  }
  Send(calls);
}

void Predictor::Send(const Calls& calls) {
  std::string body = "{\"requests\":[";
  for (const auto& call : calls) {
    if (body.back() == '}') body += ',';
    body += call->rows;
  }
  body += "]}";
  const size_t server = host_.random_u64() % settings_.prediction_urls.size();
  const std::string url = settings_.prediction_urls[server] + "/predict/bulk/strict";
  const auto answered = [self = shared_from_this(), calls](const epp_http_response& response) {
    std::vector<std::pair<double, double>> all;
    if (response.status == EPP_OK && response.http_status / 100 == 2) {
      all = ReadPredictions(epp::View(response.body));
    }
    self->Ended(calls, all);
  };
  const epp::Status sent = http_.Send(Post(url, body, kJson, settings_.timeout_ns), answered);
  if (!sent.ok()) Ended(calls, {});
}

void Predictor::Ended(const Calls& calls, const std::vector<std::pair<double, double>>& all) {
  size_t total = 0;
  for (const auto& call : calls) total += call->count;
  size_t at = 0;
  for (const auto& call : calls) {
    if (all.size() == total) {
      call->values.assign(all.begin() + static_cast<ptrdiff_t>(at),
                          all.begin() + static_cast<ptrdiff_t>(at + call->count));
    }
    at += call->count;
    call->done();
  }
  Calls next;
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) {
      --dispatched_;
    } else {
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
  }
  if (!next.empty()) Send(next);
}

void Predictor::Teach(const Features& features, double ttft_ms, double tpot_ms) {
  std::string row;
  AppendFeatures(features, row);
  row.pop_back();
  Append(row, "actual_ttft_ms", ttft_ms);
  Append(row, "actual_tpot_ms", tpot_ms);
  const auto now = static_cast<std::time_t>(host_.unix_ns() / kSecond);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  row.append(",\"timestamp\":\"").append(text.data()).append("\"}");
  const std::lock_guard lock(mutex_);
  if (lessons_.size() >= settings_.max_samples) return;
  lessons_.push_back(std::move(row));
  if (flushing_) return;
  flushing_ = timers_.At(host_.mono_ns() + settings_.flush_ns,
                         [self = shared_from_this()] { self->Flush(); }) != 0;
}

void Predictor::Flush() {
  std::vector<std::string> lessons;
  {
    const std::lock_guard lock(mutex_);
    flushing_ = false;
    lessons.swap(lessons_);
  }
  std::string body = "{\"entries\":[";
  for (const std::string& row : lessons) {
    if (body.back() == '}') body += ',';
    body += row;
  }
  body += "]}";
  const std::string url = settings_.training_url + "/add_training_data_bulk";
  const auto answered = [self = shared_from_this()](const epp_http_response& response) {
    if (response.http_status == 202) return;
    self->host_.Log(EPP_LOG_DEBUG,
                    "the training server did not take samples: " +
                        (response.status == EPP_OK ? "HTTP " + std::to_string(response.http_status)
                                                   : std::string(epp::View(response.error))));
  };
  (void)http_.Send(Post(url, body, kJson, settings_.timeout_ns), answered);
}

}  // namespace epp::latency
