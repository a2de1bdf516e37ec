// Where an address of a library comes from, for messages.
#pragma once

#include <span>
#include <string>

namespace epp::validate {

// The first address that lies in the library at `path`, as "scorer.cc:41" when the library has
// debug information and addr2line is installed, else as "my-scorer.so+0x12f4"; empty when none
// does.
std::string FirstIn(std::span<void* const> addresses, const std::string& path);

}  // namespace epp::validate
