// Header plugins, screeners and admitters. See drive.h.
#include <algorithm>

#include "host/validate/case_numbers.h"
#include "host/validate/drive.h"

namespace epp::validate {

void Driver::ReadHeaders(RequestRun& run) {
  const auto* const table = Get<epp_request_header>(EPP_REQUEST_HEADER_ID);
  if (table == nullptr) return;
  Frame frame(instance_, world_, scenario_, run);
  Memory& memory = frame.memory();
  std::vector<const epp_attr_spec*> made;
  std::vector<epp_out_column> columns;
  if (Get<epp_producer>(EPP_PRODUCER_ID) == nullptr &&
      Get<epp_async_producer>(EPP_ASYNC_PRODUCER_ID) == nullptr) {
    for (const epp_attr_spec* spec : instance_.produces()) {
      if (spec->scope == EPP_SCOPE_ENDPOINT) {
        Breach(kProduced, "request_header", "produces an attribute of endpoints, which it cannot");
        continue;
      }
      made.push_back(spec);
      columns.push_back(Writable(*spec, 1, memory));
    }
  }
  auto* const outputs = memory.Struct<epp_outputs>("epp_outputs");
  if (!columns.empty()) {
    outputs->request_columns = memory.Array<epp_out_column>("out->request_columns", columns.size());
    std::copy(columns.begin(), columns.end(), outputs->request_columns);
  }
  const epp_status status =
      Run("request_header", frame, table->request_header, frame.call(), outputs);
  std::string bytes;
  for (size_t i = 0; status == EPP_OK && i < made.size(); ++i) {
    CheckProduced(*made[i], outputs->request_columns[i], 1, run, bytes);
  }
  transcript_.Add("request_header", status, std::move(bytes));
}

void Driver::Screen(RequestRun& run) {
  const auto* const table = Get<epp_screener>(EPP_SCREENER_ID);
  if (table == nullptr) return;
  Frame frame(instance_, world_, scenario_, run);
  const size_t n = run.rows.size();
  const size_t words = (n + 63) / 64;
  auto* const keep = frame.memory().Array<uint64_t>("keep", words);
  const epp_status status = Run("screen", frame, table->screen, frame.call(), frame.in(), keep);
  if (status == EPP_OK && n % 64 != 0 && (keep[words - 1] >> (n % 64)) != 0) {
    Breach(AnswerCase(), "screen", "set bits of keep beyond the last endpoint");
  }
  transcript_.Add("screen", status, BytesOf(keep, words));
}

void Driver::Admit(RequestRun& run) {
  const auto* const table = Get<epp_admitter>(EPP_ADMITTER_ID);
  if (table == nullptr) return;
  Frame frame(instance_, world_, scenario_, run);
  const epp_status status = Run("admit", frame, table->admit, frame.call(), frame.in());
  transcript_.Add("admit", status);
}

}  // namespace epp::validate
