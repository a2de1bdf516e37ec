// What plugins write through: an editor, a sink and a writer that know whether they may be used.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "epp/abi.h"
#include "host/validate/findings.h"
#include "host/validate/memory.h"

namespace epp::validate {

// The base of all three: valid during one call only.
class Output {
 public:
  Output(Findings& findings, std::string function, std::string of)
      : findings_(findings), function_(std::move(function)), of_(std::move(of)) {}
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  // The call is over.
  void Close() { open_ = false; }
  // All that was written, for a transcript.
  const std::string& record() const { return record_; }

 protected:
  // Reports a use after the call.
  void Used(const char* what);
  void Breach(int number, std::string_view text);

  Findings& findings_;
  const std::string function_;
  const std::string of_;
  bool open_ = true;
  std::string record_;
};

class EditOutput : public Output {
 public:
  enum class May : uint8_t { kHeadersAndMetadata, kMetadataOnly };
  EditOutput(Findings& findings, std::string function, std::string of, May may, Memory& memory);
  const epp_editor* table() const { return table_; }

 private:
  struct Table;
  void Header(const char* what, epp_str name, epp_str value);
  void Metadata(epp_str name_space, epp_str key, std::string value);

  const May may_;
  epp_editor* table_;
};

class SinkOutput : public Output {
 public:
  // `produces` must outlive this object.
  SinkOutput(Findings& findings, std::string of, const std::vector<const epp_attr_spec*>& produces,
             Memory& memory);
  const epp_sink* table() const { return table_; }

 private:
  struct Table;
  void Put(const char* what, uint32_t attr, int32_t type, int32_t or_type, std::string value);
  void Known(const char* what, uint32_t symbol);

  const std::vector<const epp_attr_spec*>& produces_;
  epp_sink* table_;
};

class TextOutput : public Output {
 public:
  TextOutput(Findings& findings, std::string function, std::string of, Memory& memory);
  const epp_writer* table() const { return table_; }

 private:
  struct Table;
  epp_writer* table_;
};

}  // namespace epp::validate
