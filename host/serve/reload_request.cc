#include "host/serve/reload_request.h"

#include "host/base/str_cat.h"

namespace epp::serve {

std::string PinText(const Pin& pin) {
  std::string out =
      pin.file_digest.empty()
          ? std::string(
                "other builds of plugin libraries on disk are ignored until "
                "a file changes")
          : StrCat(pin.path, " (digest ", pin.file_digest, ") is ignored until it changes");
  if (!pin.reason.empty()) StrAppend(&out, "; ", pin.reason);
  return out;
}

}  // namespace epp::serve
