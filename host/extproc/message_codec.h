// Between protocol messages and the types of host/request. Include in sources only: it needs the
// generated code.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/extproc/ext_proc.pb.h"
#include "host/request/exchange.h"

namespace epp::extproc {

// Filter metadata of one message, borrowed.
class MetadataView final : public request::Metadata {
 public:
  explicit MetadataView(const ::envoy::service::ext_proc::v3::Metadata& metadata)
      : metadata_(metadata) {}

  bool List(std::string_view name_space, std::string_view key,
            std::vector<std::string_view>* out) const override;
  std::optional<std::string_view> String(std::string_view name_space,
                                         std::string_view key) const override;

 private:
  const google::protobuf::Value* Find(std::string_view name_space, std::string_view key) const;

  const ::envoy::service::ext_proc::v3::Metadata& metadata_;
};

// Entries of one name space are merged into one struct; a later entry wins over an equal key. Takes
// the strings.
void WriteMetadata(std::vector<request::MetadataEntry>& entries, google::protobuf::Struct* out);

// Only key and raw_value are set: a proxy refuses value beside raw_value, and reads "append unset"
// as overwrite or add. Takes the strings.
void WriteHeaders(std::vector<request::HeaderSet>& headers,
                  ::envoy::service::ext_proc::v3::HeaderMutation* out);

// Leaves the mutation unset when it is empty. Takes the strings.
void WriteMutation(request::HeaderMutation& mutation,
                   ::envoy::service::ext_proc::v3::CommonResponse* out);

}  // namespace epp::extproc
