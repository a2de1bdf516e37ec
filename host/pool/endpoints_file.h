// The endpoints file: YAML or JSON that lists addresses.
//
//   endpoints:
//     - name: vllm-0             # required
//       namespace: default       # default "default"
//       address: 10.0.0.5        # IPv4, IPv6 or host name
//       port: "8000"             # text or number; or ports: [8000, 8001], one endpoint each, named
//       labels: {role: decode}   # NAME-rank-0, NAME-rank-1, with that rank
//
// A file of several documents may also hold objects of other kinds; they are passed over here (see
// objects/object_files.h).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/config/diagnostics.h"
#include "host/pool/frame.h"

namespace epp::pool {

inline constexpr size_t kMaxEndpointsFileBytes = size_t{1} << 20;

// Labels by which an entry of a multi-cluster file names another place to scrape.
inline constexpr const char* kMetricsAddressLabel = "metricsAddress";
inline constexpr const char* kMetricsPortLabel = "metricsPort";

struct EndpointsFile {
  struct Entry {
    std::string name_space;
    std::string name;  // as written, without rank suffix
    std::vector<Endpoint::Fields> endpoints;
  };
  // The name of an entry that was refused; empty when even that could not be read.
  struct Refused {
    std::string name_space;
    std::string name;
  };
  // In file order. Of equal namespace/name the last one counts; the others are left out, with a
  // warning.
  std::vector<Entry> entries;
  std::vector<Refused> refused;
};

// Reads `source`. An entry with an error is refused as a whole, the others are kept; all errors and
// warnings are in `out`. Nothing when the text as a whole is unusable. With `check_metrics_labels`
// the labels above must hold an address and a port.
// Cost: up to 1 MiB of text, tens of milliseconds.
std::optional<EndpointsFile> ParseEndpointsFile(std::shared_ptr<const config::SourceText> source,
                                                bool check_metrics_labels,
                                                config::Diagnostics& out);

}  // namespace epp::pool
