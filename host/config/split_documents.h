// A YAML text of several documents, one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "host/config/diagnostics.h"
#include "host/config/document.h"

namespace epp::config {

// One document, with its marker line if it has one.
struct DocumentPart {
  std::string_view text;
  uint32_t lines_before = 0;
};

// Cuts at the lines that begin a document ("---"). At least one part; parts may be blank.
std::vector<DocumentPart> SplitDocuments(std::string_view text);

// As ParseDocument, with every place as one in `whole`, of which `part` is a part.
std::optional<Node> ParsePart(const std::shared_ptr<const SourceText>& whole,
                              const DocumentPart& part, Diagnostics& out);

}  // namespace epp::config
