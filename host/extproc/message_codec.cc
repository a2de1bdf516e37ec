#include "host/extproc/message_codec.h"

#include <utility>
#include <variant>

#include "host/extproc/utf8.h"

namespace epp::extproc {

namespace pb = ::envoy::service::ext_proc::v3;
using google::protobuf::Value;

const Value* MetadataView::Find(std::string_view name_space, std::string_view key) const {
  const auto& spaces = metadata_.filter_metadata();
  const auto space = spaces.find(name_space);
  if (space == spaces.end()) return nullptr;
  const auto& fields = space->second.fields();
  const auto field = fields.find(key);
  return field == fields.end() ? nullptr : &field->second;
}

bool MetadataView::List(std::string_view name_space, std::string_view key,
                        std::vector<std::string_view>* out) const {
  out->clear();
  const Value* value = Find(name_space, key);
  if (value == nullptr || !value->has_list_value()) return false;
  for (const Value& element : value->list_value().values()) {
    if (element.kind_case() == Value::kStringValue) out->push_back(element.string_value());
  }
  return true;
}

std::optional<std::string_view> MetadataView::String(std::string_view name_space,
                                                     std::string_view key) const {
  const Value* value = Find(name_space, key);
  if (value == nullptr || value->kind_case() != Value::kStringValue) return std::nullopt;
  return value->string_value();
}

namespace {

// The strings of a Struct must be valid UTF-8: the proxy's decoder refuses the message otherwise.
struct WriteValue {
  Value* out;
  void operator()(std::string& text) { out->set_string_value(SanitizeUtf8(std::move(text))); }
  void operator()(double number) { out->set_number_value(number); }
  void operator()(std::vector<std::pair<std::string, double>>& numbers) {
    auto& fields = *out->mutable_struct_value()->mutable_fields();
    for (auto& [name, number] : numbers) {
      fields[SanitizeUtf8(std::move(name))].set_number_value(number);
    }
  }
};

}  // namespace

void WriteMetadata(std::vector<request::MetadataEntry>& entries, google::protobuf::Struct* out) {
  for (request::MetadataEntry& entry : entries) {
    Value& space = (*out->mutable_fields())[SanitizeUtf8(std::move(entry.name_space))];
    Value& value =
        (*space.mutable_struct_value()->mutable_fields())[SanitizeUtf8(std::move(entry.key))];
    std::visit(WriteValue{&value}, entry.value);
  }
}

void WriteHeaders(std::vector<request::HeaderSet>& headers, pb::HeaderMutation* out) {
  out->mutable_set_headers()->Reserve(static_cast<int>(headers.size()));
  for (request::HeaderSet& header : headers) {
    pb::HeaderValue* value = out->add_set_headers()->mutable_header();
    value->set_key(SanitizeUtf8(std::move(header.name)));
    value->set_raw_value(std::move(header.value));
  }
}

void WriteMutation(request::HeaderMutation& mutation, pb::CommonResponse* out) {
  if (mutation.empty()) return;
  pb::HeaderMutation* target = out->mutable_header_mutation();
  WriteHeaders(mutation.set, target);
  for (std::string& name : mutation.remove) {
    target->add_remove_headers(SanitizeUtf8(std::move(name)));
  }
}

}  // namespace epp::extproc
