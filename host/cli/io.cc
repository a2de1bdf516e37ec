#include "host/cli/io.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "host/base/str_cat.h"

namespace epp::cli {
namespace {

bool ColourWanted(bool tty) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return tty && (!no_color || !*no_color) && !(term && std::string_view(term) == "dumb");
}

}  // namespace

Io ProcessIo() {
  Io io{std::cin, std::cout, std::cerr, isatty(1) == 1, isatty(2) == 1};
  ApplyColour("auto", io);
  return io;
}

bool ApplyColour(std::string_view when, Io& io) {
  if (when == "auto") {
    io.out_colour = ColourWanted(io.out_tty);
    io.err_colour = ColourWanted(io.err_tty);
  } else if (when == "always" || when == "never") {
    io.out_colour = io.err_colour = when == "always";
  } else {
    return false;
  }
  return true;
}

std::string Bold(std::string_view text, bool colour) {
  return colour ? StrCat("\x1b[1m", text, "\x1b[0m") : std::string(text);
}

}  // namespace epp::cli
