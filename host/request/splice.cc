#include "host/request/splice.h"

#include "host/base/json_writer.h"
#include "host/base/str_cat.h"

namespace epp::request {

std::vector<std::string_view> SpliceModel(std::string_view body, const epp_parsed& parsed,
                                          std::string_view model, Arena& arena) {
  std::string text;
  const bool present = parsed.flags & EPP_PARSED_MODEL_PRESENT;
  if (!present) text += "\"model\":";
  AppendJsonString(model, &text);
  if (!present && parsed.member_count > 0) text += ',';
  return {body.substr(0, parsed.model_offset), arena.Copy(text),
          body.substr(parsed.model_offset + parsed.model_size)};
}

bool RewriteResponseModel(std::string_view bytes, std::string_view from, std::string_view to,
                          std::string* out) {
  for (const std::string_view gap : {"", " "}) {
    const std::string needle = StrCat("\"model\":", gap, "\"", from, "\"");
    size_t at = bytes.find(needle);
    if (at == std::string_view::npos) continue;
    const std::string replacement = StrCat("\"model\":", gap, "\"", to, "\"");
    out->clear();
    size_t begin = 0;
    while (at != std::string_view::npos) {
      out->append(bytes.substr(begin, at - begin)).append(replacement);
      begin = at + needle.size();
      at = bytes.find(needle, begin);
    }
    out->append(bytes.substr(begin));
    return true;
  }
  return false;
}

}  // namespace epp::request
