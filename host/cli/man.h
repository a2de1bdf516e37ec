// The manual pages, made from the tables that the commands, the settings file and the plugins are
// made of.
#pragma once

#include <string>
#include <vector>

namespace epp::cli {

struct ManPage {
  std::string name;  // "epp-serve"
  int section = 1;
  std::string roff;

  std::string FileName() const;  // "epp-serve.1"
};

// epp(1), one page for each command, epp.toml(5), epp-config(5), epp-endpoints(5).
std::vector<ManPage> ManPages();

// Those that are mostly prose; part of ManPages.
ManPage ConfigPage();
ManPage EndpointsPage();

// "epp 0.1.0", for the foot of a page.
std::string ManSource();

}  // namespace epp::cli
