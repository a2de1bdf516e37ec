#include "host/serve/reload_request.h"

#include "host/base/str_cat.h"

namespace epp::serve {

std::string PinText(const Pin& pin) {
  if (pin.file_digest.empty()) {
    return "other builds of plugin libraries on disk are ignored until a file changes";
  }
  return StrCat(pin.path, " (digest ", pin.file_digest, ") is ignored until it changes");
}

}  // namespace epp::serve
