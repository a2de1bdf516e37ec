// The reader of the endpoints file. What it accepts must be usable as it is.
#include <cstdlib>
#include <memory>
#include <set>

#include "host/pool/endpoints_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto source = std::make_shared<epp::config::SourceText>();
  source->name = "endpoints.yaml";
  source->text.assign(reinterpret_cast<const char*>(data), size);
  for (const bool metrics_labels : {false, true}) {
    epp::config::Diagnostics diagnostics;
    const auto file = epp::pool::ParseEndpointsFile(source, metrics_labels, diagnostics);
    if (!file && diagnostics.ok()) std::abort();
    if (!file) continue;
    if (!file->refused.empty() && diagnostics.ok()) std::abort();
    std::set<std::pair<std::string, std::string>> names;
    for (const auto& entry : file->entries) {
      if (entry.endpoints.empty()) std::abort();
      for (const auto& fields : entry.endpoints) {
        if (!names.insert({fields.name_space, fields.name}).second) std::abort();
        if (fields.port == 0 || fields.address.empty()) std::abort();
        const epp::pool::Endpoint endpoint(1, 0, fields);
        if (endpoint.abi().host_port.size == 0) std::abort();
      }
    }
  }
  return 0;
}
