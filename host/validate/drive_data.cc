// Sources, scrapers, pool events, and what any instance may have. See drive.h.

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "host/base/str_cat.h"
#include "host/base/utf8.h"
#include "host/validate/case_numbers.h"
#include "host/validate/drive.h"
#include "host/validate/edits.h"

namespace epp::validate {
namespace {

constexpr std::array<std::string_view, 6> kPages{
    "# HELP vllm:num_requests_waiting Waiting.\n"
    "# TYPE vllm:num_requests_waiting gauge\n"
    "vllm:num_requests_waiting{model_name=\"base\"} 3.0\n"
    "vllm:num_requests_running{model_name=\"base\"} 2.0\n"
    "vllm:gpu_cache_usage_perc{model_name=\"base\"} 0.25\n"
    "vllm:kv_cache_usage_perc{model_name=\"base\"} 0.25\n"
    "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"lora-a,lora-b\","
    "waiting_lora_adapters=\"lora-c\"} 1.7e9\n"
    "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"1024\"} 1.0\n",
    R"({"object":"list","data":[{"id":"base","object":"model"},{"id":"lora-a","parent":"base"}]})",
    "vllm:num_requests_waiting NaN\nvllm:kv_cache_usage_perc +Inf\n{{{\n\xff\xfe 1\n"
    "vllm:num_requests_waiting 99999999999999999999999\nvllm:num_requests_running -1\n",
    "vllm:num_requests_waiting{model_name=\"ba",
    "{\"data\":[{\"id\":",
    "",
};

constexpr size_t kMaxDumpBytes = size_t{256} << 10;

}  // namespace

void Driver::Endpoints(bool arrive) {
  const auto* const table = Get<epp_pool_events>(EPP_POOL_EVENTS_ID);
  if (table == nullptr) return;
  for (size_t i = 0; i < world_.size(); ++i) {
    Invoke(findings_, arrive ? "upserted" : "removed", name_,
           arrive ? table->upserted : table->removed, instance_.self(), world_.endpoint(i));
  }
  transcript_.Add(arrive ? "upserted" : "removed", EPP_OK);
}

void Driver::Plan() {
  const auto* const table = Get<epp_source>(EPP_SOURCE_ID);
  if (table == nullptr) return;
  Memory memory(scenario_.layout);
  auto* const plan = memory.Struct<epp_fetch_plan>("epp_fetch_plan");
  auto* const error = memory.Struct<epp_error>("epp_error");
  const epp_status status =
      Invoke(findings_, "plan", name_, table->plan, instance_.self(), plan, error);
  After("plan", status, *error, memory);
  if (status == EPP_OK && !View(plan->path).starts_with('/')) {
    Breach(AnswerCase(), "plan", StrCat("path is \"", Shown(View(plan->path)), "\", want /..."));
  }
  transcript_.Add("plan", status, StrCat(View(plan->path), View(plan->payload)));
}

void Driver::Scrape() {
  const auto* const table = Get<epp_scraper>(EPP_SCRAPER_ID);
  if (table == nullptr || world_.size() == 0) return;
  for (size_t i = 0; i < kPages.size(); ++i) {
    Memory memory(scenario_.layout);
    const std::string_view page = kPages[i];
    auto* const bytes = memory.Array<char>("the page with its padding", page.size() + 64);
    if (!page.empty()) std::memcpy(bytes, page.data(), page.size());
    auto* const in = memory.Struct<epp_scrape>("epp_scrape");
    in->endpoint = world_.endpoint(i % world_.size());
    in->body = {bytes, page.size()};
    in->content_type = Str(page.starts_with('{') ? "application/json" : "text/plain");
    in->now_ns = CheckHost::NowNs();
    auto* const error = memory.Struct<epp_error>("epp_error");
    SinkOutput sink(findings_, name_, instance_.produces(), memory);
    const epp_status status = Invoke(findings_, "scrape", name_, table->scrape, instance_.self(),
                                     static_cast<const epp_scrape*>(in), sink.table(), error);
    sink.Close();
    After("scrape", status, *error, memory);
    transcript_.Add("scrape", status, sink.record());
    CheckHost::Advance(50'000'000);
  }
}

void Driver::General() {
  Memory memory(scenario_.layout);
  auto* const error = memory.Struct<epp_error>("epp_error");
  if (const auto* const table = Get<epp_readiness>(EPP_READINESS_ID)) {
    const epp_status status =
        Invoke(findings_, "ready", name_, table->ready, instance_.self(), error);
    After("ready", status, *error, memory);
  }
  if (const auto* const table = Get<epp_dump_state>(EPP_DUMP_STATE_ID)) {
    TextOutput out(findings_, "dump", name_, memory);
    const epp_status status =
        Invoke(findings_, "dump", name_, table->dump, instance_.self(), out.table(), error);
    out.Close();
    After("dump", status, *error, memory);
    const std::string& text = out.record();
    if (status == EPP_OK && !nlohmann::json::accept(text)) {
      Breach(kLogHygiene, "dump", StrCat("is no JSON value: ", Shown(text)));
    }
    if (text.size() > kMaxDumpBytes) {
      Breach(kLogHygiene, "dump",
             StrCat("wrote ", text.size(), " bytes, want at most ", kMaxDumpBytes));
    }
  }
}

// What is saved can be loaded by another instance, which then saves the same; what is not a state
// is refused, or at least does no harm.
void Driver::State() {
  const auto* const table = Get<epp_state>(EPP_STATE_ID);
  if (table == nullptr) return;
  Memory memory(scenario_.layout);
  auto* const error = memory.Struct<epp_error>("epp_error");
  const auto save = [&](void* self) {
    TextOutput out(findings_, "save", name_, memory);
    const epp_status status =
        Invoke(findings_, "save", name_, table->save, self, out.table(), error);
    out.Close();
    After("save", status, *error, memory);
    return out.record();
  };
  const auto load = [&](void* self, uint32_t version, std::string_view bytes) {
    Memory exact(scenario_.layout);
    auto* const copy = exact.Array<char>("the saved state", bytes.size());
    if (!bytes.empty()) std::memcpy(copy, bytes.data(), bytes.size());
    *error->message = '\0';
    const epp_status status = Invoke(findings_, "load", name_, table->load, self, version,
                                     epp_str{copy, bytes.size()}, error);
    After("load", status, *error, memory);
    return status;
  };
  const std::string saved = save(instance_.self());
  transcript_.Add("save", EPP_OK);
  if (scenario_.no_memory) return;

  const absl::StatusOr<Parameters> parameters = ParametersFor(instance_.type(), samples_);
  if (!parameters.ok()) return;
  const auto with_fresh = [&](const auto& use) {
    Instance fresh(instance_.type(), instance_.host(), parameters->values, scenario_.layout);
    if (!fresh.ok()) return;
    Driver driver(fresh, world_, samples_, scenario_);
    driver.Endpoints(true);
    use(fresh.self());
  };
  with_fresh([&](void* self) {
    if (const epp_status status = load(self, table->version, saved); status != EPP_OK) {
      Breach(kDeterminism, "load",
             StrCat("refused what save had written: status ", status, " \"",
                    Shown(MessageOf(*error)), "\""));
    } else if (save(self) != saved) {
      Breach(kDeterminism, "load", "what was loaded is saved as something else");
    }
  });
  with_fresh([&](void* self) {
    const std::string before = save(self);
    std::string noise = "\xde\xad\xbe\xef no state of yours \xff";
    std::string flipped = saved;
    Random random(scenario_.seed);
    for (size_t i = 0; i < 8 && !flipped.empty(); ++i) {
      flipped[random.Below(flipped.size())] ^= static_cast<char>(1 << random.Below(8));
    }
    if (load(self, table->version, noise) == EPP_OK) {
      Breach(kMissingValues, "load", "took bytes that are no state of this type");
    } else if (save(self) != before) {
      Breach(kMissingValues, "load", "refused the bytes, but the instance is not as before");
    }
    if (load(self, table->version + 1000, saved) == EPP_OK && !saved.empty()) {
      Breach(kMissingValues, "load", StrCat("took version ", table->version + 1000));
    }
    // These may be right by chance.
    load(self, table->version, flipped);
    for (size_t cut : {size_t{1}, saved.size() / 4, saved.size() / 2, saved.size() - 1}) {
      if (cut < saved.size()) load(self, table->version, saved.substr(0, cut));
    }
  });
}

void Driver::Service() {
  const auto* const table = Get<epp_service>(EPP_SERVICE_ID);
  if (table == nullptr || !samples_.MayStart(name_)) return;
  Memory memory(scenario_.layout);
  auto* const error = memory.Struct<epp_error>("epp_error");
  const epp_status status =
      Invoke(findings_, "start", name_, table->start, instance_.self(), error);
  After("start", status, *error, memory);
  if (status != EPP_OK) return;
  Invoke(findings_, "drain", name_, table->drain, instance_.self(), CheckHost::NowNs());
  Invoke(findings_, "stop", name_, table->stop, instance_.self());
}

}  // namespace epp::validate
