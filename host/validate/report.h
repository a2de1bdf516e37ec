// What epp-plugin-check says.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "host/validate/cases.h"
#include "host/validate/child.h"

namespace epp::validate {

struct CaseReport {
  const Case* which;
  Outcome outcome;
};

struct LibraryReport {
  std::string path;
  std::string abi;     // "1.0", empty when unknown
  uint32_t types = 0;  // 0 when unknown
  std::vector<CaseReport> cases;
  double seconds = 0;
};

struct ReportOptions {
  bool only_failed = false;
  bool strict = false;
  std::string rerun;  // options to repeat for a rerun, with a leading space each
};

// Failed, crashed, out of time, or with `strict` a type that could not be created.
bool Failed(const Outcome& outcome, bool strict);

void PrintHeader(const LibraryReport& library, std::ostream& out);
void PrintCase(const LibraryReport& library, const CaseReport& report, const ReportOptions& options,
               std::ostream& out);
void PrintSummary(const LibraryReport& library, const ReportOptions& options, std::ostream& out);
// The document "epp.plugin-check/1".
std::string Json(const std::vector<LibraryReport>& libraries, const ReportOptions& options);

}  // namespace epp::validate
